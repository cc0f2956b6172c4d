"""The store: one HDF5 file that holds a prepared data set, ragged and packed. docs/data.md has its schema.

Opening reads only the index (ids, targets, offsets). Features are memory-mapped, so that a split is resident in the
page cache, shared by every process on the machine, and bytes that no batch asks for are never read.
Legend: N clips of a split, L sum of their steps, D features.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

import h5py
import numpy as np

import trivium
from trivium.data.clips import SPLITS, Array, Clips, Ragged, Source
from trivium.files import atomic_file

FORMAT = "trivium-store"
SCHEMA_VERSION = 1
_CHUNK = 1 << 22  # values a step when hashing or averaging, to bound memory


@dataclass(frozen=True)
class StoreSchema:
    """What a model needs to know of a store; plain values, so that a run can keep it.

    dims: modality -> D of numeric streams. counts: split -> N. max_lengths: modality -> longest clip of all splits
    ("tokens" for token ids). targets: names with scores. label_range: (low, high) or None. max_token: largest id, -1
    without tokens. tokenizer: what made them.
    """

    data: str
    feature_set: str
    dims: dict[str, int]
    counts: dict[str, int]
    max_lengths: dict[str, int]
    targets: tuple[str, ...]
    label_range: tuple[float, float] | None
    max_token: int = -1
    tokenizer: str | None = None
    source_format: str = ""

    @property
    def modalities(self) -> tuple[str, ...]:
        """Every modality the store can serve: the numeric ones, and text where there are token ids."""
        names = tuple(self.dims)
        return ("text", *names) if self.max_token >= 0 and "text" not in names else names

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> StoreSchema:
        low_high = value["label_range"]
        return cls(
            **{
                **value,
                "targets": tuple(value["targets"]),
                "label_range": None if low_high is None else (float(low_high[0]), float(low_high[1])),
            }
        )


@dataclass
class Statistics:
    """Mean and standard deviation of each feature over all steps of the train split, (D,) float64."""

    mean: Array
    std: Array


@dataclass
class Store:
    """An open store. `split(name)` gives Clips whose streams are memory-mapped and must not be written to."""

    path: Path
    schema: StoreSchema
    statistics: dict[str, Statistics]
    provenance: dict[str, Any] = field(repr=False, default_factory=dict)

    def split(self, name: str) -> Clips:
        """Raises ValueError if the store has no such split."""
        if name not in self.schema.counts:
            raise ValueError(f"{self.path}: no split {name!r}; it has {list(self.schema.counts)}")
        with _open(self.path) as file:
            return _read_split(self.path, file[name])


def write_store(
    path: Path, source: Source, *, data: str, feature_set: str, label_range: tuple[float, float] | None
) -> None:
    """Write `source` to `path`, atomically: whole, or not there at all.

    Raises ValueError for an inconsistent source (lengths that differ, no train split, a clip without any modality)
    and OSError as the file system does.
    """
    check_source(source)
    splits = {name: source.splits[name] for name in SPLITS if name in source.splits}
    with (
        atomic_file(path) as target,
        h5py.File(target, "w", alignment_threshold=1024, alignment_interval=64) as file,
    ):
        for name, clips in splits.items():
            _write_split(file.create_group(name), clips)
        for modality, ragged in splits["train"].streams.items():
            mean, std = _mean_std(ragged.values)
            group = file.create_group(f"statistics/{modality}")
            group["mean"], group["std"] = mean, std
        file.attrs.update(_attributes(source, data, feature_set, label_range))
        file.attrs["checksum"] = _content_checksum(file)


def open_store(path: str | os.PathLike[str]) -> Store:
    """Open a prepared store, read-only. Cheap: nothing but the index is read.

    Raises ValueError, naming the file, if it is missing, no store, cut off, of a newer schema, or inconsistent.
    """
    path = Path(path)
    with _open(path) as file:
        schema = _read_schema(path, file)
        statistics = {
            name: Statistics(group["mean"][()], group["std"][()]) for name, group in file.get("statistics", {}).items()
        }
        keys = ("created", "trivium_version", "source_files", "repairs", "notes", "checksum")
        provenance = {key: file.attrs[key] for key in keys}
    for key in ("source_files", "repairs", "notes"):
        provenance[key] = json.loads(provenance[key])
    return Store(path, schema, statistics, provenance)


def verify_store(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read every byte again and compare with the checksum written at preparation.

    Returns {"feature_set", "counts", "dims", "checksum", "source_files"}. Raises ValueError naming the file and what
    differs.
    """
    store = open_store(path)
    try:
        with _open(store.path) as file:
            found = _content_checksum(file)
            for name in store.schema.counts:
                check_source(Source({"train": _read_split(store.path, file[name])}, "store", [store.path]))
    except OSError as error:
        raise ValueError(f"{path}: cannot be read to its end ({error}); prepare it again") from error
    if found != store.provenance["checksum"]:
        raise ValueError(
            f"{path}: content has checksum {found[:12]}, but {store.provenance['checksum'][:12]} was written; "
            "the file was changed or damaged: prepare it again with scripts/prepare.py"
        )
    schema = store.schema
    return {
        "feature_set": schema.feature_set,
        "counts": schema.counts,
        "dims": schema.dims,
        "checksum": found,
        "source_files": store.provenance["source_files"],
    }


