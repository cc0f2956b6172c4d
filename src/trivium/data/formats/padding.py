"""Finds which steps of a padded array are real, by lengths, masks or the side of the zeros, and packs them.

Legend: N clips of a split, T steps, D features.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from trivium.data.clips import Array, Ragged, Source, offsets_of
from trivium.data.formats import fields
from trivium.data.repair import no_repairs, repair


@dataclass
class Padded:
    """Holds one modality of one split before its padding is cut off.

    values: (N, T, D). lengths: (N,) int64 as stated in the file, or None.
    real: (N, T) bool, True on steps with a value that is not 0. keep: (N, T) bool, True on the clips' steps; one of the
    functions below sets it.
    """

    values: Array
    lengths: Array | None
    real: Array = field(init=False)
    keep: Array = field(init=False)

    def __post_init__(self) -> None:
        self.real = np.any(self.values, axis=2)

    def within_lengths(self, side: str) -> Array:
        """Returns (N, T) bool, True on the first `lengths` steps, or on the last ones if side is "front"."""
        assert self.lengths is not None
        steps = np.arange(self.real.shape[1])
        return (steps[::-1] if side == "front" else steps) < self.lengths[:, None]

    def stripped(self, side: str) -> Array:
        """Returns (N, T) bool, False on each clip's unbroken run of zero steps at the padded side."""
        if side == "front":
            return np.logical_or.accumulate(self.real, axis=1)
        return np.logical_or.accumulate(self.real[:, ::-1], axis=1)[:, ::-1]


def read_padded(where: str, modality: str, value: Any, count: int) -> Padded:
    """Returns a modality whose clips are all padded to one length. Steps with a finite value that is not 0 are real.

    Raises ValueError for another shape, type or number of clips than `count`, and for clips of unequal length.
    """
    values, steps = fields.sequences(where, modality, value)
    fields.same_count(where, modality, len(values), count)
    if (steps != values.shape[1]).any():
        raise ValueError(
            f"{where}: key {modality!r} has clips of {steps.min()} to {steps.max()} steps; expected one number for "
            "all, padded in front"
        )
    padded = Padded(values, None)
    # Audio of -inf is silence.
    padded.real = ((values != 0) & np.isfinite(values)).any(axis=2)
    return padded


def padded_side(parts: list[Padded]) -> str:
    """Returns the side with more zero steps in unbroken runs: "front", "back" (also for a tie) or "none".

    A clip of zeros alone does not count, as argmax is 0 from either end.
    """
    lead = sum(int(part.real.argmax(axis=1).sum()) for part in parts)
    trail = sum(int(part.real[:, ::-1].argmax(axis=1).sum()) for part in parts)
    if lead == trail == 0:
        return "none"
    return "front" if lead > trail else "back"


def keep_by_lengths(parts: list[Padded]) -> tuple[str, int]:
    """Keeps as many steps of each clip as the file's lengths say, and cuts the side where this loses fewer real steps.

    The zeros of a silent clip are kept, as its length counts them. Returns the padded side, and the number of steps
    that are lost although they are not zero.
    """
    lost = {side: sum(int((p.real & ~p.within_lengths(side)).sum()) for p in parts) for side in ("back", "front")}
    side = padded_side(parts) if lost["back"] == lost["front"] else min(lost, key=lambda side: lost[side])
    for part in parts:
        part.keep = part.within_lengths(side)
    return side, lost["front" if side == "front" else "back"]


def keep_as_text(parts: list[Padded], text: list[Array]) -> bool:
    """Keeps the text's steps, as in an aligned file. text: (N, T) bool for each split.

    Returns False, and keeps none, if shapes differ or a step outside the text is real.
    """
    pairs = list(zip(parts, text, strict=True))
    if any(part.real.shape != keep.shape or (part.real & ~keep).any() for part, keep in pairs):
        return False
    for part, keep in pairs:
        part.keep = keep
    return True


def keep_nonzero(parts: list[Padded]) -> str:
    """Cuts off the zero steps of the padded side, and returns that side."""
    side = padded_side(parts)
    for part in parts:
        part.keep = part.stripped(side)
    return side


class KeptSteps(NamedTuple):
    """Holds the steps of a modality that a split keeps.

    where: the start of a message, which names file and split. values: (N, T, D). keep: (N, T) bool. clips: (N,) bool,
    the clips that are not left out.
    """

    split: str
    where: str
    values: Array
    keep: Array
    clips: Array | slice = slice(None)


def pack_stream(modality: str, parts: Iterable[KeptSteps], source: Source) -> None:
    """Puts the kept steps of all splits, repaired, into the source's clips.

    Raises ValueError unless all splits have as many features a step. parts: if it makes them one by one, each padded
    array is freed as soon as it is packed.
    """
    repairs, dim = no_repairs(), 0
    for split, where, values, keep, clips in parts:
        dim = dim or values.shape[2]
        if values.shape[2] != dim:
            raise ValueError(f"{where}: key {modality!r} has {values.shape[2]} features a step, {dim} in 'train'")
        steps, counts = repair(values[keep])
        source.splits[split].streams[modality] = Ragged(steps, offsets_of(keep[clips].sum(axis=1)))
        repairs.update(counts)
    source.repairs[modality] = repairs


def note_dropped_keys(notes: dict[str, str], keys: set[str]) -> None:
    """Notes which keys of the file were left out, if any were."""
    if keys:
        notes["dropped/keys"] = ", ".join(sorted(keys))


def note_dropped_clips(notes: dict[str, str], dropped: dict[str, int], reason: str) -> None:
    """Notes how many clips were left out, if any were. dropped: split -> number of clips."""
    if any(dropped.values()):
        each = ", ".join(f"{split} {count}" for split, count in dropped.items())
        notes["dropped/clips"] = f"{sum(dropped.values())} {reason} ({each})"
