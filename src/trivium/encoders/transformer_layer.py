"""Provides the one transformer layer that the transformer encoder, fusion=transformer and fusion=mult run.

Legend: R clips or sets of tokens, T steps that attend, S steps that are attended to, E embedding, H heads, D = E / H,
G layers of one shape that run at once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trivium.encoders.dropout import Dropout
from trivium.encoders.old_names import accept_old_names
from trivium.encoders.real_steps import RealSteps

# Attention: query (..., T, E), key and value (..., S, E) -> (..., T, E).
Attend = Callable[[Tensor, Tensor, Tensor], Tensor]


class Affine(NamedTuple):
    """Holds weight and bias of a linear map or of a layer norm. Those of G layers have one more dimension in front."""

    weight: Tensor
    bias: Tensor

    def outputs(self, start: int, end: int) -> Affine:
        """Returns the part of a linear map that computes the outputs from `start` up to `end`."""
        return Affine(self.weight[..., start:end, :], self.bias[..., start:end])


class LayerWeights(NamedTuple):
    """Holds the weights of one layer. in_proj: (3E, E), the rows of query, key and value, in that order."""

    in_proj: Affine
    out_proj: Affine
    linear1: Affine
    linear2: Affine
    norm1: Affine
    norm2: Affine


def transformer_layer(
    x: Tensor,
    weights: LayerWeights,
    attend: Attend,
    *,
    source: Tensor | None = None,
    source_present: Tensor | None = None,
    dropout: Callable[[Tensor], Tensor],
    hidden_dropout: Callable[[Tensor], Tensor] | None = None,
    activation: Callable[[Tensor], Tensor] = torch.relu,
) -> Tensor:
    """Returns x + attention(norm1(x)), then x + linear2(activation(linear1(norm2(x)))), of the shape of `x`.

    That is the layer of Vaswani et al. (2017, section 3.1) with its norms inside the branches (Xiong et al., 2020),
    which trains without a warm-up.

    x: (..., E); with stacked weights (G, ..., E).
    attend: the attention between projected query, key and value, with its mask.
    source: the steps that are attended to, which pass through the same norm1; None for self-attention.
    source_present: bool, broadcast against x; where False, attention adds nothing, not even the bias of out_proj.
    dropout: applied at the end of both branches and behind the activation.
    hidden_dropout: applied behind the activation in its place.
    """
    dim = x.shape[-1]
    if source is None:
        query, key, value = linear(layer_norm(x, weights.norm1), weights.in_proj).chunk(3, dim=-1)
    else:
        query = linear(layer_norm(x, weights.norm1), weights.in_proj.outputs(0, dim))
        key_value = linear(layer_norm(source, weights.norm1), weights.in_proj.outputs(dim, 3 * dim))
        key, value = key_value.chunk(2, dim=-1)
    attended = linear(attend(query, key, value), weights.out_proj)
    if source_present is not None:
        attended = torch.where(source_present, attended, 0.0)
    x = x + dropout(attended)
    hidden = (hidden_dropout or dropout)(activation(linear(layer_norm(x, weights.norm2), weights.linear1)))
    return x + dropout(linear(hidden, weights.linear2))


def linear(x: Tensor, affine: Affine) -> Tensor:
    """Returns x W^T + b. With stacked weights x is (G, ..., E), and map g is applied to x[g]."""
    weight, bias = affine
    if weight.ndim == 2:
        return F.linear(x, weight, bias)
    y = torch.baddbmm(bias[:, None], x.flatten(1, -2), weight.mT)
    return y.view(*x.shape[:-1], y.shape[-1])


def layer_norm(x: Tensor, affine: Affine) -> Tensor:
    """Returns the layer norm over the last dimension (Ba et al., 2016). Weights may be stacked, as in `linear`."""
    weight, bias = affine
    if weight.ndim == 1:
        return F.layer_norm(x, weight.shape, weight, bias)
    gain, shift = (part.view(len(part), *[1] * (x.ndim - 2), -1) for part in affine)
    return torch.addcmul(shift, F.layer_norm(x, x.shape[-1:]), gain)


def split_heads(x_RTE: Tensor, heads: int) -> Tensor:
    """Returns (R, H, T, D), as scaled_dot_product_attention takes it; dimensions before T are flattened into R."""
    x_RTE = x_RTE.flatten(0, -3)
    return x_RTE.reshape(*x_RTE.shape[:2], heads, -1).transpose(1, 2)


def multi_head_attention(
    query_RTE: Tensor, key_RSE: Tensor, value_RSE: Tensor, *, heads: int, mask: Tensor | None, dropout: float = 0.0
) -> Tensor:
    """Returns (R, T, E): softmax(query . key / sqrt(D)) value in each head (Vaswani et al., 2017, eq. 1).

    mask: bool, broadcast against (R, H, T, S), True where a step is attended to; None where all are.
    dropout: the probability with which an attention weight is dropped.
    """
    query, key, value = (split_heads(x, heads) for x in (query_RTE, key_RSE, value_RSE))
    attended_RHTD = F.scaled_dot_product_attention(query, key, value, attn_mask=mask, dropout_p=dropout)
    return attended_RHTD.transpose(1, 2).flatten(2)


class TransformerLayer(nn.Module):
    """Holds one layer of an encoder and runs it on the real steps of a batch.

    Its initial weights are those that nn.TransformerEncoderLayer draws from the same random numbers.
    dropout: on the attention weights, behind the ReLU, and at the end of both branches.
    """

    def __init__(self, dim: int, heads: int, feedforward: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.dropout = Dropout(dropout)
        # The order of these lines is that in which nn.TransformerEncoderLayer draws its initial weights.
        self.out_proj = nn.Linear(dim, dim)
        self.in_proj = nn.utils.skip_init(nn.Linear, dim, 3 * dim)  # type: ignore[no-untyped-call]
        nn.init.xavier_uniform_(self.in_proj.weight)
        nn.init.zeros_(self.in_proj.bias)
        nn.init.zeros_(self.out_proj.bias)
        self.linear1 = nn.Linear(dim, feedforward)
        self.linear2 = nn.Linear(feedforward, dim)
        self.norm1 = nn.LayerNorm(dim)
        self.norm2 = nn.LayerNorm(dim)
        accept_old_names(
            self,
            {
                "queries_keys_values.": "in_proj.",
                "out.": "out_proj.",
                "widen.": "linear1.",
                "narrow.": "linear2.",
                "attention_norm.": "norm1.",
                "feedforward_norm.": "norm2.",
            },
        )

    def forward(self, rows_LE: Tensor, real: RealSteps) -> Tensor:
        """Returns the layer's output for the real steps of all clips, (L, E), in the order of `real`."""

        def attend(*rows: Tensor) -> Tensor:
            # Only attention needs the steps arranged by clip. The outputs of padded queries are dropped again.
            query, key, value = (real.pad(part) for part in rows)
            dropout = self.dropout.p if self.training else 0.0
            return real.pack(multi_head_attention(query, key, value, heads=self.heads, mask=real.keys, dropout=dropout))

        return transformer_layer(rows_LE, weights_of(self), attend, dropout=self.dropout)


def weights_of(layer: nn.Module) -> LayerWeights:
    """Returns the weights of a module whose parts have the names of `LayerWeights`."""
    parts = (layer.get_submodule(name) for name in LayerWeights._fields)
    return LayerWeights(*(Affine(part.get_parameter("weight"), part.get_parameter("bias")) for part in parts))
