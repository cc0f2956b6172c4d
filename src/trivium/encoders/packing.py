"""Lays clips of different lengths end to end in few rows of nearly equal width, so that little padding is computed.

Legend: B clips, T steps of the padded batch, L valid steps of all clips, R rows, C width of a row.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass
class Packing:
    """Says which step of which clip stands where in the rows.

    source, place: (L,) int64, the flat position of each valid step in (B, T), and in (R, C).
    step: (R, C) int64, the number of the step within its clip; 0 where a place is free.
    clip: (R, C) int64, the clip that a place belongs to; -1 where it is free.
    """

    source: Tensor
    place: Tensor
    step: Tensor
    clip: Tensor

    @classmethod
    def plan(cls, lengths: Tensor, steps: int, row_length: int, device: torch.device | str = "cpu") -> Packing:
        """Plans the rows of a batch.

        lengths: (B,) int64, on the CPU, so that planning does not make the host wait for a GPU. steps: T.
        row_length: the width C to aim at; the longest row may be wider.
        device: where the tables go.
        """
        rows = assign_rows(lengths.tolist(), row_length)
        width = int(max(lengths[row].sum() for row in rows))
        order = torch.tensor([clip for row in rows for clip in row])
        ordered_lengths = lengths[order]
        # The valid steps are numbered row after row, and `first` is the number of each clip's first step.
        first = ordered_lengths.cumsum(0) - ordered_lengths
        step_L = torch.arange(int(ordered_lengths.sum())) - first.repeat_interleave(ordered_lengths)
        clip_L = order.repeat_interleave(ordered_lengths)
        # A step's place in the table is its number plus the free places at the ends of all rows before its own.
        free = torch.tensor([width - int(lengths[row].sum()) for row in rows]).cumsum(0)
        gap = torch.tensor([int(free[r - 1]) if r else 0 for r, row in enumerate(rows) for _ in row])
        place_L = torch.arange(len(step_L)) + gap.repeat_interleave(ordered_lengths)
        step_RC = torch.zeros(len(rows) * width, dtype=torch.int64).index_copy_(0, place_L, step_L)
        clip_RC = torch.full((len(rows) * width,), -1, dtype=torch.int64).index_copy_(0, place_L, clip_L)
        shape = (len(rows), width)
        parts = (clip_L * steps + step_L, place_L, step_RC.view(shape), clip_RC.view(shape))
        return cls(*(part.to(device, non_blocking=True) for part in parts))

    def pack(self, values_BT: Tensor, fill: int) -> Tensor:
        """Returns (R, C): the valid steps of (B, T) in their places, and `fill` where a place is free."""
        rows = torch.full_like(self.clip, fill, dtype=values_BT.dtype)
        valid_L = values_BT.flatten().index_select(0, self.source)
        return rows.flatten().index_copy(0, self.place, valid_L).view_as(self.clip)

    def unpack(self, rows_RCE: Tensor, clips: int, steps: int) -> Tensor:
        """Returns (B, T, E): the valid steps of (R, C, E) at their positions in the batch, and zero in the padding."""
        valid_LE = rows_RCE.flatten(0, 1).index_select(0, self.place)
        padded = rows_RCE.new_zeros(clips * steps, rows_RCE.shape[-1]).index_copy(0, self.source, valid_LE)
        return padded.view(clips, steps, -1)

    def repack(self, values_BTE: Tensor, rows_RCE: Tensor) -> Tensor:
        """Returns (R, C, E) with the valid steps of (B, T, E) in their places, the inverse of `unpack`."""
        valid_LE = values_BTE.flatten(0, 1).index_select(0, self.source)
        return rows_RCE.flatten(0, 1).index_copy(0, self.place, valid_LE).view_as(rows_RCE)

    def bias(self, dtype: torch.dtype) -> Tensor:
        """Returns (R, 1, C, C), to be added to attention scores: 0 between steps of the same clip, -inf elsewhere.

        Free places attend to each other, because a row of scores that is all -inf has a softmax of NaN.
        """
        same = self.clip[:, None, :, None] == self.clip[:, None, None, :]
        return torch.zeros(same.shape, dtype=dtype, device=same.device).masked_fill_(~same, -torch.inf)


def assign_rows(lengths: Sequence[int], row_length: int) -> list[list[int]]:
    """Returns the clip numbers of each row.

    The longest clip comes first, and each goes to the row that is least full (LPT scheduling; Graham, 1969).
    There are as many rows as are needed at `row_length` steps a row, but none is empty.
    """
    count = min(len(lengths), max(1, -(-sum(lengths) // row_length)))
    rows: list[list[int]] = [[] for _ in range(count)]
    least = [(0, number) for number in range(count)]
    for clip in sorted(range(len(lengths)), key=lambda n: -lengths[n]):
        load, number = heapq.heappop(least)
        rows[number].append(clip)
        heapq.heappush(least, (load + lengths[clip], number))
    return rows
