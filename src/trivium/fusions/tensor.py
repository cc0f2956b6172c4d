"""Fuses by an outer product: the tensor fusion network (Zadeh et al., 2017, section 4.2).

Legend: B clips, M modalities, E joint embedding, J projected size.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from trivium.encoders.base import Encoded
from trivium.fusions.base import Fusion
from trivium.fusions.pooled_vectors import activation_of, check_sizes, each_through, or_absent, pooled_vectors

# The most weights that the last Linear may have: 1 GiB of float32.
LARGEST = 2**28


class UniformDropout(nn.Dropout):
    """Drops entries as nn.Dropout does, on a CPU by uniform numbers, which it draws in a third of a Bernoulli's time.

    p: share of dropped entries, 0 to 1; the others are divided by 1 - p. In evaluation it changes nothing.
    """

    def forward(self, values: Tensor) -> Tensor:
        if not self.training or self.p in (0, 1) or values.device.type != "cpu":
            return super().forward(values)
        mask = torch.rand(values.shape, device=values.device) >= self.p
        return values * mask.to(values.dtype).div_(1 - self.p)


class TensorFusion(Fusion):
    """Takes the outer product of [ReLU(W_m x_m + b_m); 1] over the modalities -> dropout -> Linear -> activation.

    The appended 1 makes the product hold the vectors themselves and the products of every subset of them. Of an absent
    modality only the 1 enters, so that the fusion of the others remains.

    out: E. project: J, the size of each projected modality; the product has (J + 1)^M entries.
    Raises ValueError for sizes below 1, an unknown activation, and a product too large to be meant.
    """

    by_modality = "project"

    def __init__(
        self,
        dims: Mapping[str, int],
        *,
        out: int = 128,
        project: int = 16,
        dropout: float = 0.0,
        activation: str = "relu",
    ) -> None:
        super().__init__()
        check_sizes(dims, out=out, project=project)
        entries = (project + 1) ** len(dims)
        if entries * out > LARGEST:
            raise ValueError(
                f"project: {project} for {len(dims)} modalities makes a tensor of {entries} entries and "
                f"{entries * out} weights; at most {LARGEST} are allowed. Take a smaller project, or fusion=lowrank"
            )
        self.dims, self.dim = dict(dims), out
        self.project = nn.ModuleList(nn.Linear(size, project) for size in dims.values())
        self.dropout = UniformDropout(dropout)
        self.out = nn.Linear(entries, out)
        self.activation = activation_of(activation)

    @property
    def random_combine(self) -> bool:
        return self.dropout.p > 0

    def separate(self, encoded: Mapping[str, Encoded], present_BM: Tensor) -> dict[str, Tensor]:
        """Returns ReLU(W_m x_m + b_m) of each modality, Q = J."""
        projected = each_through(self.project, pooled_vectors(self.dims, encoded))
        return {name: vector.relu() for name, vector in projected.items()}

    def combine(self, block: tuple[str, ...], parts: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> Tensor:
        product, *others = [
            nn.functional.pad(or_absent(parts[name], present[name]), (0, 1), value=1.0) for name in self.dims
        ]
        for other in others:
            # A matrix product, as the gradient of a broadcast one builds the whole tensor again for each factor.
            product = (product[..., :, None] @ other[..., None, :]).flatten(-2)
        joint: Tensor = self.activation(self.out(self.dropout(product)))
        return joint
