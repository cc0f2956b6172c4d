"""MultiBench's affect pickles (CMU-MOSI, CMU-MOSEI, UR-FUNNY, MUsTARD): {"train" | "valid" | "test": {key: N entries}}.

mosi_data, mosi_raw, mosei_senti_data, mosei_raw, humor and sarcasm share one layout: `vision`, `audio` and `text`
(N, T, D), padded in front, `labels` and `id`. Cut as MultiBench (Liang et al., NeurIPS 2021) and CoMM (Dufumier et
al., ICLR 2025) cut them. Legend: N clips, T steps, D features.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from trivium.data.clips import SPLITS, Array, Clips, Ragged, Source, repair
from trivium.data.formats import fields
from trivium.data.formats.ids import clip_ids, number_repeated_ids
from trivium.data.formats.padding import Padded, offsets, padded_side
from trivium.data.unpickle import safe_load

MODALITIES = ("text", "audio", "vision")
BINARY = ("urfunny", "mustard")  # the labels say funny or not, sarcastic or not


def read_multibench(path: Path, *, align: bool = True, data: str) -> Source:
    """Read one of MultiBench's affect pickles; nothing in it is executed.

    A clip whose text sums to exactly 0 is left out. align: every modality begins at the text's first step that is not
    zero; without it, each at its own first. A modality that is then zero throughout is absent. Padding at the back, as
    a file of one's own may have it, is cut off likewise; notes["padding/MODALITY"] is the side, which the text tells.
    -inf, +inf and NaN count as 0 in all this, become 0, and are counted where they are kept.
    data: the labels of "urfunny" and "mustard", 0 and 1 or -1 and 1, become -1 and 1; others are scores and stay.
    labels: (N,), (N, 1) or (N, 1, 1). id: strings, bytes or numbers, (N,) or (N, 1); or (N, K) of a video and what
    tells the clip (start, end), read as `video[start,end]`. An id that comes again is numbered, and noted.
    Raises ValueError naming file, split and key for anything missing, of wrong rank, count, type or size.
    """
    notes: dict[str, str] = {}
    splits = _splits(path, safe_load(path), notes)
    side = padded_side([split.streams["text"] for split in splits.values()])
    source = Source({}, format="multibench", files=[path], notes=notes)
    for name, split in splits.items():
        split.text_steps = split.streams["text"].stripped(_end(side))
        ids = [clip for clip, said in zip(split.ids, split.spoken, strict=True) if said]
        source.splits[name] = Clips(ids, {}, {"multimodal": split.labels[split.spoken]})
    if data in BINARY:
        _sign_labels(path, source)
    number_repeated_ids(source)
    notes["align"] = f"{'all from the text' if align else 'each modality from its own'}'s first step that is not zero"
    for modality in MODALITIES:
        notes[f"padding/{modality}"] = side
        _add_stream(modality, splits, source, None if align else _end(side))
    _note_dropped(splits, notes)
    return source


@dataclass
class _Split:
    """One split while it is read. spoken: (N,) bool, clips with text. text_steps: (N, T) bool. unused: keys."""

    where: str
    ids: list[str]
    labels: Array
    streams: dict[str, Padded]
    spoken: Array
    unused: set[str]
    text_steps: Array = field(init=False)  # once the padded side is known


def _splits(path: Path, content: Any, notes: dict[str, str]) -> dict[str, _Split]:
    if not isinstance(content, dict) or "train" not in content:
        found = [str(name) for name in content] if isinstance(content, dict) else type(content).__name__
        raise ValueError(f"{path}: expected a dict of the splits {list(SPLITS)}, split 'train' at least; found {found}")
    unknown = [str(name) for name in content if name not in SPLITS]
    if unknown:
        notes["dropped/splits"] = ", ".join(unknown)
    # Taken out of the dicts, so that each padded array can go as soon as it is cut
    return {name: _split(f"{path}: split {name!r}", content.pop(name)) for name in SPLITS if name in content}


def _split(where: str, part: Any) -> _Split:
    if not isinstance(part, dict):
        raise ValueError(f"{where}: expected a dict of keys such as 'vision' and 'labels', found {type(part).__name__}")
    part = dict(part)
    missing = [key for key in ("id", "labels", *MODALITIES) if key not in part]
    if missing:
        raise ValueError(f"{where}: key {missing[0]!r} is missing; found {sorted(map(str, part))}")
    ids = clip_ids(where, "id", part.pop("id"))
    labels = fields.single_scores(where, "labels", part.pop("labels"), ids)
    streams = {modality: _padded(where, modality, part.pop(modality), len(ids)) for modality in MODALITIES}
    text = streams["text"].values
    spoken = text.sum(axis=(1, 2), where=np.isfinite(text)) != 0
    if not spoken.any():
        raise ValueError(f"{where}: key 'text' sums to 0 in every clip; expected word vectors")
    return _Split(where, ids, labels, streams, spoken, {str(key) for key in part})


def _padded(where: str, modality: str, value: Any, count: int) -> Padded:
    values, steps = fields.sequences(where, modality, value)
    fields.same_count(where, modality, len(values), count)
    if (steps != values.shape[1]).any():
        raise ValueError(
            f"{where}: key {modality!r} has clips of {steps.min()} to {steps.max()} steps; expected one number for "
            "all, padded in front"
        )
    padded = Padded(values, None)
    padded.real = ((values != 0) & np.isfinite(values)).any(axis=2)  # audio of -inf is silence
    return padded


def _end(side: str) -> str:
    """Where to cut: MultiBench's own end if the file has no padding to tell it by."""
    return "front" if side == "none" else side


