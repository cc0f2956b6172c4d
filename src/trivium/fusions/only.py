"""Fuses nothing: the joint vector is one modality's, for methods that have the others reach it before (MAG-BERT)."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from trivium.core.choices import check_choice
from trivium.encoders.base import Encoded
from trivium.fusions.base import Fusion
from trivium.fusions.pooled_vectors import check_sizes, or_absent


class Only(Fusion):
    """Returns the pooled vector of `modality`, zeros where it is absent; it has no parameters.

    modality: its name; empty takes the first.
    Raises ValueError for a modality that is not there.
    """

    def __init__(self, dims: Mapping[str, int], *, modality: str = "") -> None:
        super().__init__()
        check_sizes(dims)
        self.modality = check_choice("modality", modality, list(dims)) if modality else next(iter(dims))
        self.dims, self.dim = dict(dims), dims[self.modality]

    def forward(self, encoded: dict[str, Encoded], present_BM: Tensor) -> Tensor:
        return or_absent(encoded[self.modality].pooled, present_BM[:, list(self.dims).index(self.modality)])
