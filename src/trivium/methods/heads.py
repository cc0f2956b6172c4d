"""Defines heads, which map a joint or unimodal vector to what the objective decodes, and a modality's share in them.

Legend: B clips, E embedding, K outputs, Q size of a modality's part in a fusion.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from trivium.fusions.base import Fusion


class Head(nn.Module):
    """Maps (B, E) to (B, K): Linear-ReLU for each size in `hidden`, then Linear. dropout: after each ReLU, 0 to 1."""

    def __init__(self, dim: int, outputs: int, *, hidden: Sequence[int] = (), dropout: float = 0.0) -> None:
        super().__init__()
        sizes = [dim, *hidden]
        self.hidden = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(sizes))
        self.dropout = nn.Dropout(dropout)
        self.out = nn.Linear(sizes[-1], outputs)

    def features(self, vectors_BE: Tensor) -> Tensor:
        """Returns the output of the last hidden layer; without hidden layers, the input."""
        for layer in self.hidden:
            vectors_BE = self.dropout(layer(vectors_BE).relu())
        return vectors_BE

    def forward(self, vectors_BE: Tensor) -> Tensor:
        outputs: Tensor = self.out(self.features(vectors_BE))
        return outputs


def unimodal_share(
    fusion: Fusion, name: str, part_BQ: Tensor, present_B: Tensor, weight_KE: Tensor, bias_K: Tensor | None
) -> Tensor:
    """Returns the share of one modality in the outputs of a linear head on an additive fusion, (B, K).

    The shares of all M modalities add up to the outputs. Each has 1/M of the bias, as in the public codes of OGM-GE and
    TCMax for their concat heads.

    part_BQ, present_B: of the modality `name`; the part is that of `fusion.separate`. weight_KE, bias_K: the head's.
    """
    share_BK = F.linear(fusion.combine((name,), {name: part_BQ}, {name: present_B}), weight_KE)
    return share_BK if bias_K is None else share_BK + bias_K / len(fusion.dims)
