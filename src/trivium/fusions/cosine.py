"""Fuses by cosines between each modality and its class vectors: the head that TCMax's code calls CLIP.

Legend: P_m pooled size of modality m, E = sum of P_m, K outputs.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trivium.encoders.base import Encoded
from trivium.fusions.base import Fusion
from trivium.fusions.pooled_vectors import check_sizes, or_absent, pad_to_concatenation, pooled_vectors


class Cosine(Fusion):
    """Concatenates unit vectors: [x_1/|x_1|; ...; x_M/|x_M|], of size E. It is additive.

    Its head (`make_head`) then scores class k by the sum over m of cos(x_m, e_m,k) / temperature. A method that brings
    another head gets the unit vectors alone. An absent modality is a zero vector, whose cosine is 0.

    temperature: of the head, above 0. dropout: on each x_m.
    Raises ValueError for a temperature of 0 or below.
    """

    def __init__(self, dims: Mapping[str, int], *, temperature: float = 0.07, dropout: float = 0.0) -> None:
        super().__init__()
        check_sizes(dims)
        if temperature <= 0:
            raise ValueError(f"temperature: expected a number above 0, found {temperature}")
        self.dims, self.dim, self.temperature = dict(dims), sum(dims.values()), temperature
        self.dropout = nn.Dropout(dropout)

    @property
    def blocks(self) -> tuple[tuple[str, ...], ...]:
        return tuple((name,) for name in self.dims)

    def separate(self, encoded: Mapping[str, Encoded], present_BM: Tensor) -> dict[str, Tensor]:
        vectors = pooled_vectors(self.dims, encoded, self.dropout)
        return {name: F.normalize(vector, dim=1) for name, vector in vectors.items()}

    def combine(self, block: tuple[str, ...], parts: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> Tensor:
        (name,) = block
        return pad_to_concatenation(or_absent(parts[name], present[name]), self.dims, name)

    def make_head(self, outputs: int) -> nn.Module:
        return CosineHead(self.dims, outputs, self.temperature)


class CosineHead(nn.Module):
    """Maps concatenated unit vectors (..., E) to scores (..., K): sums of cosines over the temperature.

    The class vectors e_m,k are learnt, and start at length 1.
    """

    bias = None

    def __init__(self, dims: Mapping[str, int], outputs: int, temperature: float) -> None:
        super().__init__()
        self.temperature = temperature
        self.classes = nn.ParameterList(
            nn.Parameter(F.normalize(torch.randn(outputs, size), dim=1)) for size in dims.values()
        )

    @property
    def weight(self) -> Tensor:
        """Returns the linear map, (K, E): the classes' unit vectors over the temperature."""
        return torch.cat([F.normalize(vectors, dim=1) for vectors in self.classes], dim=1) / self.temperature

    def forward(self, units: Tensor) -> Tensor:
        return F.linear(units, self.weight)
