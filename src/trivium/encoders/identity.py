"""Provides the encoder that learns nothing: it pools the features themselves over time."""

from __future__ import annotations

from torch import nn

from trivium.core.choices import check_choice
from trivium.data.batch import Stream
from trivium.encoders.base import Encoded, Encoder
from trivium.encoders.pooling import check_least, pool_steps

POOLS = ("mean", "max", "meanmax", "last")


class Identity(Encoder):
    """Pools the features over the valid steps, and maps the result to `out` by a Linear unless `out` is 0.

    The tokens are the inputs (B, T, D). The pooled vector is (B, out), or with out=0 (B, D), for "meanmax" (B, 2D).
    pool: mean, max, meanmax (both, side by side) or last (the last valid step).
    Raises ValueError for an unknown pool and for a negative `out`.
    """

    def __init__(self, in_dim: int, *, pool: str = "mean", out: int = 0) -> None:
        super().__init__()
        check_least("out", out, 0)
        self.pool = check_choice("pool", pool, POOLS)
        width = in_dim * (2 if pool == "meanmax" else 1)
        self.project = nn.Linear(width, out) if out else nn.Identity()
        self.dim, self.token_dim = out or width, in_dim
        self.input_size = self.adapts = in_dim

    def forward(self, stream: Stream) -> Encoded:
        pooled = self.project(pool_steps(self.pool, stream.values, stream.mask))
        return Encoded(stream.values, stream.mask, pooled)
