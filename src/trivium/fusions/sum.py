"""Fuses by the sum of one projection a modality. Legend: B clips, M modalities, E joint embedding."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from trivium.encoders.base import Encoded
from trivium.fusions.base import Fusion
from trivium.fusions.pooled_vectors import activation_of, check_sizes, each_through, or_absent, pooled_vectors


class Sum(Fusion):
    """Adds up: activation(the sum of W_m dropout(x_m) + b_m over the present modalities).

    An absent modality adds no bias either. The fusion is additive if the activation is "none". With a linear head it is
    then TCMax's sum head with one more Linear.

    out: E.
    Raises ValueError for sizes below 1 and an unknown activation.
    """

    by_modality = "project"

    def __init__(
        self, dims: Mapping[str, int], *, out: int = 128, dropout: float = 0.0, activation: str = "none"
    ) -> None:
        super().__init__()
        check_sizes(dims, out=out)
        self.dims, self.dim = dict(dims), out
        self.dropout = nn.Dropout(dropout)
        # A list in the order of dims, because a ModuleDict refuses modalities with names such as "keys".
        self.project = nn.ModuleList(nn.Linear(size, out) for size in dims.values())
        self.activation = activation_of(activation)
        self._additive = activation == "none"

    @property
    def blocks(self) -> tuple[tuple[str, ...], ...]:
        return tuple((name,) for name in self.dims) if self._additive else (tuple(self.dims),)

    def forward(self, encoded: dict[str, Encoded], present_BM: Tensor) -> Tensor:
        terms_MBE = torch.stack(list(self.separate(encoded, present_BM).values()))
        joint_BE: Tensor = self.activation(torch.where(present_BM.T[..., None], terms_MBE, 0.0).sum(dim=0))
        return joint_BE

    def separate(self, encoded: Mapping[str, Encoded], present_BM: Tensor) -> dict[str, Tensor]:
        """Returns W_m dropout(x_m) + b_m of each modality."""
        return each_through(self.project, pooled_vectors(self.dims, encoded, self.dropout))

    def combine(self, block: tuple[str, ...], parts: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> Tensor:
        total, *others = [or_absent(parts[name], present[name]) for name in block]
        for other in others:
            total = total + other
        joint: Tensor = self.activation(total)
        return joint
