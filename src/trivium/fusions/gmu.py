"""Fuses by the gated multimodal unit (Arevalo et al., 2017, section 3.1), for any number of modalities.

Legend: B clips, M modalities, E joint embedding.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from trivium.encoders.base import Encoded
from trivium.fusions.base import Fusion
from trivium.fusions.pooled_vectors import bias_of, check_sizes, or_absent, pooled_vectors, split


class GMU(Fusion):
    """Weighs the modalities: sum over m of z_m * tanh(W_m x_m + b_m).

    The gates z are the softmax, over the present modalities, of U_m [x_1; ...; x_M] + c_m, in each of the E features.
    An absent modality's gate is exactly 0.
    For two modalities this is the paper's unit: z_1 is the sigmoid of the difference of the two logits, and
    z_2 = 1 - z_1. For more the paper has independent sigmoids; the softmax is ours, because it keeps the joint vector
    within [-1, 1] whatever is absent.

    out: E. dropout: on the pooled vectors.
    Raises ValueError for sizes below 1.
    """

    by_modality = "project"

    def __init__(self, dims: Mapping[str, int], *, out: int = 128, dropout: float = 0.0) -> None:
        super().__init__()
        check_sizes(dims, out=out)
        self.dims, self.dim = dict(dims), out
        self.dropout = nn.Dropout(dropout)
        self.project = nn.ModuleList(nn.Linear(size, out) for size in dims.values())
        self.gate = nn.Linear(sum(dims.values()), len(dims) * out)

    def forward(self, encoded: dict[str, Encoded], present_BM: Tensor) -> Tensor:
        vectors = list(pooled_vectors(self.dims, encoded, self.dropout).values())
        values_BME = torch.stack(
            [project(vector).tanh() for project, vector in zip(self.project, vectors, strict=True)], dim=1
        )
        logits_BME = self.gate(torch.cat(vectors, dim=1)).unflatten(1, (len(vectors), self.dim))
        # The lowest finite number and not -inf, whose softmax would be NaN in a row without any modality.
        logits_BME = logits_BME.masked_fill(~present_BM[..., None], torch.finfo(logits_BME.dtype).min)
        joint_BE: Tensor = (logits_BME.softmax(dim=1) * values_BME).sum(dim=1)
        return joint_BE

    def separate(self, encoded: Mapping[str, Encoded], present_BM: Tensor) -> dict[str, Tensor]:
        """Returns of each modality [tanh(W_m x_m + b_m); what x_m adds to the logits of all M gates], Q = (1 + M) E.

        U [x_1; ...; x_M] is a sum over the modalities of one slice of U's columns times x_m, so that each modality can
        pass through its slice alone.
        """
        vectors = pooled_vectors(self.dims, encoded, self.dropout)
        weights = split(self.gate.weight, list(self.dims.values()))
        return {
            name: torch.cat([project(vector).tanh(), nn.functional.linear(vector, weight)], dim=1)
            for (name, vector), project, weight in zip(vectors.items(), self.project, weights, strict=True)
        }

    def combine(self, block: tuple[str, ...], parts: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> Tensor:
        logits: Tensor = self.gate.bias
        for name in self.dims:
            logits = logits + or_absent(parts[name][..., self.dim :], present[name])
        present_M = torch.stack(torch.broadcast_tensors(*(present[name] for name in self.dims)), dim=-1)  # type: ignore[no-untyped-call]
        logits = logits.reshape(*logits.shape[:-1], len(self.dims), self.dim)
        logits = logits.masked_fill(~present_M[..., None], torch.finfo(logits.dtype).min)
        # Modality by modality, so that for all pairings of clips no table of M values is held beside that of logits.
        joint: Tensor = logits.new_zeros(())
        for name, project, gate in zip(self.dims, self.project, logits.softmax(dim=-2).unbind(-2), strict=True):
            joint = joint + gate * or_absent(parts[name][..., : self.dim], present[name], bias_of(project).tanh())
        return joint
