"""Defines CoMM's projection head, which only training uses.

Legend: B clips on this rank, E embedding.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from torch import Tensor, nn

from trivium.data.batch import Batch
from trivium.methods.sync_batch_norm import SyncBatchNorm


class ProjectionHead(nn.Module):
    """Maps (..., B, E) to (..., B, out): Linear, then batch normalisation, ReLU and Linear for each of `hidden`.

    CoMM evaluates the vector that goes in, not the one that comes out (as Chen et al., 2020, section 4.2).
    Raises ValueError for a size below 1.
    """

    def __init__(self, dim: int, hidden: Sequence[int] = (512, 512), out: int = 256) -> None:
        super().__init__()
        if min(out, *hidden, 1) < 1:
            raise ValueError(f"method.head_hidden, head_out: expected sizes of at least 1, found {list(hidden)}, {out}")
        sizes = [dim, *hidden, out]
        self.linears = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(sizes))
        self.norms = nn.ModuleList(SyncBatchNorm(size) for size in hidden)

    def forward(self, x: Tensor, batch: Batch, *, of_batch: bool = False) -> Tensor:
        """Returns (..., B, out). of_batch: True normalises by the statistics of the batch in evaluation mode too."""
        for linear, norm in zip(self.linears, self.norms, strict=False):
            x = norm(linear(x), batch, of_batch=of_batch).relu()
        out: Tensor = self.linears[-1](x)
        return out
