"""Reads MultiBench's affect pickles (CMU-MOSI, CMU-MOSEI, UR-FUNNY, MUsTARD): {SPLIT: {key: N entries}}.

mosi_data, mosi_raw, mosei_senti_data, mosei_raw, humor and sarcasm share one layout: `vision`, `audio` and `text`
(N, T, D), padded in front, `labels` and `id`. Padding is cut as MultiBench (Liang et al., NeurIPS 2021) and CoMM
(Dufumier et al., ICLR 2025) cut it. Legend: N clips, T steps, D features.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from trivium.data.clips import MODALITIES, SPLITS, Array, Clips, Source
from trivium.data.formats import fields, padding
from trivium.data.formats.ids import clip_ids, number_repeated_ids
from trivium.data.target import Target
from trivium.data.unpickle import safe_load

# Maps the data sets whose labels are 0 or 1, or -1 or 1, to the names of the two classes.
BINARY = {"urfunny": ("not_funny", "funny"), "mustard": ("not_sarcastic", "sarcastic")}


def read_multibench(
    path: Path, *, align: bool = True, data: str, drop: Sequence[str] = (), labelled: bool = True
) -> Source:
    """Reads one of MultiBench's affect pickles; nothing in it is executed.

    align: every modality begins at the text's first step that is not zero; without it, each begins at its own. A
    modality that is then zero throughout is absent, and a clip whose text sums to exactly 0 is left out. Padding at the
    back, as a user's file may have it, is cut off likewise; notes["padding/MODALITY"] is the side, decided by the text.
    -inf, +inf and NaN count as 0 in all this, become 0, and are counted in the steps that stay.
    data: for "urfunny" and "mustard", labels of 0 and 1 or -1 and 1 are two classes; other labels are scores.
    drop: keys of the splits to leave out. Any other key than the five is refused, so that no features are lost unseen.
    labelled: without it labels, the train split, and modalities but text may be missing.
    In the file, `labels` are (N,), (N, 1) or (N, 1, 1), and `id` as `clip_ids` reads them. A repeated id is numbered,
    and noted.
    Raises ValueError naming file, split and key for anything missing, of wrong rank, count, type or size.
    """
    notes: dict[str, str] = {}
    splits = _splits(path, safe_load(path), notes, drop, labelled)
    modalities = [name for name in MODALITIES if all(name in split.streams for split in splits.values())]
    side = padding.padded_side([split.streams["text"] for split in splits.values()])
    source = Source({}, format="multibench", files=[path], notes=notes)
    for name, split in splits.items():
        split.text_steps = split.streams["text"].stripped(_cut_side(side))
        ids = [clip for clip, spoken in zip(split.ids, split.spoken, strict=True) if spoken]
        targets = {} if split.labels is None else {"multimodal": split.labels[split.spoken]}
        source.splits[name] = Clips(ids, {}, targets)
    if data in BINARY and any(clips.targets for clips in source.splits.values()):
        _number_classes(path, source, BINARY[data])
    number_repeated_ids(source)
    notes["align"] = f"{'all from the text' if align else 'each modality from its own'}'s first step that is not zero"
    for modality in modalities:
        notes[f"padding/{modality}"] = side
        padding.pack_stream(modality, _kept_steps(modality, splits, None if align else _cut_side(side), notes), source)
    silent = {name: int((~split.spoken).sum()) for name, split in splits.items()}
    padding.note_dropped_clips(notes, silent, "whose text sums to 0")
    return source


@dataclass
class _MultiBenchSplit:
    """Holds one split while it is read.

    spoken: (N,) bool, True for clips with text. text_steps: (N, T) bool, set once the padded side is known.
    """

    where: str
    ids: list[str]
    labels: Array | None
    streams: dict[str, padding.Padded]
    spoken: Array
    text_steps: Array = field(init=False)


def _splits(
    path: Path, content: Any, notes: dict[str, str], drop: Sequence[str], labelled: bool
) -> dict[str, _MultiBenchSplit]:
    needed = {"train"} if labelled else {*SPLITS}
    if not isinstance(content, dict) or not needed & {*content}:
        names = [str(name) for name in content] if isinstance(content, dict) else type(content).__name__
        least = "split 'train' at least" if labelled else "one of them at least"
        raise ValueError(f"{path}: expected a dict of the splits {list(SPLITS)}, {least}; found {names}")
    unknown = [str(name) for name in content if name not in SPLITS]
    if unknown:
        notes["dropped/splits"] = ", ".join(unknown)
    fields.leave_out(str(path), {name: content[name] for name in SPLITS if name in content}, drop)
    # Splits are removed from `content`, so that each padded array can be freed as soon as it is cut.
    return {name: _split(f"{path}: split {name!r}", content.pop(name), labelled) for name in SPLITS if name in content}


def _split(where: str, part: Any, labelled: bool) -> _MultiBenchSplit:
    if not isinstance(part, dict):
        raise ValueError(f"{where}: expected a dict of keys such as 'vision' and 'labels', found {type(part).__name__}")
    part = dict(part)
    needed = ("id", "labels", *MODALITIES) if labelled else ("id", "text")
    missing = [key for key in needed if key not in part]
    if missing:
        raise ValueError(f"{where}: key {missing[0]!r} is missing; found {sorted(map(str, part))}")
    ids = clip_ids(where, "id", part.pop("id"))
    labels = fields.single_scores(where, "labels", part.pop("labels"), ids) if "labels" in part else None
    streams = {
        modality: padding.read_padded(where, modality, part.pop(modality), len(ids))
        for modality in MODALITIES
        if modality in part
    }
    text = streams["text"].values
    spoken = text.sum(axis=(1, 2), where=np.isfinite(text)) != 0
    if not spoken.any():
        raise ValueError(f"{where}: key 'text' sums to 0 in every clip; expected word vectors")
    if part:
        raise ValueError(
            f"{where}: key {next(iter(part))!r} is none of MultiBench's: id, labels, {', '.join(MODALITIES)}. "
            f"To leave it out, say drop=[{','.join(map(str, part))}]"
        )
    return _MultiBenchSplit(where, ids, labels, streams, spoken)


def _cut_side(side: str) -> str:
    """Returns the side to cut, which is MultiBench's, the front, in a file that has no padding."""
    return "front" if side == "none" else side


