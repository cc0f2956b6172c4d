"""Splits the clips of a source as its columns say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from trivium.data.clips import SPLITS, Clips, Ragged, Source

SPLIT_NAMES = {"train": "train", "valid": "valid", "val": "valid", "dev": "valid", "test": "test"}


@dataclass(frozen=True)
class SplitOptions:
    """Holds how clips are split."""

    split: str = ""
    group: str = ""


@dataclass(frozen=True)
class SplitColumns:
    """Holds columns of one entry a clip, None where there is no such column."""

    split: Sequence[Any] | None = None
    fold: Sequence[Any] | None = None
    group: Sequence[Any] | None = None


def split_source(source: Source, columns: SplitColumns | None = None, options: SplitOptions | None = None) -> Source:
    """Returns the source with its clips split by the column `split`. Raises ValueError, naming clip and value."""
    where = str(source.files[0]) if source.files else source.format
    (clips,) = source.splits.values()
    columns = columns or SplitColumns()
    if columns.split is None:
        raise ValueError(f"{where}: no column of splits or folds; add one named split (train, valid, test)")
    names = []
    for clip, text in zip(clips.ids, columns.split, strict=True):
        if str(text).lower() not in SPLIT_NAMES:
            raise ValueError(
                f"{where}: column 'split': clip {clip!r} has {text!r}; expected one of {', '.join(SPLIT_NAMES)}"
            )
        names.append(SPLIT_NAMES[str(text).lower()])
    if "train" not in names:
        raise ValueError(f"{where}: column 'split': no clip is in 'train'; found {', '.join(sorted(set(names)))}")
    splits = {
        name: _select(clips, [n for n, given in enumerate(names) if given == name]) for name in SPLITS if name in names
    }
    return replace(source, splits=splits, notes={**source.notes, "splits": "given"})


def _select(clips: Clips, places: Sequence[int]) -> Clips:
    return Clips(
        [clips.ids[n] for n in places],
        {name: Ragged.pack([ragged[n] for n in places]) for name, ragged in clips.streams.items()},
        {name: np.asarray(values)[list(places)] for name, values in clips.targets.items()},
        None if clips.raw_text is None else [clips.raw_text[n] for n in places],
    )
