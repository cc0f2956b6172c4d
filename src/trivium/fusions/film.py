"""Fuses by feature-wise linear modulation (Perez et al., 2018): one modality scales and shifts the others.

Legend: B clips, M modalities, P_m pooled size of modality m.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from trivium.encoders.base import Encoded
from trivium.fusions.base import Fusion
from trivium.fusions.pooled_vectors import (
    check_sizes,
    concatenate,
    modality_or_default,
    or_absent,
    pooled_vectors,
    several,
    split,
)


class FiLM(Fusion):
    """Modulates: [gamma_m * x_m + beta_m] over the modalities m other than c, where (gamma, beta) = W x_c + b.

    For two modalities this is TCMax's film head without its last Linear. For more, the modulated vectors stand side by
    side, so that their sizes may differ, and E is the sum of their P_m; that form is ours.
    An absent modality is a zero vector: without c, (gamma, beta) = b; without m, only beta_m remains of it.

    condition: c, a modality; "" is the first. dropout: on each x_m.
    Raises ValueError for fewer than two modalities and an unknown `condition`.
    """

    def __init__(self, dims: Mapping[str, int], *, condition: str = "", dropout: float = 0.0) -> None:
        super().__init__()
        check_sizes(dims)
        names = several(dims, "film")
        self.dims = dict(dims)
        self.condition = modality_or_default(names, "condition", condition, names[0])
        self.others = [name for name in names if name != self.condition]
        self.dim = sum(dims[name] for name in self.others)
        self.dropout = nn.Dropout(dropout)
        self.modulate = nn.Linear(dims[self.condition], 2 * self.dim)

    # `blocks` stays the single one of the base class: every modality meets the condition, so none adds up by itself.

    def separate(self, encoded: Mapping[str, Encoded], present_BM: Tensor) -> dict[str, Tensor]:
        """Returns (gamma, beta) as the part of the condition, Q_c = 2 E, and the pooled vectors of the others."""
        parts = pooled_vectors(self.dims, encoded, self.dropout)
        return {**parts, self.condition: self.modulate(parts[self.condition])}

    def combine(self, block: tuple[str, ...], parts: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> Tensor:
        # A Linear makes its bias of the zero vector of an absent condition.
        gamma_beta = or_absent(parts[self.condition], present[self.condition], self.modulate.bias)
        sizes = [self.dims[name] for name in self.others]
        gammas, betas = (split(half, sizes) for half in gamma_beta.chunk(2, dim=-1))
        return concatenate(
            [
                gamma * or_absent(parts[name], present[name]) + beta
                for name, gamma, beta in zip(self.others, gammas, betas, strict=True)
            ]
        )
