"""Spoils one file of a folder: by bytes, by the values that it holds, or by its words; as hypothesis draws it."""

from __future__ import annotations

import io
import pickle
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from hypothesis import strategies as st

Draw = Callable[[st.SearchStrategy[Any]], Any]
TEXTS = ["", "nan", "-1", "1e999", "0", "{", "[", "]", "}", ":", ",", '"', "'", "\\", "\x00", "\ufeff", "é", "null"]
TEXTS += [
    "true",
    "0x10",
    "9" * 400,
    "../..",
    "/dev/null",
    "\t",
    "\r",
    "\n\n",
    "&a",
    "*a",
    "!!python/name:os.system",
    "~",
]
TEXTS += ["- ", "#", "=", "${x}", "-", "..", "a" * 5000, "2024-13-45", "1_0", ".inf", "1:2:3", "<<", "\u2028", "|", ">"]
BYTES = [b"\x00", b"\xff", b"\x80", b"\xff\xff\xff\xff", b"\x00" * 8, b"\x7f" + b"\xff" * 7, b".", b"\x89HDF\r\n\x1a\n"]
# Values that a reader may not expect; each is made when it is needed, as some are changed afterwards.
VALUES: list[Callable[[], Any]] = [
    *(lambda value=value: value for value in (None, True, -1, 0, 2**31, 2**70, 1.5, float("nan"), float("inf"), 1j)),
    *(
        lambda value=value: value
        for value in ("", "\x00", "a\nb", "\ud800", "é", b"", b"\xff\xfe", "nan", "3", "a" * 3000)
    ),
    *(lambda value=value: value for value in ((), (1, "a"), frozenset([1]))),
    *(list, dict, set, lambda: [[]], lambda: [None], lambda: ["a", 1], lambda: {"a": 1}, lambda: {1: {2: 3}}),
    lambda: np.zeros(0, "f4"),
    lambda: np.zeros((2, 0, 3), "f4"),
    lambda: np.zeros((0, 5, 3), "f4"),
    lambda: np.full((4, 5), np.nan),
    lambda: np.full((3, 2, 5), np.inf, "f4"),
    lambda: np.array(["a", None, 3], object),
    lambda: np.array([[b"a", b"\xff"]]),
    lambda: np.array("x"),
    lambda: np.zeros((2, 3, 4, 5), "f2"),
    lambda: np.arange(6).reshape(6, 1) * 10**15,
    lambda: np.array([1 + 2j]),
    lambda: np.array(["2020-01-01"], "M8[D]"),
    lambda: np.zeros(3, [("a", "f4"), ("b", "i4")]),
    lambda: np.array([True, False]),
    lambda: np.float64("nan"),
    lambda: np.int64(7),
]
# What is done to an array that stands somewhere.
CHANGES: list[Callable[[Any], Any]] = [
    lambda a: a[:-1],
    lambda a: a[:0],
    lambda a: np.concatenate([a, a]),
    lambda a: a[None],
    lambda a: a.reshape(-1),
    lambda a: a.swapaxes(0, -1),
    lambda a: a[::-1],
    lambda a: a.astype("f8"),
    lambda a: a.astype("i8"),
    lambda a: a.astype(">f4"),
    lambda a: a.astype("U8"),
    lambda a: a.astype(object),
    lambda a: a.astype("f2"),
    lambda a: a * -1,
    lambda a: a * np.nan,
    lambda a: a * 0,
    lambda a: a + 10**9,
    lambda a: np.where(np.arange(a.size).reshape(a.shape) == a.size // 2, np.inf, a),
    lambda a: np.where(np.arange(a.size).reshape(a.shape) == a.size // 3, -(10**9), a),
]


def spoil_one_of(folder: Path, draw: Draw) -> None:
    """Spoils one or two of a folder's files."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    for _ in range(draw(st.sampled_from([1, 1, 1, 2]))):
        file = draw(st.sampled_from(files))
        ways = {
            ".pkl": [_bytes, _pickled, _pickled],
            ".h5": [_bytes, _hdf5, _hdf5],
            ".csd": [_bytes, _hdf5, _hdf5],
            ".dt": [_bytes, _member],
            ".ckpt": [_bytes, _member, _torch, _torch],
            ".npy": [_bytes],
            ".safetensors": [_bytes],
        }.get(file.suffix, [_bytes, _words, _words, _lines])
        draw(st.sampled_from(ways))(file, draw)


def _bytes(file: Path, draw: Draw) -> None:
    file.write_bytes(_spoiled_bytes(file.read_bytes(), draw))


def _spoiled_bytes(content: bytes, draw: Draw) -> bytes:
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, max(0, len(content) - 1)))
        length = draw(st.sampled_from([0, 1, 1, 2, 4, 8, 100]))
        new = draw(st.sampled_from(BYTES) | st.binary(max_size=8))
        what = draw(st.sampled_from(["over", "over", "over", "insert", "cut out", "cut off", "double"]))
        content = {
            "over": content[:place] + new + content[place + len(new) :],
            "insert": content[:place] + new + content[place:],
            "cut out": content[:place] + content[place + length :],
            "cut off": content[:place],
            "double": content[: place + length] + content[place:],
        }[what]
    return content


def _words(file: Path, draw: Draw) -> None:
    file.write_bytes(spoiled_words(file.read_text("utf-8", "surrogateescape"), draw).encode("utf-8", "surrogatepass"))


def spoiled_words(text: str, draw: Draw) -> str:
    """Returns a text of which one to three words or signs are replaced, doubled or left out."""
    words = re.findall(r"[\w.]+|\s+|[^\w\s]", text) or [""]
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.integers(0, len(words) - 1))
        other = draw(st.sampled_from(TEXTS) | st.sampled_from(words) | st.text(max_size=5))
        words[place] = draw(st.sampled_from([other, other, other, "", words[place] * 2, words[place] + other]))
    return "".join(words)


def _lines(file: Path, draw: Draw) -> None:
    lines = file.read_bytes().split(b"\n")
    place, other = draw(st.integers(0, len(lines) - 1)), draw(st.integers(0, len(lines) - 1))
    what = draw(st.sampled_from(["leave out", "double", "swap", "cut"]))
    if what == "leave out":
        del lines[place]
    elif what == "double":
        lines.insert(other, lines[place])
    elif what == "swap":
        lines[place], lines[other] = lines[other], lines[place]
    else:
        lines[place] = lines[place][: len(lines[place]) // 2]
    file.write_bytes(b"\n".join(lines))


def _pickled(file: Path, draw: Draw) -> None:
    try:
        content = pickle.loads(file.read_bytes())
    except Exception:  # spoiled before
        return
    content = _spoiled_value(content, draw)
    protocol = draw(st.sampled_from([2, 4, 0, 5]))
    try:
        file.write_bytes(pickle.dumps(content, protocol=protocol))
    except UnicodeEncodeError:  # a lone surrogate, in protocols without it
        return


def _torch(file: Path, draw: Draw) -> None:
    import torch

    try:
        content = torch.load(file, weights_only=True)
    except Exception:  # spoiled before
        return
    target = io.BytesIO()
    torch.save(_spoiled_value(content, draw), target)
    file.write_bytes(target.getvalue())


def _spoiled_value(content: Any, draw: Draw) -> Any:
    """Returns a nest of containers of which one place has another value, lacks it, or has a changed array."""
    places = _places(content)
    if not places:
        return draw(st.sampled_from(VALUES))()
    container, key = draw(st.sampled_from(places))
    value = container[key]
    if isinstance(value, np.ndarray) and value.ndim and draw(st.booleans()):
        value = _changed(value, draw)
    else:
        value = draw(st.sampled_from(VALUES))()
    what = draw(st.sampled_from(["replace", "replace", "replace", "leave out", "add", "rename"]))
    if what == "replace" or (what == "rename" and isinstance(container, list)):
        container[key] = value
    elif what == "leave out":
        del container[key]
    elif isinstance(container, list):
        container.append(value)
    else:
        # A value that cannot be a key leaves the container as it is.
        new = draw(st.sampled_from(["a", "id", "labels", "", "\x00", 3, None, (1, 2), b"id"]))
        container[new] = container.pop(key) if what == "rename" else value
    return content


def _places(content: Any, depth: int = 0) -> list[tuple[Any, Any]]:
    """Returns (container, key) of all that stands in dicts and lists; in long lists of the first, middle and last."""
    if depth > 6:
        return []
    if isinstance(content, dict):
        own = [(content, key) for key in content]
    elif isinstance(content, list):
        own = [(content, n) for n in sorted({0, len(content) // 2, len(content) - 1}) if content]
    elif isinstance(content, tuple):
        return [place for part in content for place in _places(part, depth + 1)]
    else:
        return []
    return own + [place for container, key in own for place in _places(container[key], depth + 1)]


def _changed(array: Any, draw: Draw) -> Any:
    try:
        with np.errstate(all="ignore"):
            return draw(st.sampled_from(CHANGES))(array)
    except (TypeError, ValueError):  # not for an array of this kind
        return array


def _hdf5(file: Path, draw: Draw) -> None:
    try:
        with h5py.File(file, "r+") as content:
            _spoil_hdf5(content, draw)
    except (OSError, RuntimeError, KeyError, TypeError, ValueError):  # spoiled before, or a value that HDF5 has not
        return


def _spoil_hdf5(content: h5py.File, draw: Draw) -> None:
    names = list[str]()
    content.visit(names.append)
    name = draw(st.sampled_from(sorted(names)))
    if content.attrs and draw(st.sampled_from([True, False, False])):
        key = draw(st.sampled_from(sorted(content.attrs)))
        old = content.attrs.pop(key)
        if draw(st.booleans()):
            text = isinstance(old, str) and draw(st.booleans())
            content.attrs[key] = spoiled_words(old, draw) if text else draw(st.sampled_from(VALUES))()
        return
    node = content[name]
    value = draw(st.sampled_from(VALUES))()
    if isinstance(node, h5py.Dataset) and node.shape and draw(st.booleans()):
        value = _changed(node[()], draw)
    what = draw(st.sampled_from(["replace", "replace", "leave out", "rename", "add"]))
    if what == "rename":
        content.move(name, name + draw(st.sampled_from(["s", "/a", " ", "é", "\x01"])))
        return
    if what != "add":
        del content[name]
    if what != "leave out":
        content[name if what == "replace" else f"{name}.more"] = value


def _member(file: Path, draw: Draw) -> None:
    """Spoils a member of a zip archive, whose checksum is then right."""
    try:
        with zipfile.ZipFile(file) as archive:
            content = {info.filename: archive.read(info) for info in archive.infolist()}
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, RuntimeError):  # spoiled before
        return
    name = draw(st.sampled_from(sorted(content)))
    content[name] = _spoiled_bytes(content[name], draw)
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for key, data in content.items():
            archive.writestr(key, data)
