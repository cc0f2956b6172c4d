"""Transformer layers that compute no padding: what is done a step at a time is done on real steps only.

Legend: B clips, T steps of the padded batch, L real steps of all clips, E embedding, H heads.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trivium.encoders.dropout import Dropout


@dataclass
class RealSteps:
    """Where the real steps of a batch are. They come first in each clip.

    place: (L,) int64, their flat positions in (B, T); None where every step is real. step: (L,) int64, each one's
    number within its clip. keys: (B, 1, 1, T) bool, True on real steps; None where every step is real.
    """

    clips: int
    steps: int
    place: Tensor | None
    step: Tensor
    keys: Tensor | None

    @classmethod
    def of(cls, lengths: Tensor, steps: int, device: torch.device | str) -> RealSteps:
        """lengths: (B,) int64, at least 1; on the CPU, or the host waits for the GPU that they are on. steps: T."""
        clips, total = len(lengths), int(lengths.sum())
        step_T = torch.arange(steps, device=device)
        if total == clips * steps:
            return cls(clips, steps, None, step_T.repeat(clips), None)
        here = lengths.to(device, non_blocking=True)
        clip_L = torch.arange(clips, device=device).repeat_interleave(here, output_size=total)
        step_L = torch.arange(total, device=device) - (here.cumsum(0) - here)[clip_L]
        return cls(clips, steps, clip_L * steps + step_L, step_L, (step_T < here[:, None])[:, None, None])

    def pack(self, padded_BTE: Tensor) -> Tensor:
        """(L, E), the real steps."""
        flat = padded_BTE.flatten(0, 1)
        if self.place is None:
            return flat
        packed: Tensor = _Take.apply(flat, self.place)  # type: ignore[no-untyped-call]
        return packed

    def pad(self, rows_LE: Tensor) -> Tensor:
        """(B, T, E), zero in the padding."""
        shape = (self.clips, self.steps, rows_LE.shape[-1])
        if self.place is None:
            return rows_LE.view(shape)
        return rows_LE.new_zeros(shape).flatten(0, 1).index_copy(0, self.place, rows_LE).view(shape)


class _Take(torch.autograd.Function):
    """index_select of rows that are each taken at most once: its backward then only copies, and copies in one order."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, place: Tensor) -> Tensor:
        ctx.save_for_backward(place)
        ctx.count = len(rows)
        return rows.index_select(0, place)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (place,) = ctx.saved_tensors
        return gradient.new_zeros(ctx.count, *gradient.shape[1:]).index_copy_(0, place, gradient), None


class PackedLayer(nn.Module):
    """x + attention(norm(x)), then x + Linear(ReLU(Linear(norm(x)))): nn.TransformerEncoderLayer with norm_first.

    The same initial weights as torch's layer from the same random numbers. dropout: on attention weights, after the
    ReLU, and on both branches' ends.
    """

    def __init__(self, dim: int, heads: int, feedforward: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.dropout = Dropout(dropout)
        self.out = nn.Linear(dim, dim)
        self.queries_keys_values = nn.utils.skip_init(nn.Linear, dim, 3 * dim)  # type: ignore[no-untyped-call]
        nn.init.xavier_uniform_(self.queries_keys_values.weight)
        nn.init.zeros_(self.queries_keys_values.bias)
        nn.init.zeros_(self.out.bias)
        self.widen = nn.Linear(dim, feedforward)
        self.narrow = nn.Linear(feedforward, dim)
        self.attention_norm = nn.LayerNorm(dim)
        self.feedforward_norm = nn.LayerNorm(dim)

    def forward(self, rows_LE: Tensor, real: RealSteps) -> Tensor:
        rows_LE = rows_LE + self.dropout(self._attend(self.attention_norm(rows_LE), real))
        wide_LF = self.dropout(self.widen(self.feedforward_norm(rows_LE)).relu())
        after_LE: Tensor = rows_LE + self.dropout(self.narrow(wide_LF))
        return after_LE

    def _attend(self, rows_LE: Tensor, real: RealSteps) -> Tensor:
        """Padded here alone: a padded step asks too, and its answer is dropped."""
        mixed_BTF = real.pad(self.queries_keys_values(rows_LE))
        query, key, value = mixed_BTF.view(*mixed_BTF.shape[:2], 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        dropout = self.dropout.p if self.training else 0.0
        found_BHTD = F.scaled_dot_product_attention(query, key, value, attn_mask=real.keys, dropout_p=dropout)
        out: Tensor = self.out(real.pack(found_BHTD.transpose(1, 2).flatten(2)))
        return out
