"""Clips of different lengths laid end to end in few rows of nearly equal width, so that little padding is computed.

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

    source, place: (L,) int64, flat positions of the valid steps in (B, T) and in (R, C).
    step: (R, C) int64, each place's step within its clip. clip: (R, C) int64, whose step it is, -1 where free.
    """

    source: Tensor
    place: Tensor
    step: Tensor
    clip: Tensor

    @classmethod
    def plan(cls, lengths: Tensor, steps: int, row_length: int, device: torch.device | str = "cpu") -> Packing:
        """Plans the rows of a batch.

        lengths: (B,) int64 on the CPU, so that nothing waits for a GPU. steps: T. row_length: C aimed at.
        """
        rows = assign_rows(lengths.tolist(), row_length)
        width = int(max(lengths[row].sum() for row in rows))
        order = torch.tensor([clip for row in rows for clip in row])
        taken = lengths[order]
        first = taken.cumsum(0) - taken  # of each clip among the valid steps, in the order of `order`
        step_L = torch.arange(int(taken.sum())) - first.repeat_interleave(taken)
        clip_L = order.repeat_interleave(taken)
        free = torch.tensor([width - int(lengths[row].sum()) for row in rows]).cumsum(0)
        gap = torch.tensor([int(free[r - 1]) if r else 0 for r, row in enumerate(rows) for _ in row])
        place_L = torch.arange(len(step_L)) + gap.repeat_interleave(taken)
        step_RC = torch.zeros(len(rows) * width, dtype=torch.int64).index_copy_(0, place_L, step_L)
        clip_RC = torch.full((len(rows) * width,), -1, dtype=torch.int64).index_copy_(0, place_L, clip_L)
        shape = (len(rows), width)
        parts = (clip_L * steps + step_L, place_L, step_RC.view(shape), clip_RC.view(shape))
        return cls(*(part.to(device, non_blocking=True) for part in parts))

    def pack(self, values_BT: Tensor, fill: int) -> Tensor:
        """Returns (R, C): the valid steps in their places, `fill` where a place is free."""
        rows = torch.full_like(self.clip, fill, dtype=values_BT.dtype)
        taken = values_BT.flatten().index_select(0, self.source)
        return rows.flatten().index_copy(0, self.place, taken).view_as(self.clip)

    def unpack(self, rows_RCE: Tensor, clips: int, steps: int) -> Tensor:
        """Returns (B, T, E): the valid steps where they came from, zero in the padding."""
        taken = rows_RCE.flatten(0, 1).index_select(0, self.place)
        padded = rows_RCE.new_zeros(clips * steps, rows_RCE.shape[-1]).index_copy(0, self.source, taken)
        return padded.view(clips, steps, -1)

    def bias(self, dtype: torch.dtype) -> Tensor:
        """Returns (R, 1, C, C), to be added to attention scores: 0 between steps of one clip, else -inf.

        Free places see each other, so that no row of scores is all -inf, whose softmax is not a number.
        """
        same = self.clip[:, None, :, None] == self.clip[:, None, None, :]
        return torch.zeros(same.shape, dtype=dtype, device=same.device).masked_fill_(~same, -torch.inf)


def assign_rows(lengths: Sequence[int], row_length: int) -> list[list[int]]:
    """Returns clip numbers by row: the longest clip first, each into the row that is least full (Graham, 1969).

    As many rows as `row_length` asks for, but no row is empty.
    """
    count = min(len(lengths), max(1, -(-sum(lengths) // row_length)))
    rows: list[list[int]] = [[] for _ in range(count)]
    least = [(0, number) for number in range(count)]
    for clip in sorted(range(len(lengths)), key=lambda n: -lengths[n]):
        load, number = heapq.heappop(least)
        rows[number].append(clip)
        heapq.heappush(least, (load + lengths[clip], number))
    return rows
