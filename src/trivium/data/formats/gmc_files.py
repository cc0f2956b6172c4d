"""Reads GMC's `.dt` files (CMU-MOSI, CMU-MOSEI): {mosi,mosei}_{train,valid,test}_a.dt, word-aligned, one a split.

Each is torch.save of an AffectDataset of the code of GMC (Poklukar et al., ICML 2022), with the attributes `text`,
`audio`, `vision` (N, T, D), `labels` (N, 1, 1) and `meta`. Legend: N clips, T steps, D features.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from trivium.data.clips import MODALITIES, SPLITS, Array, Clips, Source
from trivium.data.formats import fields, padding
from trivium.data.formats.ids import clip_ids, number_repeated_ids
from trivium.data.torch_file import load_saved_object

CLASS = "AffectDataset"
_NAME = re.compile(r"(?P<set>.+)_(?P<split>train|valid|test)(?P<rest>\w*)\.dt")
# A file's name begins with one of these.
_DATA_SETS = ("mosi", "mosei")
# These attributes follow from the tensors.
_REDUNDANT = {"data", "n_modalities"}


def read_gmc(path: Path, *, data: str, labelled: bool = True) -> Source:
    """Reads the three files of a set; nothing in them is executed, and torch is not needed.

    path: one of them, or a folder that holds them. data: the data set to choose in a folder with files of several.
    labelled: without it labels, and some of the files, may be missing.
    All modalities of a clip keep the same steps. The steps of an unbroken run of zeros in all of them at the padded
    side, which notes["padding/MODALITY"] has and which is decided by the text, are cut off. A modality that is zero
    throughout is absent; a clip without any modality is left out, and counted. -inf, +inf and NaN count as 0, become 0,
    and are counted in the steps that stay.
    `meta` gives the ids, as MultiBench's `id` does; where it is None or cannot be one, they are SPLIT[POSITION].
    Raises ValueError naming file and key for a missing file or key, a wrong shape, type or count, unequal steps or
    features, and labels that are not finite; and as `load_saved_object` does.
    """
    files = split_files(path, data, complete=labelled)
    notes: dict[str, str] = {}
    splits = {split: _split(file, split, notes, labelled) for split, file in files.items()}
    side = padding.padded_side([split.streams["text"] for split in splits.values()])
    for split in splits.values():
        split.choose_steps(side)
    source = Source({}, format="gmc", files=list(files.values()), notes=notes)
    for name, split in splits.items():
        ids = [clip for clip, has_steps in zip(split.ids, split.clips, strict=True) if has_steps]
        targets = {} if split.labels is None else {"multimodal": split.labels[split.clips]}
        source.splits[name] = Clips(ids, {}, targets)
    number_repeated_ids(source)
    for modality in MODALITIES:
        notes[f"padding/{modality}"] = side
        padding.pack_stream(modality, _kept_steps(modality, splits), source)
    empty = {name: int((~split.clips).sum()) for name, split in splits.items()}
    padding.note_dropped_clips(notes, empty, "without a value in any modality")
    padding.note_dropped_keys(notes, set().union(*(split.unused for split in splits.values())))
    return source


def split_files(path: Path, data: str, complete: bool = True) -> dict[str, Path]:
    """Returns split -> file, from one of the three files or their folder.

    Raises ValueError naming a missing file; with complete=False those that are there are returned.
    """
    is_folder = path.is_dir()
    folder, match = (path, _set_of_folder(path, data)) if is_folder else (path.parent, _NAME.fullmatch(path.name))
    if match is None:
        raise ValueError(f"{path}: expected a name such as {data}_train_a.dt: its siblings are found by it")
    if match["set"] in _DATA_SETS and data in _DATA_SETS and match["set"] != data:
        raise ValueError(f"{path}: by its name this is {match['set']}, but data={data}; say data={match['set']}")
    files = {split: folder / f"{match['set']}_{split}{match['rest']}.dt" for split in SPLITS}
    if not complete:
        files = {split: file for split, file in files.items() if file.is_file()}
    for split, file in files.items():
        if not file.is_file():
            raise ValueError(f"{file}: no such file; split {split!r} is read from it, put it beside {match.string}")
    return files


def _set_of_folder(folder: Path, data: str) -> re.Match[str] | None:
    matches = [match for file in sorted(folder.glob("*.dt")) if (match := _NAME.fullmatch(file.name))]
    sets = {(match["set"], match["rest"]): match for match in matches}
    chosen = [match for (name, _), match in sets.items() if name == data] or list(sets.values())
    if len(chosen) > 1:
        names = ", ".join(match.string for match in chosen)
        raise ValueError(f"{folder}: holds {names} of different sets; pass the one that is meant as source=FILE")
    return chosen[0] if chosen else None


@dataclass
class _GmcSplit:
    """Holds one split's file while it is read. streams: modalities, all of one N and T. unused: keys that are not read.

    `choose_steps` sets steps, (N, T) bool, True on those that stay, and clips, (N,) bool, True for those with any.
    """

    where: str
    ids: list[str]
    labels: Array | None
    streams: dict[str, padding.Padded]
    unused: set[str]
    steps: Array = field(init=False)
    clips: Array = field(init=False)

    def choose_steps(self, side: str) -> None:
        """Cuts off the steps at the padded side that are zero in all modalities."""
        together = padding.Padded(np.stack([part.real for part in self.streams.values()], axis=2), None)
        self.steps = together.stripped("front" if side == "none" else side)
        self.clips = np.logical_or.reduce(self.steps, axis=1)


def _split(file: Path, split: str, notes: dict[str, str], labelled: bool) -> _GmcSplit:
    where, content = str(file), load_saved_object(file, CLASS)
    if not labelled and content.get("labels") is None:
        content.pop("labels", None)
    needed = (*MODALITIES, "labels") if labelled or "labels" in content else MODALITIES
    missing = [key for key in needed if key not in content]
    if missing:
        raise ValueError(f"{where}: key {missing[0]!r} is missing; found {sorted(map(str, content))}")
    counted = needed[-1]
    ids = _ids(where, split, content.pop("meta", None), counted, _count(where, counted, content[counted]), notes)
    labels = fields.single_scores(where, "labels", content.pop("labels"), ids) if counted == "labels" else None
    streams = {
        modality: padding.read_padded(where, modality, content.pop(modality), len(ids)) for modality in MODALITIES
    }
    for modality, part in streams.items():
        text_steps, steps = streams["text"].real.shape[1], part.real.shape[1]
        if steps != text_steps:
            raise ValueError(
                f"{where}: key {modality!r} has {steps} steps a clip, 'text' {text_steps}; expected word-aligned "
                "features"
            )
    return _GmcSplit(where, ids, labels, streams, set(map(str, content)) - _REDUNDANT)


def _count(where: str, key: str, value: Any) -> int:
    count = len(value) if isinstance(value, np.ndarray) and value.ndim else 0
    if not count:
        shape = "(N, 1, 1)" if key == "labels" else "(N, T, D)"
        raise ValueError(f"{where}: key {key!r} must be a tensor {shape} of one clip or more; found none")
    return count


def _ids(where: str, split: str, meta: Any, counted: str, count: int, notes: dict[str, str]) -> list[str]:
    position_ids = [f"{split}[{n}]" for n in range(count)]
    if meta is None:
        notes["ids"] = "made of split and position: 'meta' is None"
        return position_ids
    try:
        ids = clip_ids(where, "meta", meta)
    except ValueError as error:
        # Ids only name the clips, so a file without usable ones is read all the same.
        notes["ids"] = f"made of split and position: {error}"
        return position_ids
    if len(ids) != count:
        raise ValueError(f"{where}: key 'meta' has {len(ids)} entries, {counted!r} {count}; expected one a clip")
    return ids


def _kept_steps(modality: str, splits: dict[str, _GmcSplit]) -> Iterator[padding.KeptSteps]:
    """Yields the steps of a modality that each split keeps, and removes its padded array from the split.

    The array's memory is then free as soon as its steps are packed.
    """
    for name, split in splits.items():
        part = split.streams.pop(modality)
        # A clip whose every value is 0 lacks the modality.
        keep = split.steps & part.real.any(axis=1, keepdims=True)
        yield padding.KeptSteps(name, split.where, part.values, keep, split.clips)
