"""Makes a store of a user's own table: a pandas frame or a Hugging Face data set. Neither package is imported."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from trivium.data.own_stores import from_arrays
from trivium.data.splitting import SplitOptions
from trivium.data.target import Target

# The name that Hugging Face gives the split.
_SPLITS = {"validation": "valid"}
_DEFAULTS = {"split": "split", "fold": "fold", "group": "group", "ids": "id", "transcripts": "transcript"}


def from_frame(
    frame: Any,
    *,
    name: str,
    modalities: Sequence[str] | None = None,
    targets: Sequence[str] | None = None,
    split: str | SplitOptions = "split",
    fold: str = "fold",
    group: str = "group",
    ids: str = "id",
    transcripts: str = "transcript",
    kinds: Mapping[str, str | Target] | None = None,
    features: str = "frame",
    folder: str | os.PathLike[str] = "data",
    force: bool = False,
) -> Path:
    """Writes a store of a pandas frame with a row a clip, and returns its path; see `from_arrays`.

    modalities: columns whose cells are arrays; by default all of these. split, fold, group, ids, transcripts: names of
    columns; those that are not there are left out, and the ids are then the index. targets: columns; by default all
    others. A column of pandas' categories has classes of their names in their order.
    Raises ValueError as `from_arrays` does, and for columns that are not there.

    >>> import numpy as np, pandas as pd, tempfile
    >>> from trivium.data import from_frame, open_store
    >>> rng = np.random.default_rng(0)
    >>> frame = pd.DataFrame({"split": ["train"] * 4 + ["valid"] * 2, "emotion": ["calm", "happy"] * 3})
    >>> frame["speech"] = [rng.normal(size=(5, 8)) for _ in range(6)]
    >>> path = from_frame(frame, name="gestures", folder=tempfile.mkdtemp())
    >>> open_store(path).schema.counts
    {'train': 4, 'valid': 2}
    """
    columns = {str(column): list(frame[column]) for column in frame}
    names = {
        column: Target("classes", tuple(map(str, frame[column].cat.categories)))
        for column in columns
        if hasattr(frame[column], "cat")
    }
    index = [str(clip) for clip in frame.index]
    return _from_columns(
        columns,
        {"split": split, "fold": fold, "group": group, "ids": ids, "transcripts": transcripts},
        modalities,
        targets,
        index,
        names,
        kinds or {},
        name=name,
        features=features,
        folder=folder,
        force=force,
    )


def from_huggingface(
    dataset: Any,
    *,
    name: str,
    modalities: Sequence[str] | None = None,
    targets: Sequence[str] | None = None,
    split: str | SplitOptions = "split",
    fold: str = "fold",
    group: str = "group",
    ids: str = "id",
    transcripts: str = "transcript",
    kinds: Mapping[str, str | Target] | None = None,
    features: str = "huggingface",
    folder: str | os.PathLike[str] = "data",
    force: bool = False,
) -> Path:
    """Writes a store of a `datasets.Dataset`, or of a DatasetDict with a data set a split, and returns its path.

    Columns of lists of numbers are modalities; one of ClassLabel has its classes. The other words are as in
    `from_frame`. The split "validation" of a DatasetDict is "valid". The package datasets is not imported.
    Raises ValueError as `from_arrays` does, and for columns that are not there.

    >>> import tempfile
    >>> import datasets  # pip install datasets
    >>> from trivium.data import from_huggingface, open_store
    >>> rows = {"speech": [[[0.1, 0.2], [0.3, 0.4]]] * 4, "emotion": ["calm", "happy"] * 2}
    >>> parts = {split: datasets.Dataset.from_dict(rows) for split in ("train", "validation", "test")}
    >>> path = from_huggingface(datasets.DatasetDict(parts), name="gestures", folder=tempfile.mkdtemp())
    >>> open_store(path).schema.counts
    {'train': 4, 'valid': 4, 'test': 4}
    """
    parts = dict(dataset.items()) if isinstance(dataset, Mapping) else {"": dataset}
    first = next(iter(parts.values()))
    columns = {column: [cell for part in parts.values() for cell in part[column]] for column in first.column_names}
    numbers = [f"{part}{n}" for part, rows in parts.items() for n in range(len(rows))]
    if isinstance(dataset, Mapping):
        columns["split"] = [_SPLITS.get(part, part) for part, rows in parts.items() for _ in range(len(rows))]
    names = {
        column: Target("classes", tuple(feature.names))
        for column, feature in first.features.items()
        if hasattr(feature, "names")
    }
    return _from_columns(
        columns,
        {"split": split, "fold": fold, "group": group, "ids": ids, "transcripts": transcripts},
        modalities,
        targets,
        numbers,
        names,
        kinds or {},
        name=name,
        features=features,
        folder=folder,
        force=force,
    )


def _from_columns(
    columns: dict[str, list[Any]],
    roles: Mapping[str, str | SplitOptions],
    modalities: Sequence[str] | None,
    targets: Sequence[str] | None,
    ids: list[str],
    described: Mapping[str, Target],
    kinds: Mapping[str, str | Target],
    *,
    name: str,
    **store: Any,
) -> Path:
    """Writes the store of columns with one cell a clip.

    ids: those where there is no column of ids. described: what columns are by themselves; kinds: what their user says.
    """
    drawn = roles["split"] if isinstance(roles["split"], SplitOptions) else None
    if drawn is not None:
        # The column of splits that clips had before is no target.
        roles = {**roles, "earlier split": _DEFAULTS["split"], "group": drawn.group or roles["group"]}
    for role, column in roles.items():
        if isinstance(column, str) and column not in columns and column != _DEFAULTS.get(role, column):
            raise ValueError(f"{name}: {role}={column!r}: no such column; found {', '.join(columns)}")
    for column in [*(modalities or ()), *(targets or ()), *kinds]:
        if column not in columns:
            raise ValueError(f"{name}: no column {column!r}; found {', '.join(columns)}")
    taken = {role: columns.get(column) for role, column in roles.items() if isinstance(column, str)}
    if modalities is None:
        arrays = [column for column, cells in columns.items() if any(_is_sequence(cell) for cell in cells)]
        # Several labels or scores of a clip are an array too.
        modalities = [column for column in arrays if column not in {*(targets or ()), *kinds}]
    others = [column for column in columns if column not in {*roles.values(), *modalities}]
    chosen = others if targets is None else targets
    return from_arrays(
        {column: columns[column] for column in modalities},
        {column: columns[column] for column in chosen},
        name=name,
        split=taken["split"] if drawn is None else drawn,
        fold=taken["fold"],
        group=taken["group"],
        ids=taken["ids"] or ids,
        transcripts=taken["transcripts"],
        kinds={column: target for column, target in described.items() if column in chosen} | dict(kinds),
        **store,
    )


def _is_sequence(cell: Any) -> bool:
    return isinstance(cell, list | tuple) or (hasattr(cell, "shape") and len(cell.shape) > 0)
