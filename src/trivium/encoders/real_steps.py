"""The real steps of a padded batch end to end, so that what is done a step at a time computes no padding.

Legend: B clips, T steps of the padded batch, L real steps of all clips, E embedding.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass
class RealSteps:
    """Knows where the real steps of a batch are. They come first in each clip.

    place: (L,) int64, their flat positions in (B, T); None where every step is real.
    step: (L,) int64, the number of each within its clip.
    keys: (B, 1, 1, T) bool, True on real steps, which attention may look at; None where every step is real.
    """

    clips: int
    steps: int
    place: Tensor | None
    step: Tensor
    keys: Tensor | None

    @classmethod
    def of(cls, lengths: Tensor, steps: int, device: torch.device | str) -> RealSteps:
        """Lays out a batch of T `steps`.

        lengths: (B,) int64, at least 1; on the CPU, or the host waits for the GPU that they are on.
        """
        clips, total = len(lengths), int(lengths.sum())
        step_T = torch.arange(steps, device=device)
        if total == clips * steps:
            return cls(clips, steps, None, step_T.repeat(clips), None)
        lengths_B = lengths.to(device, non_blocking=True)
        clip_L = torch.arange(clips, device=device).repeat_interleave(lengths_B, output_size=total)
        step_L = torch.arange(total, device=device) - (lengths_B.cumsum(0) - lengths_B)[clip_L]
        return cls(clips, steps, clip_L * steps + step_L, step_L, (step_T < lengths_B[:, None])[:, None, None])

    def pack(self, padded_BTE: Tensor) -> Tensor:
        """Returns the real steps alone, (L, E)."""
        flat = padded_BTE.flatten(0, 1)
        if self.place is None:
            return flat
        packed: Tensor = _Take.apply(flat, self.place)  # type: ignore[no-untyped-call]
        return packed

    def pad(self, rows_LE: Tensor) -> Tensor:
        """Returns (B, T, E), zero in the padding."""
        shape = (self.clips, self.steps, rows_LE.shape[-1])
        if self.place is None:
            return rows_LE.view(shape)
        return rows_LE.new_zeros(shape).flatten(0, 1).index_copy(0, self.place, rows_LE).view(shape)


class _Take(torch.autograd.Function):
    """Selects rows by index, each at most once.

    The backward of index_select adds rows up, because it cannot know that; here it only copies, which is faster and
    gives the same bits in whatever order.
    """

    @staticmethod
    def forward(ctx: Any, rows: Tensor, place: Tensor) -> Tensor:
        ctx.save_for_backward(place)
        ctx.count = len(rows)
        return rows.index_select(0, place)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (place,) = ctx.saved_tensors
        return gradient.new_zeros(ctx.count, *gradient.shape[1:]).index_copy_(0, place, gradient), None
