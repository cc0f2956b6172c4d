"""Fuses by a low-rank tensor (Liu et al., 2018, section 3.3). Legend: B clips, M modalities, E joint, R rank."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from trivium.encoders.base import Encoded
from trivium.fusions.base import Fusion
from trivium.fusions.pooled_vectors import bias_of, check_sizes, each_through, or_absent, pooled_vectors


class LowRank(Fusion):
    """Multiplies: sum over r of the product over m of W_m,r [x_m; 1].

    That is tensor fusion (trivium.fusions.tensor) with a weight tensor of rank R, which is never built.
    The column of W_m,r that meets the appended 1 is the bias of a Linear; of an absent modality only that remains.
    The sum over ranks is plain, as in the paper. The paper's public code also learns a weight for each rank, which the
    factors can express, and a bias, which a head's Linear has.

    out: E. rank: R. dropout: on the pooled vectors.
    Raises ValueError for sizes below 1.
    """

    by_modality = "factors"

    def __init__(self, dims: Mapping[str, int], *, out: int = 128, rank: int = 4, dropout: float = 0.0) -> None:
        super().__init__()
        check_sizes(dims, out=out, rank=rank)
        self.dims, self.dim, self.rank = dict(dims), out, rank
        self.dropout = nn.Dropout(dropout)
        self.factors = nn.ModuleList(nn.Linear(size, rank * out) for size in dims.values())

    def forward(self, encoded: dict[str, Encoded], present_BM: Tensor) -> Tensor:
        first, *others = self.separate(encoded, present_BM).values()
        for other in others:
            first = first * other
        return first.view(-1, self.rank, self.dim).sum(dim=1)

    def separate(self, encoded: Mapping[str, Encoded], present_BM: Tensor) -> dict[str, Tensor]:
        """Returns the R factors W_m,r [x_m; 1] of each modality, side by side, Q = R E."""
        return each_through(self.factors, pooled_vectors(self.dims, encoded, self.dropout))

    def combine(self, block: tuple[str, ...], parts: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> Tensor:
        first, *others = [
            or_absent(parts[name], present[name], bias_of(factor))
            for name, factor in zip(self.dims, self.factors, strict=True)
        ]
        for other in others:
            first = first * other
        return first.reshape(*first.shape[:-1], self.rank, self.dim).sum(dim=-2)
