"""Opens the computational sequences of .csd files, finds out their roles, and reads one video at a time.

A file holds `ROOT/data/VIDEO/{features, intervals}` with one row a step and intervals in seconds.
Legend: C labelled intervals of a video, T steps, D features.
"""

from __future__ import annotations

import os
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np

from trivium.data.clips import Array
from trivium.data.hdf5_errors import HDF5_ERRORS, is_of_the_system

# Parts of the names that files and roots of the SDK, and of others in the field, have for each modality.
_MARKS = {
    "audio": ("covarep", "opensmile", "acoustic", "audio"),
    "vision": ("facet", "openface", "visual", "vision"),
    "text": ("glove", "wordvec", "word_vec", "bert"),
}


class Steps(NamedTuple):
    """Holds one video's steps by midpoint: values (T, D) numbers or (T,) strings, intervals (T, 2) in seconds."""

    values: Array
    intervals: Array


@dataclass(frozen=True)
class ComputationalSequence:
    """Holds an open computational sequence. role: "labels", "words", or the modality of its numbers."""

    path: Path
    role: str
    videos: h5py.Group
    is_text: bool
    dim: int


def open_sequences(
    stack: ExitStack, files: list[Path], labelled: bool = True
) -> tuple[ComputationalSequence | None, ComputationalSequence | None, list[ComputationalSequence]]:
    """Opens the labels, the words (None without any) and the features in .csd files, and returns them.

    files: .csd files, folders of them, and `ROLE:path`. There is one sequence of each role, and features are sorted by
    role. `stack` closes the files. Raises ValueError, naming the file, for one without a sequence, or whose role is
    unknown or that of another file, and where there are no labels, unless labelled=False, or nothing else.
    """
    return _by_role([_open(stack, role, path) for role, path in _expand(files)], labelled)


def read_steps(sequence: ComputationalSequence, video: str, in_time: bool = True) -> Steps:
    """Returns all steps of one video, sorted by midpoint, or with in_time=False as stored.

    Raises ValueError, naming file and video, for shapes or types other than the sequence's, or damaged data.
    """
    where = f"{sequence.path}: video {video!r}"
    features = _member(sequence.path, sequence.videos, video, "features")
    stamps = _member(sequence.path, sequence.videos, video, "intervals")
    is_text = h5py.check_string_dtype(features.dtype) is not None
    if is_text != sequence.is_text or features.ndim not in (1, 2) or _width(features) != sequence.dim:
        kind = "strings" if sequence.is_text else "numbers"
        raise ValueError(f"{where} has features {features.shape} {features.dtype}; expected (T, {sequence.dim}) {kind}")
    try:
        values = features.asstr("utf-8")[()] if is_text else features[()]
        intervals = np.asarray(stamps[()])
    except (*HDF5_ERRORS, UnicodeDecodeError) as error:
        raise ValueError(f"{where} cannot be read ({error}); download the file again") from error
    if intervals.ndim != 2 or intervals.shape[1] != 2 or intervals.dtype.kind not in "fiu":
        raise ValueError(f"{where} has intervals {intervals.shape} {intervals.dtype}; expected (T, 2) seconds")
    if len(values) != len(intervals):
        raise ValueError(f"{where} has {len(values)} features but {len(intervals)} intervals; expected as many")
    if not np.isfinite(intervals).all():
        raise ValueError(f"{where} has an interval that is not finite; expected seconds")
    # A video without a row has no size by which to find out the other.
    values = values.reshape(-1) if is_text else values.reshape(len(values), sequence.dim)
    if not in_time:
        return Steps(values, intervals)
    order = np.argsort(intervals.sum(axis=1, dtype=np.float64), kind="stable")
    return Steps(values[order], intervals[order].astype(np.float64))


def read_labels(
    labels: ComputationalSequence, video: str, columns: int = 1, labelled: bool = True
) -> tuple[Array, Array]:
    """Returns the first columns (C, columns) and intervals (C, 2) in seconds, in the stored order of the clips.

    Raises ValueError, naming the clip, for a label that is not finite; with labelled=False not for NaN.
    """
    steps = read_steps(labels, video, in_time=False)
    values = steps.values[:, :columns].astype(np.float32)
    bad = np.argwhere(~np.isfinite(values) if labelled else np.isinf(values))
    if len(bad):
        n, column = (int(place) for place in bad[0])
        of = f" (column {column + 1})" if columns > 1 else ""
        raise ValueError(
            f"{labels.path}: the label of clip '{video}$_${n + 1}'{of} is {values[n, column]}; expected a finite score"
        )
    return values, steps.intervals.astype(np.float64)


