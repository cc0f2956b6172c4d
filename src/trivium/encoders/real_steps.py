"""Lays the real steps of a padded batch end to end, so that layers that work on single steps compute no padding.

Legend: B clips, T steps of the padded batch, L real steps of all clips, E embedding.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass
class RealSteps:
    """Holds where the real steps of a batch are. In each clip they come first, and padding follows.

    clips, steps: B and T.
    place: (L,) int64, the flat positions of the real steps in (B, T); None if every step is real.
    step: (L,) int64, the number of each real step within its clip.
    keys: (B, 1, 1, T) bool, True on the steps that may be attended to; None if every step is real.
    """

    clips: int
    steps: int
    place: Tensor | None
    step: Tensor
    keys: Tensor | None

    @classmethod
    def of(cls, lengths: Tensor, steps: int, device: torch.device | str) -> RealSteps:
        """Returns the layout of a batch that is padded to T `steps`.

        lengths: (B,) int64, at least 1. They should be on the CPU: the host reads them, and would wait for a GPU.
        device: where the tables go.
        """
        clips, total = len(lengths), int(lengths.sum())
        step_T = torch.arange(steps, device=device)
        if total == clips * steps:
            return cls(clips, steps, None, step_T.repeat(clips), None)
        lengths_B = lengths.to(device, non_blocking=True)
        # With output_size, repeat_interleave need not ask the device how long its result is.
        clip_L = torch.arange(clips, device=device).repeat_interleave(lengths_B, output_size=total)
        step_L = torch.arange(total, device=device) - (lengths_B.cumsum(0) - lengths_B)[clip_L]
        return cls(clips, steps, clip_L * steps + step_L, step_L, (step_T < lengths_B[:, None])[:, None, None])

    def pack(self, padded_BTE: Tensor) -> Tensor:
        """Returns the real steps of a padded batch, (L, E)."""
        flat = padded_BTE.flatten(0, 1)
        if self.place is None:
            return flat
        packed: Tensor = _SelectOnce.apply(flat, self.place)  # type: ignore[no-untyped-call]
        return packed

    def pad(self, rows_LE: Tensor) -> Tensor:
        """Returns the padded batch of real steps, (B, T, E), with zeros in the padding: the inverse of `pack`."""
        shape = (self.clips, self.steps, rows_LE.shape[-1])
        if self.place is None:
            return rows_LE.view(shape)
        return rows_LE.new_zeros(shape).flatten(0, 1).index_copy(0, self.place, rows_LE).view(shape)


class _SelectOnce(torch.autograd.Function):
    """Selects rows by index, each at most once.

    The backward of index_select has to add gradients up, because there an index may occur twice. Here it only copies,
    which is faster, and has no order of summation on which the last bits would depend.
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
