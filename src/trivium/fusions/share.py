"""Fuses by the sum of the pooled vectors.

A linear head on it has one W and b that all modalities share, which is TCMax's share head.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from trivium.encoders.base import Encoded
from trivium.fusions.base import Fusion
from trivium.fusions.pooled_vectors import check_sizes, or_absent, pooled_vectors


class Share(Fusion):
    """Adds: x_1 + ... + x_M. It is additive and has no parameters; an absent modality adds nothing.

    dropout: on each x_m.
    Raises ValueError unless all pooled vectors have one size, which is E.
    """

    def __init__(self, dims: Mapping[str, int], *, dropout: float = 0.0) -> None:
        super().__init__()
        check_sizes(dims)
        if len(set(dims.values())) != 1:
            sizes = ", ".join(f"{name} {size}" for name, size in dims.items())
            raise ValueError(
                f"fusion=share adds pooled vectors, which must have one size; found {sizes}. Give the encoders "
                "equal sizes, or take fusion=concat fusion.out=0 or fusion=sum"
            )
        self.dims, self.dim = dict(dims), next(iter(dims.values()))
        self.dropout = nn.Dropout(dropout)

    @property
    def blocks(self) -> tuple[tuple[str, ...], ...]:
        return tuple((name,) for name in self.dims)

    def separate(self, encoded: Mapping[str, Encoded], present_BM: Tensor) -> dict[str, Tensor]:
        return pooled_vectors(self.dims, encoded, self.dropout)

    def combine(self, block: tuple[str, ...], parts: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> Tensor:
        (name,) = block
        return or_absent(parts[name], present[name])
