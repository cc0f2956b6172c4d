"""Splits the clips of a source: as its columns say, at random, or into folds for cross-validation. In numpy alone.

Legend: N clips, K folds.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from trivium.core.choices import check_choice
from trivium.data.clips import FEWEST_FOLDS, SPLITS, Array, Clips, Folds, Source
from trivium.data.draw_splits import draw_clips, draw_groups

# Names that a column of splits may have, and those of a store.
SPLIT_NAMES = {"train": "train", "valid": "valid", "val": "valid", "dev": "valid", "test": "test"}
KINDS = ("given", "random", "kfold", "leave_one_group_out")


@dataclass(frozen=True)
class SplitOptions:
    """Holds how clips are split, as `trivium prepare` takes it word by word.

    split: "given" (by the source's column of splits or folds), "random", "kfold" or "leave_one_group_out"; "" means
    given. group: the name of the column with the groups (speakers, videos), which the reader looks up; "" means
    "group", where there is such a column. shares: those of train, valid and test, for random. seed: for random and
    kfold. fold_count: the number of folds, for kfold; None means 5.
    Raises ValueError, naming the word, for one that is wrong or that the kind of split does not use.
    """

    split: str = ""
    group: str = ""
    shares: tuple[float, ...] | None = None
    seed: int | None = None
    fold_count: int | None = None

    def __post_init__(self) -> None:
        if self.split:
            check_choice("split", self.split, KINDS)
        uses = {"shares": ("random",), "split_seed": ("random", "kfold"), "fold_count": ("kfold",)}
        values = {"shares": self.shares, "split_seed": self.seed, "fold_count": self.fold_count}
        for word, value in values.items():
            if value is not None and self.split not in uses[word]:
                raise ValueError(f"{word}=: is for split={' and split='.join(uses[word])}; leave it out, or say split=")
        shares = self.shares
        if shares is not None and not (
            len(shares) == 3 and min(shares) >= 0 and shares[0] > 0 and abs(sum(shares) - 1) < 1e-6
        ):
            raise ValueError(
                f"shares={','.join(f'{share:g}' for share in shares)}: expected three numbers for train, valid and "
                "test that add up to 1, such as shares=.7,.1,.2"
            )
        if self.seed is not None and self.seed < 0:
            raise ValueError(f"split_seed={self.seed}: expected 0 or more")
        if self.fold_count is not None and self.fold_count < FEWEST_FOLDS:
            raise ValueError(
                f"fold_count={self.fold_count}: expected {FEWEST_FOLDS} or more, as one fold is tested, one validates "
                "and the rest is trained on"
            )


@dataclass(frozen=True)
class SplitColumns:
    """Holds what a source says of its clips' splits: lists with one entry a clip, None where there is no such column.

    split: "train", "valid" (or "val", "dev") or "test". fold: a number or a name. group: the name of the speaker or
    video that the clip is of.
    """

    split: Sequence[Any] | None = None
    fold: Sequence[Any] | None = None
    group: Sequence[Any] | None = None


def split_source(source: Source, columns: SplitColumns | None = None, options: SplitOptions | None = None) -> Source:
    """Returns the source with its clips split, or with folds; `write_store` takes either.

    source: with all clips in the split "train", in the file's order, and nothing else in `splits`. columns: what the
    file says of them. options: what the user wants; by default the file's columns decide.

    * given: by the column `split`; or by the column `fold`, whose distinct values are the folds in sorted order.
    * random: by `shares` and `seed`. With groups, none lies in two splits; without, the classes of the first target of
      classes that `source.described` has are split alike (stratified).
    * kfold: `fold_count` folds of about one size, whole groups and stratified as random.
    * leave_one_group_out: a fold for each group, in sorted order.

    With folds the result keeps all clips in "train" and has `folds` (trivium.data.clips.Folds). Of fold k then the
    test split is fold k, validation is the fold after it (after the last the first), and train is the rest.
    `notes["splits"]` says how it was split. A group in two given splits or folds is warned about, in one line.
    Raises ValueError, naming the file, for a column that is needed and not there or of another length, a value that is
    no split, a split that would be empty, and fewer than three folds or too few clips or groups for them.
    """
    columns, options = columns or SplitColumns(), options or SplitOptions()
    where = str(source.files[0]) if source.files else source.format
    (clips,) = source.splits.values()
    groups = _texts(columns.group, "group", clips, where)
    if options.split in ("", "given"):
        return _given(source, clips, columns, groups, where)
    seed = options.seed or 0
    if options.split == "random":
        shares = options.shares or (0.7, 0.1, 0.2)
        numbers, by = _drawn(source, clips, groups, [share for share in shares if share], seed, where)
        names = [name for name, share in zip(SPLITS, shares, strict=True) if share]
        note = f"random, {'/'.join(f'{share:g}' for share in shares)}, seed {seed}{by}"
        return _with_splits(source, clips, [names[number] for number in numbers], note)
    if options.split == "kfold":
        count = options.fold_count or 5
        numbers, by = _drawn(source, clips, groups, [1 / count] * count, seed, where)
        folds = Folds(numbers, tuple(map(str, range(count))), groups)
        return _with_folds(source, folds, f"{count} folds, seed {seed}{by}", where)
    if groups is None:
        raise ValueError(
            f"{where}: split=leave_one_group_out needs a column of groups; name it with group=COLUMN (a speaker's or "
            "a video's)"
        )
    folds = _folds_of(groups, groups)
    return _with_folds(source, folds, f"a fold for each of {len(folds.names)} groups", where)


def _given(source: Source, clips: Clips, columns: SplitColumns, groups: list[str] | None, where: str) -> Source:
    if columns.split is not None and columns.fold is not None:
        raise ValueError(f"{where}: has a column of splits and one of folds; leave one of them out")
    if columns.split is not None:
        names = _split_names(columns.split, clips, where)
        _warn_of_divided_groups(groups, names, "split", where)
        return _with_splits(source, clips, names, "given")
    values = _texts(columns.fold, "fold", clips, where)
    if values is None:
        raise ValueError(
            f"{where}: no column of splits or folds; add one named split (train, valid, test) or fold, or say how to "
            "split: split=random, split=kfold or split=leave_one_group_out"
        )
    _warn_of_divided_groups(groups, values, "fold", where)
    folds = _folds_of(values, groups)
    return _with_folds(source, folds, f"{len(folds.names)} folds, given", where)


def _texts(values: Sequence[Any] | None, column: str, clips: Clips, where: str) -> list[str] | None:
    """Returns a column as texts: whole numbers without a fraction. Raises ValueError naming a clip without a value."""
    if values is None:
        return None
    if len(values) != len(clips):
        raise ValueError(f"{where}: column {column!r} has {len(values)} entries for {len(clips)} clips")
    texts = []
    for clip, value in zip(clips.ids, values, strict=True):
        if isinstance(value, float | np.floating) and float(value).is_integer():
            value = int(value)
        text = "" if value is None or value != value else str(value).strip()
        if not text:
            raise ValueError(f"{where}: column {column!r}: clip {clip!r} has no value; expected one for every clip")
        texts.append(text)
    return texts


def _split_names(values: Sequence[Any], clips: Clips, where: str) -> list[str]:
    texts = _texts(values, "split", clips, where) or []
    for clip, text in zip(clips.ids, texts, strict=True):
        if text.lower() not in SPLIT_NAMES:
            raise ValueError(
                f"{where}: column 'split': clip {clip!r} has {text!r}; expected one of {', '.join(SPLIT_NAMES)}"
            )
    names = [SPLIT_NAMES[text.lower()] for text in texts]
    if "train" not in names:
        raise ValueError(f"{where}: column 'split': no clip is in 'train'; found {', '.join(sorted(set(names)))}")
    return names


def _warn_of_divided_groups(groups: Sequence[str] | None, parts: Sequence[str], what: str, where: str) -> None:
    parts_of: dict[str, list[str]] = {}
    for group, part in zip(groups or (), parts if groups else (), strict=True):
        if part not in parts_of.setdefault(group, []):
            parts_of[group].append(part)
    divided = {group: parts for group, parts in parts_of.items() if len(parts) > 1}
    if divided:
        group, parts = next(iter(divided.items()))
        more = f" ({len(divided)} such groups)" if len(divided) > 1 else ""
        warnings.warn(
            f"{where}: group {group!r} lies in the {what}s {', '.join(parts)}{more}, so that test clips are of "
            "speakers or videos that were trained on; is that meant?",
            stacklevel=2,
        )


def _drawn(
    source: Source, clips: Clips, groups: list[str] | None, shares: Sequence[float], seed: int, where: str
) -> tuple[Array, str]:
    """Returns (N,) int64, the part of each clip, and words on what was kept whole or alike."""
    units = len(clips) if groups is None else len(set(groups))
    if units < len(shares):
        kind = "clips" if groups is None else "groups"
        raise ValueError(f"{where}: {units} {kind} are too few for {len(shares)} splits or folds")
    if groups is not None:
        return draw_groups(groups, shares, seed), ", groups whole"
    name = next((name for name, target in source.described.items() if target.kind == "classes"), "")
    classes = clips.targets[name] if name else np.zeros(len(clips))
    return draw_clips(clips.ids, classes, shares, seed), f", stratified by {name}" if name else ""


def _folds_of(values: list[str], groups: list[str] | None) -> Folds:
    """Returns the folds of a column: its distinct values, numbers in their order before names in theirs."""
    names = sorted(
        set(values), key=lambda value: (not value.isdecimal(), int(value) if value.isdecimal() else 0, value)
    )
    number_of = {name: number for number, name in enumerate(names)}
    return Folds(np.array([number_of[value] for value in values], dtype=np.int64), tuple(names), groups)


def _with_splits(source: Source, clips: Clips, names: Sequence[str], note: str) -> Source:
    split_N = np.asarray(names)
    splits = {name: clips.select(np.flatnonzero(split_N == name)) for name in SPLITS if name in set(names)}
    return replace(source, splits=splits, notes={**source.notes, "splits": note})


def _with_folds(source: Source, folds: Folds, note: str, where: str) -> Source:
    if len(folds.names) < FEWEST_FOLDS:
        raise ValueError(
            f"{where}: {len(folds.names)} folds ({', '.join(folds.names)}); expected {FEWEST_FOLDS} or more, as one is "
            "tested, one validates and the rest is trained on"
        )
    return replace(source, folds=folds, notes={**source.notes, "splits": note})
