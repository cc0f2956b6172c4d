"""Heads: a joint or unimodal vector -> what the objective decodes to a score.

Legend: B clips, E embedding, K outputs.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from torch import Tensor, nn


class Head(nn.Module):
    """Linear-ReLU for each of `hidden`, then Linear to `outputs`; (B, E) -> (B, K)."""

    def __init__(self, dim: int, outputs: int, *, hidden: Sequence[int] = (), dropout: float = 0.0) -> None:
        super().__init__()
        sizes = [dim, *hidden]
        self.hidden = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(sizes))
        self.dropout = nn.Dropout(dropout)
        self.out = nn.Linear(sizes[-1], outputs)

    def features(self, vectors_BE: Tensor) -> Tensor:
        """The last hidden layer's output; the input itself where there is no hidden layer."""
        for layer in self.hidden:
            vectors_BE = self.dropout(layer(vectors_BE).relu())
        return vectors_BE

    def forward(self, vectors_BE: Tensor) -> Tensor:
        outputs: Tensor = self.out(self.features(vectors_BE))
        return outputs
