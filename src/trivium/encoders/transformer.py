"""Transformer encoder over one modality's steps (Vaswani et al., 2017; layer norm first, Xiong et al., 2020).

Legend: B clips, T steps, D input features, E embedding.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from trivium.data.batch import Stream
from trivium.encoders.base import Encoded, Encoder
from trivium.encoders.pooling import check_choice, check_least, pool_steps

POOLS = ("mean", "cls", "last")


class Transformer(Encoder):
    """Linear(D, dim) + sinusoidal positions -> `layers` of attention and feed-forward -> layer norm.

    pool: mean or last of the valid steps, or "cls", a learnt first step that is not among the tokens. dropout: inside
    the layers; input_dropout: on the features. Padded steps are attended by none.
    Raises ValueError for an unknown pool, sizes below 1, and a dim that `heads` does not divide or that is odd.
    """

    def __init__(
        self,
        in_dim: int,
        *,
        dim: int,
        layers: int = 2,
        heads: int = 4,
        feedforward: int = 256,
        dropout: float = 0.1,
        input_dropout: float = 0.0,
        pool: str = "mean",
    ) -> None:
        super().__init__()
        for key, size in (("dim", dim), ("layers", layers), ("heads", heads), ("feedforward", feedforward)):
            check_least(key, size, 1)
        if dim % heads or dim % 2:
            raise ValueError(f"dim: expected an even multiple of heads ({heads}), found {dim}")
        self.pool = check_choice("pool", pool, POOLS)
        self.dim = dim
        self.input_dropout = nn.Dropout(input_dropout)
        self.embed = nn.Linear(in_dim, dim)
        self.cls = nn.Parameter(torch.randn(dim) * dim**-0.5) if pool == "cls" else None
        # not nn.TransformerEncoder, which copies one layer's initial weights to all and warns of nested tensors
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(dim, heads, feedforward, dropout, batch_first=True, norm_first=True)
            for _ in range(layers)
        )
        self.norm = nn.LayerNorm(dim)

    def forward(self, stream: Stream) -> Encoded:
        steps_BTE = self.embed(self.input_dropout(stream.values))
        mask = stream.mask
        if self.cls is not None:
            steps_BTE = torch.cat([self.cls.expand(len(steps_BTE), 1, -1), steps_BTE], dim=1)
            mask = torch.cat([mask[:, :1], mask], dim=1)  # the first step is always there
        steps_BTE = steps_BTE + sinusoids(steps_BTE)
        for layer in self.layers:
            steps_BTE = layer(steps_BTE, src_key_padding_mask=~mask)
        out_BTE = self.norm(steps_BTE).masked_fill(~mask[..., None], 0.0)
        if self.cls is not None:
            return Encoded(out_BTE[:, 1:], stream.mask, out_BTE[:, 0])
        return Encoded(out_BTE, mask, pool_steps(self.pool, out_BTE, mask))


def sinusoids(like_BTE: Tensor) -> Tensor:
    """(T, E), of the dtype and device of `like_BTE`: sin and cos of t / 10000^(2i/E) (Vaswani et al., 2017, 3.5)."""
    steps, dim = like_BTE.shape[1:]
    dtype = torch.promote_types(like_BTE.dtype, torch.float32)  # half precision cannot count to 500
    step = torch.arange(steps, device=like_BTE.device, dtype=dtype)[:, None]
    rate = torch.exp(torch.arange(0, dim, 2, device=like_BTE.device, dtype=dtype) * (-math.log(1e4) / dim))
    return torch.stack([(step * rate).sin(), (step * rate).cos()], dim=-1).flatten(1).to(like_BTE.dtype)