def _sign_labels(path: Path, source: Source) -> None:
    """0 and 1, or -1 and 1, become -1 and 1: the classes then lie on the two sides of 0, as scores' do."""
    targets = [clips.targets for clips in source.splits.values()]
    found = sorted({float(label) for target in targets for label in np.unique(target["multimodal"])})
    if not (set(found) <= {0.0, 1.0} or set(found) <= {-1.0, 1.0}):
        raise ValueError(
            f"{path}: key 'labels' must be 0 or 1, or -1 or 1, for {' and '.join(BINARY)}; found {found[:5]}: is data= "
            "right?"
        )
    for target in targets:
        target["multimodal"] = np.where(target["multimodal"] > 0, np.float32(1), np.float32(-1))
    source.notes["labels"] = "0 and 1 became -1 and 1" if 0.0 in found else "-1 and 1, as they were"


def _add_stream(modality: str, splits: dict[str, _Split], source: Source, own: str | None) -> None:
    """Cut a modality, put it into the source's clips, and let its padded arrays go, for memory's sake.

    own: the end to cut the modality's own zero steps off; None cuts it as the text is cut.
    """
    counts = {"neg_inf": 0, "pos_inf": 0, "nan": 0}
    dim, lost = splits["train"].streams[modality].values.shape[2], 0
    for name, split in splits.items():
        part = split.streams.pop(modality)
        if part.values.shape[2] != dim:
            found = part.values.shape[2]
            raise ValueError(f"{split.where}: key {modality!r} has {found} features a step, {dim} in 'train'")
        spoken = split.spoken[:, None]
        keep = (part.stripped(own) if own else _as_text(split, modality, part)) & spoken
        lost += int((part.real & spoken & ~keep).sum())
        keep &= np.logical_or.reduce(part.real & keep, axis=1, keepdims=True)  # nothing but zeros: absent
        values, repaired = repair(part.values[keep])
        source.splits[name].streams[modality] = Ragged(values, offsets(keep[split.spoken]))
        counts = {kind: count + repaired[kind] for kind, count in counts.items()}
    source.repairs[modality] = counts
    if lost:
        source.notes[f"dropped/{modality}"] = (
            f"{lost} steps that are not zero, outside the text's; align=false keeps them"
        )


def _as_text(split: _Split, modality: str, part: Padded) -> Array:
    steps, found = split.text_steps.shape[1], part.real.shape[1]
    if found != steps:
        raise ValueError(
            f"{split.where}: key {modality!r} has {found} steps a clip, 'text' {steps}; they cannot be cut alike, say "
            "align=false"
        )
    return split.text_steps


def _note_dropped(splits: dict[str, _Split], notes: dict[str, str]) -> None:
    silent = {name: int((~split.spoken).sum()) for name, split in splits.items()}
    if any(silent.values()):
        each = ", ".join(f"{name} {count}" for name, count in silent.items())
        notes["dropped/clips"] = f"{sum(silent.values())} whose text sums to 0 ({each})"
    unused = set().union(*(split.unused for split in splits.values()))
    if unused:
        notes["dropped/keys"] = ", ".join(sorted(unused))