def check_source(source: Source) -> None:
    """Raises ValueError, naming file, split and key, unless every part has one entry a clip and ids are unique."""
    where = source.files[0] if source.files else source.format
    if "train" not in source.splits:
        raise ValueError(f"{where}: no split 'train'; found {list(source.splits)}")
    dims: dict[str, int] = {}
    for split, clips in source.splits.items():
        for key, count in _part_counts(clips).items():
            if count != len(clips):
                raise ValueError(f"{where}: split {split!r} has {len(clips)} ids but {count} entries in {key!r}")
        if not len(clips):
            raise ValueError(f"{where}: split {split!r} is empty; leave it out or give it clips")
        for modality, ragged in clips.streams.items():
            if dims.setdefault(modality, ragged.dim) != ragged.dim:
                raise ValueError(
                    f"{where}: {modality!r} has {ragged.dim} features in split {split!r}, {dims[modality]} before"
                )
        _refuse_empty_clips(f"{where}: split {split!r}", clips)
    _refuse_repeated_ids(where, source)


def sha256_of(path: Path) -> str:
    """Hex digest of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _part_counts(clips: Clips) -> dict[str, int]:
    counts = {name: len(ragged) for name, ragged in clips.streams.items()}
    counts |= {f"targets/{name}": len(values) for name, values in clips.targets.items()}
    if clips.raw_text is not None:
        counts["raw_text"] = len(clips.raw_text)
    if clips.tokens is not None:
        counts["tokens"] = len(clips.tokens)
    return counts


def _refuse_empty_clips(where: str, clips: Clips) -> None:
    parts = [ragged.lengths for ragged in clips.streams.values()]
    if clips.tokens is not None:
        parts.append(clips.tokens.lengths)
    if parts:
        empty = np.flatnonzero(np.sum(parts, axis=0) == 0)
        if len(empty):
            raise ValueError(f"{where}: clip {clips.ids[int(empty[0])]!r} has no step in any modality; leave it out")


def _refuse_repeated_ids(where: object, source: Source) -> None:
    seen: dict[str, str] = {}
    for split, clips in source.splits.items():
        for clip in clips.ids:
            if clip in seen:
                raise ValueError(f"{where}: id {clip!r} of split {split!r} occurs before, in split {seen[clip]!r}")
            seen[clip] = split


def _attributes(source: Source, data: str, feature_set: str, label_range: tuple[float, float] | None) -> dict[str, Any]:
    files = [{"name": f.name, "bytes": f.stat().st_size, "sha256": sha256_of(f)} for f in source.files if f.is_file()]
    attributes: dict[str, Any] = {
        "format": FORMAT,
        "schema_version": SCHEMA_VERSION,
        "trivium_version": trivium.__version__,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "data": data,
        "feature_set": feature_set,
        "source_format": source.format,
        "source_files": json.dumps(files),
        "repairs": json.dumps(source.repairs),
        "notes": json.dumps(source.notes),
    }
    if label_range is not None:
        attributes["label_range"] = np.asarray(label_range, dtype=np.float64)
    if source.tokenizer is not None:
        attributes["tokenizer"] = source.tokenizer
    return attributes


def _write_split(group: h5py.Group, clips: Clips) -> None:
    text = h5py.string_dtype()
    group.create_dataset("ids", data=np.asarray(clips.ids, dtype=object), dtype=text)
    if clips.raw_text is not None:
        group.create_dataset("raw_text", data=np.asarray(clips.raw_text, dtype=object), dtype=text)
    for name, values in clips.targets.items():
        group.create_dataset(f"targets/{name}", data=np.asarray(values, dtype=np.float32))
    # The source's order of modalities is kept: a fusion concatenates in it.
    streams = group.create_group("streams", track_order=True)
    for name, ragged in clips.streams.items():
        _write_ragged(streams.create_group(name), ragged, np.dtype("<f4"))
    if clips.tokens is not None:
        _write_ragged(group.create_group("tokens"), clips.tokens, np.dtype("<i4"))


def _write_ragged(group: h5py.Group, ragged: Ragged, dtype: np.dtype[Any]) -> None:
    group.create_dataset("values", data=np.ascontiguousarray(ragged.values, dtype=dtype))
    group.create_dataset("offsets", data=np.asarray(ragged.offsets, dtype=np.int64))


def _mean_std(values: Array) -> tuple[Array, Array]:
    """Two passes in float64 over chunks of rows; a constant feature gets 1, so that dividing by it is safe."""
    rows = max(1, _CHUNK // max(1, values.shape[1]))
    chunks = [values[i : i + rows] for i in range(0, len(values), rows)]
    count = max(1, len(values))
    mean = sum((c.sum(axis=0, dtype=np.float64) for c in chunks), np.zeros(values.shape[1])) / count
    square = sum((((c - mean) ** 2).sum(axis=0) for c in chunks), np.zeros(values.shape[1])) / count
    std = np.sqrt(square)
    return mean, np.where(std > 1e-12, std, 1.0)


def _content_checksum(file: h5py.File) -> str:
    """sha256 over every dataset's path, type, shape and bytes, in order of path; attributes are left out."""
    names: list[str] = []
    file.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
    digest = hashlib.sha256()
    for name in sorted(names):
        dataset = file[name]
        digest.update(f"{name} {dataset.dtype.str if dataset.dtype.kind != 'O' else 'text'} {dataset.shape};".encode())
        if dataset.dtype.kind == "O":
            for value in dataset[()]:
                digest.update(value + b"\0")
        else:
            rows = max(1, _CHUNK // max(1, int(np.prod(dataset.shape[1:]))))
            for start in range(0, len(dataset), rows):
                digest.update(np.ascontiguousarray(dataset[start : start + rows]).tobytes())
    return digest.hexdigest()


def _open(path: Path | IO[bytes]) -> h5py.File:
    if isinstance(path, Path) and not path.is_file():
        raise ValueError(f"{path}: no such store; prepare one with scripts/prepare.py")
    try:
        return h5py.File(path, "r")
    except OSError as error:
        raise ValueError(f"{path}: not a store, or cut off ({error}); prepare it again") from error


def _read_schema(path: Path, file: h5py.File) -> StoreSchema:
    attributes = file.attrs
    if attributes.get("format") != FORMAT:
        raise ValueError(f"{path}: an HDF5 file, but no Trivium store; prepare one with scripts/prepare.py")
    version = int(attributes["schema_version"])
    if version > SCHEMA_VERSION:
        raise ValueError(
            f"{path}: store of schema version {version}, this Trivium reads up to {SCHEMA_VERSION}; "
            "update Trivium, or prepare the store again with this version"
        )
    splits = [name for name in SPLITS if name in file]
    streams = {m: [file[s]["streams"][m] for s in splits] for m in file["train"]["streams"]}
    tokens = [file[s]["tokens"] for s in splits if "tokens" in file[s]]
    longest = {m: max(_longest(path, g) for g in groups) for m, groups in streams.items()}
    if tokens:
        longest["tokens"] = max(_longest(path, g) for g in tokens)
    low_high = attributes.get("label_range")
    return StoreSchema(
        data=str(attributes["data"]),
        feature_set=str(attributes["feature_set"]),
        dims={m: int(groups[0]["values"].shape[1]) for m, groups in streams.items()},
        counts={s: len(file[s]["ids"]) for s in splits},
        max_lengths=longest,
        targets=tuple(file["train"]["targets"]),
        label_range=None if low_high is None else (float(low_high[0]), float(low_high[1])),
        max_token=max((int(g["values"][()].max(initial=0)) for g in tokens), default=-1),
        tokenizer=None if "tokenizer" not in attributes else str(attributes["tokenizer"]),
        source_format=str(attributes["source_format"]),
    )


def _longest(path: Path, group: h5py.Group) -> int:
    offsets, values = group["offsets"][()], group["values"]
    if offsets[0] != 0 or (np.diff(offsets) < 0).any() or offsets[-1] != len(values):
        raise ValueError(
            f"{path}: {group.name}/offsets end at {offsets[-1]}, but {len(values)} steps are stored, or they go back; "
            "the file is damaged: prepare it again"
        )
    return int(np.diff(offsets).max(initial=0))


def _read_split(path: Path, group: h5py.Group) -> Clips:
    return Clips(
        ids=[value.decode() for value in group["ids"][()]],
        streams={name: _map_ragged(path, part) for name, part in group["streams"].items()},
        targets={name: values[()] for name, values in group["targets"].items()},
        raw_text=[value.decode() for value in group["raw_text"][()]] if "raw_text" in group else None,
        tokens=_map_ragged(path, group["tokens"]) if "tokens" in group else None,
    )


def _map_ragged(path: Path, group: h5py.Group) -> Ragged:
    """Values memory-mapped, copy-on-write: torch wants writable memory, and no write ever reaches the file."""
    values = group["values"]
    place = values.id.get_offset()
    if place is None:  # nothing stored (no step at all), or a layout of another writer
        return Ragged(values[()], group["offsets"][()])
    if place + values.nbytes > path.stat().st_size:
        raise ValueError(f"{path}: {values.name} is cut off at the file's end; prepare it again")
    mapped = np.memmap(path, dtype=values.dtype, mode="c", offset=place, shape=values.shape)
    return Ragged(mapped, group["offsets"][()])