def _number_classes(path: Path, source: Source, names: tuple[str, str]) -> None:
    """Makes the labels numbers of the two classes. Raises ValueError for labels that are not 0 and 1, or -1 and 1."""
    targets = [clips.targets for clips in source.splits.values() if clips.targets]
    values = sorted({float(label) for target in targets for label in np.unique(target["multimodal"])})
    if not (set(values) <= {0.0, 1.0} or set(values) <= {-1.0, 1.0}):
        raise ValueError(
            f"{path}: key 'labels' must be 0 or 1, or -1 or 1, for {' and '.join(BINARY)}; found {values[:5]}: is "
            "data= right?"
        )
    for target in targets:
        target["multimodal"] = (target["multimodal"] > 0).astype(np.float32)
    source.described["multimodal"] = Target("classes", names)
    source.notes["labels"] = f"{'-1 and 1' if -1.0 in values else '0 and 1'} are {names[0]} and {names[1]}"


def _kept_steps(
    modality: str, splits: dict[str, _MultiBenchSplit], cut_side: str | None, notes: dict[str, str]
) -> Iterator[padding.KeptSteps]:
    """Yields the steps of a modality that each split keeps, and removes its padded array from the split.

    The array's memory is then free as soon as its steps are packed. Notes how many steps that are not zero were lost.
    cut_side: the side at which the modality's own zero steps are cut off; None cuts it as the text is cut.
    """
    lost_steps = 0
    for name, split in splits.items():
        part = split.streams.pop(modality)
        spoken = split.spoken[:, None]
        keep = (part.stripped(cut_side) if cut_side else _as_text(split, modality, part)) & spoken
        lost_steps += int((part.real & spoken & ~keep).sum())
        # A clip whose every value is 0 lacks the modality.
        keep &= np.logical_or.reduce(part.real & keep, axis=1, keepdims=True)
        yield padding.KeptSteps(name, split.where, part.values, keep, split.spoken)
    if lost_steps:
        notes[f"dropped/{modality}"] = (
            f"{lost_steps} steps that are not zero, outside the text's; align=false keeps them"
        )


def _as_text(split: _MultiBenchSplit, modality: str, part: padding.Padded) -> Array:
    text_steps, steps = split.text_steps.shape[1], part.real.shape[1]
    if steps != text_steps:
        raise ValueError(
            f"{split.where}: key {modality!r} has {steps} steps a clip, 'text' {text_steps}; they cannot be cut "
            "alike, say align=false"
        )
    return split.text_steps
