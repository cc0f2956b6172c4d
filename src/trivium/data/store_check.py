"""Compares an open store with the schema of docs/data.md, before anything that a file says is relied on.

Only the index is read (ids, targets, offsets, statistics, attributes). Whatever is read or mapped has been compared
with the size of the file first, so that no file can ask for more memory than it takes itself. Parts that the schema
does not know are allowed, and held to the same sizes.
Legend: N clips of a split, L sum of their steps, D features.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from trivium.core.structure import Expected, Keys, parse_json, require, shown
from trivium.data.clips import FEWEST_FOLDS, STORE_SPLITS, Array, in_chunks
from trivium.data.hdf5_errors import HDF5_ERRORS
from trivium.data.store_writing import FORMAT, SCHEMA_VERSION
from trivium.data.target import Target

# The attributes of every schema, and those whose text is JSON with what it holds.
_TEXTS = ("data", "feature_set", "source_format", "created", "trivium_version", "checksum")
_JSON: dict[str, Expected] = {
    "source_files": [Keys({"name": str, "bytes": int, "sha256": str})],
    "repairs": Keys(other=Keys(other=int)),
    "notes": Keys(other=str),
}
_TARGETS = Keys(other=Keys({"kind": str}, {"names": ([str], None), "range": ([float], None)}))
# HDF5 stores a text of any length as its length, the address of its heap, and its number there.
_TEXT = np.dtype([("length", "<u4"), ("address", "<u8"), ("number", "<u4")])
_ADVICE = "prepare it again"


def check_store(path: Path, file: h5py.File, content: Any) -> int:
    """Returns the version of the store's schema.

    content: the file's bytes. Raises ValueError, naming file, path in it, what was expected and what was found, for a
    file that is no store, for a newer schema, and for another structure.
    """
    check = _Check(path, file, memoryview(content))
    version = check.version()
    check.sizes()
    check.attributes(version)
    check.splits(version)
    return version


def read_text(path: Path, dataset: h5py.Dataset) -> list[str]:
    """Returns a data set of texts. Raises ValueError naming the place of one that is not UTF-8."""
    values = []
    for place, value in enumerate(dataset[()]):
        try:
            values.append(value.decode())
        except UnicodeDecodeError as error:
            where = f"{path}: {dataset.name.lstrip('/')}: entry {place}"
            raise ValueError(f"{where}: expected UTF-8 text, found {shown(bytes(value))}; {_ADVICE}") from error
    return values


class _Check:
    """Checks one open file."""

    def __init__(self, path: Path, file: h5py.File, content: memoryview) -> None:
        self.path, self.file, self.content = path, file, content

    def refuse(self, name: str, expected: str, found: str) -> None:
        where = shown(name.strip("/"))[1:-1]
        raise ValueError(f"{self.path}: {where}: expected {expected}, found {found}; {_ADVICE}")

    def version(self) -> int:
        """Returns the schema's version."""
        if "format" not in self.file.attrs or self.text("format") != FORMAT:
            raise ValueError(f"{self.path}: an HDF5 file, but no Trivium store; prepare one with `trivium prepare`")
        version = self.whole_number("schema_version")
        if version > SCHEMA_VERSION:
            raise ValueError(
                f"{self.path}: store of schema version {version}, this Trivium reads up to {SCHEMA_VERSION}; "
                "update Trivium, or prepare the store again with this version"
            )
        if version < 1:
            self.refuse("attribute 'schema_version'", "1 or more", str(version))
        return version

    # Sizes

    def sizes(self) -> None:
        """Refuses data sets, of whatever name, that declare more than the file holds, or that lie in another file."""
        for name, dataset in self._datasets("", self.file, 0):
            layout = dataset.id.get_create_plist()
            size = math.prod(dataset.shape or (0,)) * dataset.id.get_type().get_size()
            if dataset.shape is None:
                self.refuse(name, "an array", "an empty data space")
            if layout.get_layout() == h5py.h5d.VIRTUAL or layout.get_external_count():
                self.refuse(name, "values in this file", "a reference to another file")
            if layout.get_nfilters():
                self.refuse(name, "plain values", "compressed or filtered ones (h5repack -f NONE makes them plain)")
            if size > len(self.content) or size > dataset.id.get_storage_size():
                self.refuse(
                    name,
                    f"{'x'.join(map(str, dataset.shape))} values, {size} bytes",
                    f"{dataset.id.get_storage_size()} bytes of them in a file of {len(self.content)}: it is cut off",
                )
            offset = dataset.id.get_offset()
            if offset is not None and offset + size > len(self.content):
                self.refuse(name, f"{size} bytes at {offset}", f"a file of {len(self.content)} bytes: it is cut off")

    def _datasets(self, at: str, group: h5py.Group, depth: int) -> Iterator[tuple[str, h5py.Dataset]]:
        """Yields the data sets at any depth. Links that lead elsewhere are refused, cycles with them."""
        if depth > 4:
            self.refuse(at, "at most 4 levels of groups", "more")
        for name in group:
            member = f"{at}/{name}"
            if type(group.get(name, getlink=True)) is not h5py.HardLink:
                self.refuse(member, "a group or an array", "a link to another place")
            item = group[name]
            if isinstance(item, h5py.Group):
                yield from self._datasets(member, item, depth + 1)
            elif isinstance(item, h5py.Dataset):
                yield member, item
            else:
                self.refuse(member, "a group or an array", "a named type")

    # Attributes

    def attributes(self, version: int) -> None:
        for name in _TEXTS:
            self.text(name)
        for name, expected in _JSON.items():
            require(self._json(name), expected, f"{self.path}: attribute {name!r}")
        if "tokenizer" in self.file.attrs:
            self.text("tokenizer")
        if version >= 2:
            self._described()
        elif "label_range" in self.file.attrs:
            self._range("attribute 'label_range'", self._numbers("label_range", (2,)).tolist())

    def text(self, name: str) -> str:
        """Returns an attribute that must be one text."""
        dtype, shape = self._attribute(name, "text")
        if h5py.check_string_dtype(dtype) is None or shape != ():
            self.refuse(f"attribute {name!r}", "text", _array_words(dtype, shape))
        value = self.file.attrs[name]
        value = value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else str(value)
        if any("\ud800" <= letter <= "\udfff" for letter in value):
            self.refuse(f"attribute {name!r}", "UTF-8 text", shown(value))
        return value

    def whole_number(self, name: str) -> int:
        """Returns an attribute that must be one whole number."""
        dtype, shape = self._attribute(name, "a whole number")
        if dtype.kind not in "iu" or shape != ():
            self.refuse(f"attribute {name!r}", "a whole number", _array_words(dtype, shape))
        return int(self.file.attrs[name])

    def _numbers(self, name: str, shape: tuple[int, ...]) -> Array:
        dtype, stored_shape = self._attribute(name, "numbers")
        if dtype.kind != "f" or stored_shape != shape:
            self.refuse(f"attribute {name!r}", f"numbers of shape {shape}", _array_words(dtype, stored_shape))
        values: Array = self.file.attrs[name]
        return values

    def _attribute(self, name: str, expected: str) -> tuple[np.dtype[Any], tuple[int, ...]]:
        """Returns type and shape without reading the value."""
        if name not in self.file.attrs:
            self.refuse(f"attribute {name!r}", expected, "none")
        attribute = h5py.h5a.open(self.file.id, name.encode())
        try:
            return attribute.dtype, attribute.shape
        except TypeError:
            # h5py has no type of numpy for it.
            self.refuse(f"attribute {name!r}", expected, "a value of another type")
            raise

    def _json(self, name: str) -> Any:
        text = self.text(name)
        try:
            return parse_json(text)
        except ValueError as error:
            where = f"{self.path}: attribute {name!r}"
            raise ValueError(f"{where}: expected JSON, found {shown(text)} ({error}); {_ADVICE}") from error

    def _described(self) -> dict[str, Target]:
        where, targets = f"{self.path}: attribute 'targets'", self._json("targets")
        require(targets, _TARGETS, where)
        for name, target in targets.items():
            if target.get("range") is not None:
                self._range(f"attribute 'targets': {name}.range", target["range"])
            try:
                Target.from_dict(target)
            except ValueError as error:
                raise ValueError(f"{where}: {name}: {error}; {_ADVICE}") from error
        return {name: Target.from_dict(target) for name, target in targets.items()}

    def _range(self, name: str, ends: Sequence[Any]) -> None:
        if len(ends) != 2 or not all(map(math.isfinite, ends)) or not ends[0] < ends[1]:
            self.refuse(name, "two numbers, the lower first", shown(list(ends)))

    # Splits

    def splits(self, version: int) -> None:
        """Refuses splits whose parts do not belong together, and parts that are not alike in all splits."""
        names = [name for name in STORE_SPLITS if name in self.file]
        if "train" not in names:
            self.refuse("train", "a group", "none")
        ids: dict[str, str] = {}
        parts = {name: self._split(name, ids) for name in names}
        for name in names[1:]:
            if parts[name] != parts["train" if "train" in names else names[0]]:
                differing = set(parts[name].items()) ^ set(parts["train"].items())
                part = min(key for key, _ in differing)
                part_words, train_words = (_part_words(parts[split].get(part)) for split in (name, "train"))
                self.refuse(f"{name}/{part}", f"{train_words}, as in train", part_words)
        folds = self._folds() if "fold" in self.file["train"] else ()
        for part, shape in parts["train"].items():
            if part.startswith("streams/"):
                self._statistics(part.removeprefix("streams/"), (*folds, shape[0]))
        if version >= 2:
            self._as_described(names)

    def _split(self, split: str, split_of_id: dict[str, str]) -> dict[str, tuple[int, ...]]:
        """Returns part -> shape of one entry, of the parts that must be alike in all splits."""
        group = self.group(split)
        ids = self.array(f"{split}/ids", "text")
        count = len(ids)
        if not count:
            self.refuse(f"{split}/ids", "at least one clip", "none")
        for name in read_text(self.path, ids):
            if name in split_of_id:
                self.refuse(f"{split}/ids", "ids that occur once", f"{shown(name)} in split {split_of_id[name]} too")
            split_of_id[name] = split
        if "raw_text" in group:
            self._entries(f"{split}/raw_text", self.array(f"{split}/raw_text", "text"), count)
        parts: dict[str, tuple[int, ...]] = {}
        for name in self._names(f"{split}/targets"):
            values = self.array(f"{split}/targets/{name}", "f4", ndims=(1, 2))
            self._entries(f"{split}/targets/{name}", values, count)
            parts[f"targets/{name}"] = values.shape[1:]
        for name in self._names(f"{split}/streams"):
            parts[f"streams/{name}"] = self._ragged(f"{split}/streams/{name}", count, "f4", 2)
        if "tokens" in group:
            parts["tokens"] = self._ragged(f"{split}/tokens", count, "i4", 1)
            self._token_ids(f"{split}/tokens/values")
            if {"words", "word_counts"} & set(group["tokens"]):
                parts["tokens/words"] = self._words(f"{split}/tokens", count)
        return parts

    def _ragged(self, name: str, count: int, kind: str, ndim: int) -> tuple[int, ...]:
        """Returns the shape of one step."""
        self.group(name)
        values = self.array(f"{name}/values", kind, ndims=(ndim,))
        if 0 in values.shape[1:]:
            self.refuse(f"{name}/values", "features", f"an array of shape {values.shape}")
        stored = self.array(f"{name}/offsets", "i8")
        self._entries(f"{name}/offsets", stored, count + 1)
        offsets = stored[()]
        if offsets[0] != 0 or (offsets[1:] < offsets[:-1]).any() or offsets[-1] != len(values):
            falls = bool((offsets[1:] < offsets[:-1]).any())
            ends = f"{offsets[0]} to {offsets[-1]}{', and some that fall' if falls else ''}"
            self.refuse(f"{name}/offsets", f"numbers that rise from 0 to the {len(values)} steps", ends)
        shape: tuple[int, ...] = values.shape[1:]
        return shape

    def _token_ids(self, name: str) -> None:
        lowest = min((int(part.min()) for _, part in in_chunks(self.file[name])), default=0)
        if lowest < 0:
            self.refuse(name, "token ids from 0", str(lowest))

    def _words(self, name: str, count: int) -> tuple[int, ...]:
        """Returns the shape of one entry, after each token was found to be of a word of its clip, or -1."""
        numbers, counts = self.array(f"{name}/words", "i4"), self.array(f"{name}/word_counts", "i4")
        offsets = self.file[name]["offsets"][()]
        self._entries(f"{name}/words", numbers, int(offsets[-1]))
        self._entries(f"{name}/word_counts", counts, count)
        most_L = np.repeat(counts[()], np.diff(offsets))
        for start, part in in_chunks(numbers):
            wrong = (part < -1) | (part >= most_L[start : start + len(part)])
            if wrong.any():
                place = int(np.flatnonzero(wrong)[0])
                expected = f"-1, or a word from 0 to {int(most_L[start + place]) - 1} of the clip"
                self.refuse(f"{name}/words", expected, f"{int(part[place])} at place {start + place}")
        if len(counts) and int(counts[()].min()) < 0:
            self.refuse(f"{name}/word_counts", "numbers of words from 0", str(int(counts[()].min())))
        shape: tuple[int, ...] = numbers.shape[1:]
        return shape

    def _folds(self) -> tuple[int]:
        """Returns the number of folds, of which each clip must have one."""
        names = self._json("folds")
        require(names, [str], f"{self.path}: attribute 'folds'")
        if len(names) < FEWEST_FOLDS or len(set(names)) < len(names):
            self.refuse("attribute 'folds'", f"at least {FEWEST_FOLDS} names, each once", shown(names))
        stored, count = self.array("train/fold", "i8"), len(self.file["train"]["ids"])
        self._entries("train/fold", stored, count)
        numbers = stored[()]
        outside = sorted(set(numbers.tolist()) - set(range(len(names))))
        if outside or len(set(numbers.tolist())) < len(names):
            wrong = ", ".join(map(str, outside[:3])) or f"{len(set(numbers.tolist()))} of them"
            self.refuse("train/fold", f"every number from 0 to {len(names) - 1}", wrong)
        if "group" in self.file["train"]:
            groups = self.array("train/group", "text")
            self._entries("train/group", groups, count)
            read_text(self.path, groups)
        return (len(names),)

    def _statistics(self, modality: str, shape: tuple[int, ...]) -> None:
        """Refuses statistics that are not of `shape`: (D,), or (K, D) with a row a fold."""
        for word in ("mean", "std"):
            name = f"statistics/{modality}/{word}"
            self.group("statistics")
            self.group(f"statistics/{modality}")
            values = self.array(name, "f8", ndims=(len(shape),))
            if values.shape != shape:
                self.refuse(name, f"an array of shape {shape}", str(values.shape))
            numbers = values[()]
            if not np.isfinite(numbers).all() or (word == "std" and not (numbers > 0).all()):
                self.refuse(name, "finite numbers" if word == "mean" else "numbers above 0", shown(numbers.tolist()))

    def _as_described(self, splits: Sequence[str]) -> None:
        """Refuses targets that are not as the attribute "targets" describes them."""
        described = self._described()
        for split in splits:
            names = self._names(f"{split}/targets")
            if sorted(names) != sorted(described):
                self.refuse(f"{split}/targets", ", ".join(sorted(described)), ", ".join(sorted(names)) or "none")
            ids = read_text(self.path, self.file[split]["ids"])
            for name, target in described.items():
                target.check(self.file[split]["targets"][name][()], ids, f"{self.path}: {split}/targets/{name}")

    # Groups and arrays

    def group(self, name: str) -> h5py.Group:
        """Returns a group that must be there."""
        item = self._member(name, "a group")
        if not isinstance(item, h5py.Group):
            self.refuse(name, "a group", "an array")
        return item

    def array(self, name: str, kind: str, ndims: tuple[int, ...] = (1,)) -> h5py.Dataset:
        """Returns a data set that must be there, of one of these ranks. kind: "text", or a type of numpy."""
        words = "texts" if kind == "text" else f"{np.dtype(kind)} values"
        item = self._member(name, words)
        if not isinstance(item, h5py.Dataset):
            self.refuse(name, words, "a group")
        try:
            dtype = item.dtype
        except TypeError:
            self.refuse(name, words, "values of another type")
        fits = self._is_text(item) if kind == "text" else dtype == np.dtype(f"<{kind}")
        if not fits or item.ndim not in ndims:
            self.refuse(name, f"{words} of {' or '.join(map(str, ndims))} dimensions", _array_words(dtype, item.shape))
        return item

    def _is_text(self, dataset: h5py.Dataset) -> bool:
        """Tells whether a data set holds texts of any length, and refuses lengths that the file cannot hold."""
        text = h5py.check_string_dtype(dataset.dtype)
        if text is None or text.length is not None:
            return False
        offset = dataset.id.get_offset()
        if offset is not None and dataset.id.get_storage_size() == dataset.size * _TEXT.itemsize:
            declared = np.frombuffer(self.content, _TEXT, dataset.size, offset)["length"].sum(dtype=np.int64)
            if declared > len(self.content):
                size = f"{declared} letters in a file of {len(self.content)} bytes"
                self.refuse(dataset.name, "texts that the file holds", size)
        return True

    def _member(self, name: str, expected: str) -> Any:
        try:
            if name not in self.file:
                self.refuse(name, expected, "none")
            return self.file[name]
        except HDF5_ERRORS as error:
            where = f"{self.path}: {name}"
            raise ValueError(f"{where}: expected {expected}, found a damaged one ({error}); {_ADVICE}") from error

    def _names(self, name: str) -> list[str]:
        names = list(self.group(name))
        for member in names:
            if not member.isprintable():
                self.refuse(name, "names of letters", shown(member))
        return names

    def _entries(self, name: str, values: h5py.Dataset, count: int) -> None:
        if len(values) != count:
            self.refuse(name, f"{count} entries", str(len(values)))


def _array_words(dtype: np.dtype[Any], shape: Any) -> str:
    kind = "text" if h5py.check_string_dtype(dtype) is not None else str(dtype)[:40]
    return f"{kind} of shape {shape}"


def _part_words(shape: tuple[int, ...] | None) -> str:
    if shape is None:
        return "none"
    return f"{shape[0]} values an entry" if shape else "one value an entry"
