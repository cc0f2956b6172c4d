"""Writes a store: checks the source, lays out the file, and adds the checksum that `verify_store` compares.

Legend: N clips of a split, L sum of their steps, D features, K folds.
"""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import h5py
import numpy as np

import trivium
from trivium.core.files import atomic_file
from trivium.data.clips import STORE_SPLITS, Array, Clips, Folds, Ragged, Source, in_chunks
from trivium.data.source_check import check_labels, check_source, targets_of
from trivium.data.target import Target

FORMAT = "trivium-store"
# 2: "targets" says what each target is. A store of schema 1 has scores, and class numbers beside them.
SCHEMA_VERSION = 2


def write_store(
    path: Path, source: Source, *, data: str, feature_set: str, label_range: tuple[float, float] | None
) -> None:
    """Writes `source` to `path`, atomically: whole, or not at all.

    label_range: the lowest and highest possible score, or None where that is open, of scores that the source does not
    describe. Raises ValueError as check_source and check_labels do, and OSError as the file system does.
    """
    if label_range is not None:
        check_labels(source, label_range)
    if "train" in source.splits:
        targets = targets_of(source, label_range)
    check_source(source)
    splits = {name: source.splits[name] for name in STORE_SPLITS if name in source.splits}
    with (
        atomic_file(path) as target,
        h5py.File(target, "w", alignment_threshold=1024, alignment_interval=64) as file,
    ):
        for name, clips in splits.items():
            _write_split(file.create_group(name), clips)
        if source.folds is not None:
            _write_folds(file["train"], source.folds)
        for modality, ragged in splits["train"].streams.items():
            mean, std = _mean_std(ragged.values) if source.folds is None else _fold_statistics(ragged, source.folds)
            group = file.create_group(f"statistics/{modality}")
            group["mean"], group["std"] = mean, std
        file.attrs.update(_attributes(source, data, feature_set, targets))
        file.attrs["checksum"] = content_checksum(file)


def content_checksum(file: h5py.File) -> str:
    """Returns the sha256 over path, type, shape and bytes of every dataset, in order of path, without attributes."""
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
            for _, chunk in in_chunks(dataset):
                digest.update(np.ascontiguousarray(chunk).tobytes())
    return digest.hexdigest()


def sha256_of(path: Path) -> str:
    """Returns the sha256 of a file's bytes, in hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _attributes(source: Source, data: str, feature_set: str, targets: dict[str, Target]) -> dict[str, Any]:
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
        "targets": json.dumps({name: target.to_dict() for name, target in targets.items()}),
    }
    if source.tokenizer is not None:
        attributes["tokenizer"] = source.tokenizer
    if source.folds is not None:
        attributes["folds"] = json.dumps(source.folds.names)
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
        tokens = group.create_group("tokens")
        _write_ragged(tokens, clips.tokens, np.dtype("<i4"))
        if clips.words is not None:
            tokens.create_dataset("words", data=np.asarray(clips.words.numbers.values, dtype="<i4"))
            tokens.create_dataset("word_counts", data=np.asarray(clips.words.counts, dtype="<i4"))


def _write_folds(train: h5py.Group, folds: Folds) -> None:
    train.create_dataset("fold", data=np.asarray(folds.numbers, dtype=np.int64))
    if folds.groups is not None:
        train.create_dataset("group", data=np.asarray(folds.groups, dtype=object), dtype=h5py.string_dtype())


def _write_ragged(group: h5py.Group, ragged: Ragged, dtype: np.dtype[Any]) -> None:
    group.create_dataset("values", data=np.ascontiguousarray(ragged.values, dtype=dtype))
    group.create_dataset("offsets", data=np.asarray(ragged.offsets, dtype=np.int64))


def _mean_std(values: Array) -> tuple[Array, Array]:
    """Returns each feature's mean and standard deviation, (D,) float64, of two passes over the values.

    A constant feature gets a deviation of 1, so that dividing by it is safe.
    """
    count, mean, squares = _moments(values)
    return mean, _deviation(squares, count)


def _fold_statistics(ragged: Ragged, folds: Folds) -> tuple[Array, Array]:
    """Returns mean and standard deviation, (K, D) float64: of the train clips of each fold, as `_mean_std`.

    The values are read once, whatever the number of folds: the moments of all folds but two are put together (Chan,
    Golub and LeVeque, 1983, eq. 1.5).
    """
    parts = [_moments(ragged.select(folds.places(fold)["test"]).values) for fold in range(len(folds.names))]
    counts_K, means_KD, squares_KD = (np.array(column) for column in zip(*parts, strict=True))
    means, deviations = [], []
    for fold in range(len(folds.names)):
        trained = np.unique(folds.numbers[folds.places(fold)["train"]])
        counts, total = counts_K[trained, None], max(1, int(counts_K[trained].sum()))
        mean = (counts * means_KD[trained]).sum(axis=0) / total
        squares = (squares_KD[trained] + counts * (means_KD[trained] - mean) ** 2).sum(axis=0)
        means.append(mean)
        deviations.append(_deviation(squares, total))
    return np.array(means), np.array(deviations)


def _moments(values: Array) -> tuple[int, Array, Array]:
    """Returns the number of steps, each feature's mean (D,), and its sum of squares about the mean (D,), in float64."""
    count, zero = len(values), np.zeros(values.shape[1])
    mean = sum((chunk.sum(axis=0, dtype=np.float64) for _, chunk in in_chunks(values)), zero) / max(1, count)
    return count, mean, sum((((chunk - mean) ** 2).sum(axis=0) for _, chunk in in_chunks(values)), zero)


def _deviation(squares: Array, count: int) -> Array:
    std = np.sqrt(squares / max(1, count))
    return np.where(std > 1e-12, std, 1.0)