def _expand(files: list[Path]) -> list[tuple[str | None, Path]]:
    """Returns (role or None, file) for each `path`, each `ROLE:path` and each file of a folder."""
    expanded: list[tuple[str | None, Path]] = []
    for item in files:
        role, colon, file_path = str(item).partition(":")
        # A role of one letter would be a Windows drive.
        if colon and role.isidentifier() and len(role) > 1 and not item.exists():
            expanded.append((role, Path(file_path)))
        elif item.is_dir():
            files_inside = sorted(item.glob("*.csd"))
            if not files_inside:
                raise ValueError(f"{item}: a folder without .csd files")
            expanded += [(None, path) for path in files_inside]
        else:
            expanded.append((None, item))
    return expanded


def _open(stack: ExitStack, role: str | None, path: Path) -> ComputationalSequence:
    if not path.is_file():
        raise ValueError(f"{path}: no such file; expected a .csd file of the CMU Multimodal SDK")
    try:
        # Without a lock, which another program may have, or the file system may not grant.
        file = stack.enter_context(h5py.File(path, "r", locking=False))
        roots = {name: item for name, item in file.items() if isinstance(item, h5py.Group)}
        members = {root: list(item) for root, item in roots.items()}
        videos = next(iter(roots.values())).get("data") if len(roots) == 1 else None
        names = list(videos) if isinstance(videos, h5py.Group) else []
    except HDF5_ERRORS as error:
        if isinstance(error, OSError) and is_of_the_system(error):
            raise OSError(error.errno, os.strerror(error.errno or 0), str(path)) from error
        raise ValueError(f"{path}: not an HDF5 file, or cut off or damaged ({error}); download it again") from error
    if not names:
        raise ValueError(
            f"{path}: expected one computational sequence, ROOT/data/VIDEO/features; found groups {list(members)} "
            f"with {list(members.values())}"
        )
    first = _member(path, videos, names[0], "features")
    is_text = h5py.check_string_dtype(first.dtype) is not None
    if is_text and _width(first) != 1:
        raise ValueError(f"{path}: strings of shape {first.shape}; expected (T, 1), one word a step")
    return ComputationalSequence(
        path, role or _guess_role(path, next(iter(roots)), is_text), videos, is_text, _width(first)
    )


def _guess_role(path: Path, root: str, is_text: bool) -> str:
    name = f"{root} {path.stem}".lower()
    if "label" in name:
        return "labels"
    if is_text:
        return "words"
    for modality, marks in _MARKS.items():
        if any(mark in name for mark in marks):
            return modality
    raise ValueError(
        f"{path}: neither its name nor its root {root!r} tells a modality; write it before the path, as in "
        f"audio:{path.name}"
    )


def _by_role(
    sequences: list[ComputationalSequence], labelled: bool
) -> tuple[ComputationalSequence | None, ComputationalSequence | None, list[ComputationalSequence]]:
    """Returns labels, words and features. Raises ValueError for a second sequence of one role."""
    roles: dict[str, ComputationalSequence] = {}
    for sequence in sequences:
        role, first_sequence = sequence.role, roles.setdefault(sequence.role, sequence)
        if first_sequence is not sequence:
            raise ValueError(
                f"{sequence.path}: holds {role!r}, and so does {first_sequence.path}; leave one of the two out, or "
                f"name another modality before the path, as in NAME:{sequence.path.name}"
            )
        if sequence.is_text != (role == "words"):
            kind = "strings" if sequence.is_text else "numbers"
            raise ValueError(f"{sequence.path}: features of {role!r} are {kind}; say what it is, as in ROLE:path")
    if labelled and "labels" not in roles:
        raise ValueError(
            f"no labels among {[str(s.path) for s in sequences]}; add the SDK's labels, or mark a file as labels:path"
        )
    labels, words = roles.pop("labels", None), roles.pop("words", None)
    return labels, words, [roles[role] for role in sorted(roles)]


def _member(path: Path, videos: h5py.Group, video: str, key: str) -> h5py.Dataset:
    """Returns a dataset of numbers or strings. Raises ValueError for objects, references and opaque bytes."""
    try:
        group = videos[video]
        dataset = group.get(key) if isinstance(group, h5py.Group) else None
        dtype = dataset.dtype if isinstance(dataset, h5py.Dataset) else None
    except (*HDF5_ERRORS, ValueError) as error:
        raise ValueError(f"{path}: video {video!r} cannot be read ({error}); download the file again") from error
    if dtype is None:
        raise ValueError(f"{path}: video {video!r} has no dataset {key!r}; expected features and intervals")
    if dtype.kind not in "fiu" and h5py.check_string_dtype(dtype) is None:
        raise ValueError(f"{path}: {key} of video {video!r} are of type {dtype}; expected numbers or strings")
    return dataset


def _width(features: h5py.Dataset) -> int:
    return int(features.shape[1]) if features.ndim == 2 else 1
