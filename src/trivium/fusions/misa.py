"""Fuses by a transformer layer over one vector a modality, its outputs concatenated (MISA; Hazarika et al., 2020).

Legend: B clips, M vectors, W their common width, P_m size of vector m.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from trivium.encoders.base import Encoded
from trivium.encoders.transformer_layer import TransformerLayer, layer_norm, linear, multi_head_attention, weights_of
from trivium.fusions.base import Fusion
from trivium.fusions.pooled_vectors import check_sizes, pooled_vectors


class MISAFusion(Fusion):
    """Takes the vectors as M tokens -> one layer of attention, layer norms last -> the M outputs end to end.

    Tokens get no position, so that their order does not count. A vector that is not of the common width passes through
    a Linear first. An absent one is not attended to, and its place in the joint vector is zero.

    width: W; 0 takes the size of the largest vector. heads, feedforward, dropout: of the layer.
    Raises ValueError for sizes below 1 and a width that `heads` does not divide.
    """

    def __init__(
        self,
        dims: Mapping[str, int],
        *,
        width: int = 0,
        heads: int = 2,
        feedforward: int = 2048,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        width = width or max(dims.values(), default=1)
        check_sizes(dims, width=width, heads=heads, feedforward=feedforward)
        if width % heads:
            raise ValueError(f"width: expected a multiple of heads ({heads}), found {width}")
        self.dims, self.dim = dict(dims), len(dims) * width
        # A list in the order of dims, because a ModuleDict refuses modalities with names such as "keys".
        self.adapt = nn.ModuleList(nn.Identity() if size == width else nn.Linear(size, width) for size in dims.values())
        self.layer = TransformerLayer(width, heads, feedforward, dropout)

    def forward(self, encoded: dict[str, Encoded], present_BM: Tensor) -> Tensor:
        vectors = pooled_vectors(self.dims, encoded)
        tokens = [adapt(vector) for adapt, vector in zip(self.adapt, vectors.values(), strict=True)]
        out_BMW = self._layer(torch.stack(tokens, dim=1), present_BM)
        return torch.where(present_BM[..., None], out_BMW, 0.0).flatten(1)

    def _layer(self, x_BMW: Tensor, present_BM: Tensor) -> Tensor:
        """Returns the layer's outputs, with its norms behind the branches (Vaswani et al., 2017), (B, M, W)."""
        weights, dropout = weights_of(self.layer), self.layer.dropout
        query, key, value = linear(x_BMW, weights.in_proj).chunk(3, dim=-1)
        # In a clip without any vector all are attended to, because a softmax over nothing is NaN.
        keys_BM = present_BM | ~present_BM.any(dim=1, keepdim=True)
        attended_BMW = multi_head_attention(
            query,
            key,
            value,
            heads=self.layer.heads,
            mask=keys_BM[:, None, None],
            dropout=dropout.p if self.training else 0.0,
        )
        x_BMW = layer_norm(x_BMW + dropout(linear(attended_BMW, weights.out_proj)), weights.norm1)
        hidden = dropout(linear(x_BMW, weights.linear1).relu())
        return layer_norm(x_BMW + dropout(linear(hidden, weights.linear2)), weights.norm2)
