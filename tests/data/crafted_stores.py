"""Makes stores that are wrong in one thing each: types, shapes, sizes, links, attributes, descriptions of targets."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from trivium.data.clips import Clips, Ragged, Source, TokenWords
from trivium.data.store import write_store
from trivium.data.target import Target

Craft = Callable[[h5py.File], None]
TEXT = h5py.string_dtype()
ARRAYS = {
    "train/ids": "text",
    "valid/raw_text": "text",
    "train/targets/multimodal": "f4",
    "test/targets/mood": "f4",
    "train/streams/audio/values": "f4",
    "valid/streams/vision/offsets": "i8",
    "train/tokens/values": "i4",
    "test/tokens/offsets": "i8",
    "train/tokens/words": "i4",
    "valid/tokens/word_counts": "i4",
    "statistics/audio/mean": "f8",
    "statistics/vision/std": "f8",
}
GROUPS = ("train", "train/targets", "valid/streams", "test/streams/audio", "test/tokens", "statistics")
NO_GROUP = ("test", "statistics")  # a store without a test split is one
TEXTS = ("format", "data", "feature_set", "source_format", "created", "trivium_version", "checksum")
JSON = ("source_files", "repairs", "notes", "targets")


def make_store(path: Path) -> None:
    """Writes a store of all parts: two modalities, tokens, text, and targets of two kinds."""
    rng, splits = np.random.default_rng(0), {}
    for split, count in (("train", 6), ("valid", 4), ("test", 5)):
        lengths = rng.integers(1, 5, count)
        splits[split] = Clips(
            [f"{split}{n}" for n in range(count)],
            {
                "audio": Ragged.pack([rng.normal(size=(n, 3)).astype("f4") for n in lengths]),
                "vision": Ragged.pack([rng.normal(size=(n, 2)).astype("f4") for n in lengths]),
            },
            {"multimodal": rng.uniform(-1, 1, count).astype("f4"), "mood": (np.arange(count) % 3).astype("f4")},
            raw_text=[f"clip {n}" for n in range(count)],
            tokens=Ragged.pack([rng.integers(1, 9, n).astype("i4") for n in lengths]),
            words=TokenWords(Ragged.pack([np.arange(n, dtype="i4") - 1 for n in lengths]), lengths.astype("i4")),
        )
    mood = Target("classes", ("glad", "sad", "calm"))
    source = Source(splits, "mmsa", [], tokenizer="words", described={"mood": mood})
    write_store(path, source, data="mine", feature_set="mine/x", label_range=(-1.0, 1.0))


def as_schema_1(path: Path) -> None:
    """Turns a store into one of the schema that did not describe its targets."""
    with h5py.File(path, "r+") as file:
        del file.attrs["targets"]
        file.attrs["schema_version"] = 1
        file.attrs["label_range"] = np.array([-1.0, 1.0])


def crafts() -> Iterator[tuple[str, Craft]]:
    """Yields a name and what makes a whole store wrong."""
    for name, kind in ARRAYS.items():
        yield from ((f"{name} {word}", craft) for word, craft in _of_array(name, kind))
    for name in GROUPS:
        yield from ((f"{name} {word}", craft) for word, craft in _of_group(name))
    for name in (*TEXTS, *JSON, "tokenizer"):
        yield from ((f"attribute {name} {word}", craft) for word, craft in _of_text(name))
    for name in JSON:
        yield from ((f"attribute {name} {word}", _attribute(name, text)) for word, text in _json_texts(name))
    for value in (0, -1, 99, 1 << 62, 1.5, "2", [2], [2, 2], None):
        yield f"schema_version {value}", _attribute("schema_version", value)
    for value in ([3, 1], [1], [[0, 1]], ["a", "b"], [np.nan, 1], 3.0, [0, np.inf]):
        yield f"schema 1 label_range {value}", _range_of_schema_1(value)
    yield from _of_offsets()
    yield from _of_contents()


def _of_array(name: str, kind: str) -> Iterator[tuple[str, Craft]]:
    dtypes = ["f8", ">f4", "u8", "S5", "c8", "i8", "f4", ">i8"]
    for dtype in dtypes:
        if dtype != kind:
            yield dtype, _replace(name, lambda old, d=dtype: np.zeros(old.shape, d))
    compound = np.dtype([("a", "f4"), ("b", "i4")])
    yield "compound", _replace(name, lambda old: np.zeros(old.shape, compound))
    yield "lists", _of_type(name, h5py.vlen_dtype(np.int32), lambda file: np.arange(3, dtype=np.int32))
    yield "references", _of_type(name, h5py.ref_dtype, lambda file: file.ref)
    yield "enum", _replace(name, lambda old: np.zeros(old.shape, "i1"), dtype=h5py.enum_dtype({"a": 0}, "i1"))
    if kind != "text":
        yield "text", _replace(name, lambda old: np.full(old.shape, "a", object), dtype=TEXT)
        yield "scalar", _replace(name, lambda old: np.zeros((), kind))
        yield "one dimension more", _replace(name, lambda old: np.zeros((*old.shape, 1, 1), kind))
        yield "flat", _replace(name, lambda old: np.zeros(old.size * 2 + 1, kind))
        yield "too long", _replace(name, lambda old: np.zeros((len(old) + 2, *old.shape[1:]), kind))
        yield "too short", _replace(name, lambda old: np.zeros((len(old) - 1, *old.shape[1:]), kind))
        yield "empty", _replace(name, lambda old: np.zeros((0, *old.shape[1:]), kind))
        yield "3 GiB that are not there", _declare(name, kind, (3 << 28,), None)
        yield "a petabyte in chunks", _declare(name, kind, (1 << 47,), (1 << 10,))
        yield "compressed", _replace(name, lambda old: np.zeros(old.shape, kind), compression="gzip")
        yield "gigabytes, compressed", _compressed(name, kind)
        yield "in another file", _external(name, kind)
        yield "virtual", _virtual(name, kind)
    else:
        yield "too many texts", _replace(name, lambda old: np.full(len(old) + 1, "a", object), dtype=TEXT)
        yield "a text of no letters", _replace(name, lambda old: np.full((len(old), 2), "a", object), dtype=TEXT)
        yield "a billion texts", _declare(name, TEXT, (1 << 30,), None)
        yield "not UTF-8", _not_utf8(name)
    yield "no data space", _no_space(name)
    yield "a group", _as_group(name)
    yield "a soft link", _link(name, h5py.SoftLink("/train/ids"))
    yield "a link to nothing", _link(name, h5py.SoftLink("/nowhere"))
    yield "a link to itself", _link(name, h5py.SoftLink(f"/{name}"))
    yield "a link to a file", _link(name, h5py.ExternalLink("/etc/passwd", "/x"))
    yield "a type", _link(name, np.dtype("f4"))
    if name != "valid/raw_text":
        yield "missing", _delete(name)


def _of_group(name: str) -> Iterator[tuple[str, Craft]]:
    yield "an array", _link(name, np.zeros(3))
    yield "a soft link", _link(name, h5py.SoftLink("/valid"))
    yield "a link to a file", _link(name, h5py.ExternalLink("/etc/passwd", "/x"))
    if name != "test/tokens":
        yield "empty", _as_group(name)
    if name != "test":
        yield "missing", _delete(name)


def _of_text(name: str) -> Iterator[tuple[str, Craft]]:
    values: dict[str, Any] = {"number": 3, "numbers": [1.0, 2.0], "texts": ["a", "b"], "empty": h5py.Empty("S1")}
    for word, value in values.items():
        yield word, _attribute(name, value)
    yield "not UTF-8", _attribute(name, np.bytes_(b"\xff\xfe"))
    if name != "tokenizer":
        yield "missing", _attribute(name, None)


def _json_texts(name: str) -> Iterator[tuple[str, str]]:
    texts = ["", "{", "nul", "3", '"x"', "[3]", "[[]]", '{"a": 3}', '{"a": [1]}', '{"a": {"b": "c"}}', "NaN"]
    texts += ["[" * 100_000, '{"a":' * 5000 + "1" + "}" * 5000, "[" * 150 + "]" * 150, "1" * 5000, "\x00"[:0] + "[}"]
    yield from ((f"JSON {text[:20]!r} {len(text)}", text) for text in texts)
    if name == "targets":
        score = {"kind": "score", "names": [], "range": [-1, 1]}
        mood = {"kind": "classes", "names": ["glad", "sad", "calm"], "range": None}
        for word, wrong in {
            "unknown kind": {**mood, "kind": "moods"},
            "kind a list": {**mood, "kind": []},
            "no kind": {"names": ["a", "b"]},
            "one class": {**mood, "names": ["glad"]},
            "two classes of three": {**mood, "names": ["glad", "sad"]},
            "names a text": {**mood, "names": "glad"},
            "names numbers": {**mood, "names": [1, 2, 3]},
            "a name twice": {**mood, "names": ["a", "a", "b"]},
            "labels of another shape": {**mood, "kind": "labels"},
            "scores of another shape": {**mood, "kind": "score"},
            "a score too low": {"kind": "score", "range": [1, 2]},
            "range of three": {"kind": "score", "range": [0, 1, 2]},
            "range of one": {"kind": "score", "range": [0]},
            "range falls": {"kind": "score", "range": [2, 0]},
            "range of texts": {"kind": "score", "range": ["a", "b"]},
            "range a number": {"kind": "score", "range": 3},
            "null": None,
            "a list": [1],
        }.items():
            yield word, json.dumps({"multimodal": score, "mood": wrong})
        yield "a target too many", json.dumps({"multimodal": score, "mood": mood, "other": score})
        yield "a target too few", json.dumps({"multimodal": score})


def _of_offsets() -> Iterator[tuple[str, Craft]]:
    for name in ("train/streams/audio/offsets", "test/tokens/offsets"):
        for word, change in {
            "fall": lambda o: o[::-1].copy(),
            "begin later": lambda o: o + 1,
            "overrun": lambda o: np.where(np.arange(len(o)) == len(o) - 1, o + 5, o),
            "overrun in the middle": lambda o: np.where(np.arange(len(o)) == 2, 1 << 40, o),
            "negative": lambda o: np.where(np.arange(len(o)) == 1, -3, o),
            "lowest of all": lambda o: np.where(np.arange(len(o)) == 1, np.iinfo("i8").min, o),
            "end earlier": lambda o: np.where(np.arange(len(o)) == len(o) - 1, o[-2], o),
        }.items():
            yield f"{name} {word}", _replace(name, change)
            yield f"{name} {word}, unsigned", _replace(name, lambda o, c=change: c(o).astype("u8"))


def _of_contents() -> Iterator[tuple[str, Craft]]:
    yield "a negative token", _replace("train/tokens/values", lambda old: old - 100)
    yield "a word too low", _replace("train/tokens/words", lambda old: old - 1)
    yield "a word too high", _replace("test/tokens/words", lambda old: old + 2)
    yield "fewer words than tokens are of", _replace("valid/tokens/word_counts", lambda old: old * 0)
    yield "a number of words below 0", _replace("valid/tokens/word_counts", lambda old: old * 0 - 1)
    yield "a split without words", lambda file: [file["test/tokens"].pop(name) for name in ("words", "word_counts")]
    yield "a target that is no number", _replace("valid/targets/multimodal", lambda old: old * np.nan)
    yield "a class too high", _replace("valid/targets/mood", lambda old: old + 1)
    yield "half a class", _replace("valid/targets/mood", lambda old: old + 0.5)
    yield "a mean that is no number", _replace("statistics/audio/mean", lambda old: old * np.inf)
    yield "a deviation of 0", _replace("statistics/audio/std", lambda old: old * 0)
    ids = {"train": ["a"] * 6, "valid": ["train0", "b", "c", "d"]}
    for split, names in ids.items():
        new = np.array(names, object)
        yield f"an id twice, {split}", _replace(f"{split}/ids", lambda old, n=new: n, dtype=TEXT)
    yield "a modality less", _delete("valid/streams/audio")
    yield "a target less", _delete("test/targets/mood")
    yield "other features", _replace("test/streams/audio/values", lambda old: np.zeros((len(old), 9), "f4"))
    yield "a part of nobody, a petabyte", lambda file: _declare("train/extra", "f4", (1 << 47,), (64,))(file)
    yield "a cycle of groups", lambda file: file["train"].__setitem__("again", file["train"])
    yield "a name that cannot be printed", lambda file: file["train/streams"].move("audio", b"au\xff")


def _replace(name: str, change: Callable[[Any], Any], **options: Any) -> Craft:
    def craft(file: h5py.File) -> None:
        old = file[name][()]
        del file[name]
        file.create_dataset(name, data=change(old), **options)

    return craft


def _of_type(name: str, dtype: Any, value: Callable[[h5py.File], Any]) -> Craft:
    def craft(file: h5py.File) -> None:
        shape = file[name].shape
        del file[name]
        values = file.create_dataset(name, shape=shape, dtype=dtype)
        for place in np.ndindex(shape):
            values[place] = value(file)

    return craft


def _declare(name: str, kind: Any, shape: tuple[int, ...], chunks: tuple[int, ...] | None) -> Craft:
    def craft(file: h5py.File) -> None:
        if name in file:
            del file[name]
        file.create_dataset(name, shape=shape, dtype=kind, chunks=chunks)

    return craft


def _compressed(name: str, kind: str) -> Craft:
    def craft(file: h5py.File) -> None:
        del file[name]
        data = file.create_dataset(name, shape=(1 << 29,), dtype=kind, chunks=(1 << 20,), compression="gzip")
        data[: 1 << 20] = 0

    return craft


def _external(name: str, kind: str) -> Craft:
    def craft(file: h5py.File) -> None:
        shape = file[name].shape
        del file[name]
        file.create_dataset(name, shape=shape, dtype=kind, external=[("/etc/passwd", 0, h5py.h5f.UNLIMITED)])

    return craft


def _virtual(name: str, kind: str) -> Craft:
    def craft(file: h5py.File) -> None:
        shape = file[name].shape
        del file[name]
        layout = h5py.VirtualLayout(shape=shape, dtype=kind)
        layout[...] = h5py.VirtualSource("/etc/passwd", "x", shape=shape)
        file.create_virtual_dataset(name, layout)

    return craft


def _not_utf8(name: str) -> Craft:
    return _replace(name, lambda old: np.array([b"\xff\xfe", *old[1:]], object), dtype=TEXT)


def _no_space(name: str) -> Craft:
    def craft(file: h5py.File) -> None:
        del file[name]
        file[name] = h5py.Empty("f4")

    return craft


def _as_group(name: str) -> Craft:
    def craft(file: h5py.File) -> None:
        del file[name]
        file.create_group(name)

    return craft


def _link(name: str, target: Any) -> Craft:
    def craft(file: h5py.File) -> None:
        del file[name]
        file[name] = target

    return craft


def _delete(name: str) -> Craft:
    def craft(file: h5py.File) -> None:
        del file[name]

    return craft


def _attribute(name: str, value: Any) -> Craft:
    def craft(file: h5py.File) -> None:
        del file.attrs[name]
        if value is not None:
            file.attrs[name] = value

    return craft


def _range_of_schema_1(value: Any) -> Craft:
    def craft(file: h5py.File) -> None:
        del file.attrs["targets"]
        file.attrs["schema_version"] = 1
        file.attrs["label_range"] = value

    return craft
