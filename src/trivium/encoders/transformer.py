"""Provides the transformer encoder (Vaswani et al., 2017), with layer norms first (Xiong et al., 2020).

Legend: B clips, T steps, L real steps of all clips, D input features, E embedding.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from trivium.core.choices import check_choice
from trivium.data.batch import Stream
from trivium.encoders.base import Adapt, Encoded, Encoder
from trivium.encoders.pooling import check_least, pool_steps
from trivium.encoders.real_steps import RealSteps
from trivium.encoders.transformer_layer import TransformerLayer

POOLS = ("mean", "cls", "last")
POSITIONS = ("sinusoidal", "none")


class Transformer(Encoder):
    """Encodes by Linear(D, dim) + positions -> `layers` of attention and feed-forward -> layer norm.

    Tokens are (B, T, dim), the pooled vector is (B, dim). No step attends to padding, and only attention computes it.

    feedforward: size of the hidden layer in the feed-forward part.
    positions: "sinusoidal", or "none", which makes it an encoder of sets: the order of steps then changes nothing.
    input_bias: False leaves out the bias of the first Linear. final_norm: False leaves out the last layer norm.
    pool: "mean" or "last" of the valid steps, or "cls", a learnt step before the clip that is not among the tokens.
    dropout: inside the layers. input_dropout: on the features.
    Raises ValueError for an unknown pool or positions, sizes below 1, and a dim that `heads` does not divide or, with
    sinusoidal positions, that is odd.
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
        positions: str = "sinusoidal",
        input_bias: bool = True,
        final_norm: bool = True,
        pool: str = "mean",
    ) -> None:
        super().__init__()
        for key, size in (("dim", dim), ("layers", layers), ("heads", heads), ("feedforward", feedforward)):
            check_least(key, size, 1)
        self.pool = check_choice("pool", pool, POOLS)
        self.positions = check_choice("positions", positions, POSITIONS)
        if dim % heads or (dim % 2 and positions == "sinusoidal"):
            even = "an even" if positions == "sinusoidal" else "a"
            raise ValueError(f"dim: expected {even} multiple of heads ({heads}), found {dim}")
        self.dim = self.adapts = dim
        self.input_size = in_dim
        self.adapt_layers = layers
        self.input_dropout = nn.Dropout(input_dropout)
        self.embed = nn.Linear(in_dim, dim, bias=input_bias)
        self.cls = nn.Parameter(torch.randn(dim) * dim**-0.5) if pool == "cls" else None
        # Each layer draws its own initial weights. nn.TransformerEncoder copies those of one layer to all.
        self.layers = nn.ModuleList(TransformerLayer(dim, heads, feedforward, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(dim) if final_norm else nn.Identity()

    def forward(self, stream: Stream) -> Encoded:
        return self._encode(stream)

    def adapted(self, stream: Stream, adapt: Adapt, layer: int = 0) -> Encoded:
        """Encodes with `adapt` applied behind `layer`, or for 0 to the embedded steps with their positions."""
        return self._encode(stream, adapt, layer)

    def _encode(self, stream: Stream, adapt: Adapt | None = None, adapted_layer: int = 0) -> Encoded:
        steps = stream.values.shape[1]
        real = RealSteps.of(stream.lengths, steps, stream.values.device)
        rows_LE = self.embed(self.input_dropout(real.pack(stream.values)))
        if self.cls is not None:
            real, rows_LE = self._with_cls(stream.lengths, steps, rows_LE, real)
        if self.positions == "sinusoidal":
            rows_LE = rows_LE + sinusoids(rows_LE.new_empty(1, real.steps, self.dim))[real.step]
        front = int(self.cls is not None)
        if adapt is not None and adapted_layer == 0:
            rows_LE = real.pack(adapt(real.pad(rows_LE), front))
        for number, layer in enumerate(self.layers, start=1):
            rows_LE = layer(rows_LE, real)
            if adapt is not None and adapted_layer == number:
                rows_LE = real.pack(adapt(real.pad(rows_LE), front))
        out_BTE = real.pad(self.norm(rows_LE))
        if self.cls is not None:
            return Encoded(out_BTE[:, 1:], stream.mask, out_BTE[:, 0])
        return Encoded(out_BTE, stream.mask, pool_steps(self.pool, out_BTE, stream.mask))

    def _with_cls(self, lengths: Tensor, steps: int, rows_LE: Tensor, real: RealSteps) -> tuple[RealSteps, Tensor]:
        """Returns layout and steps with the learnt [CLS] step in front of each clip."""
        assert self.cls is not None
        padded_BTE = real.pad(rows_LE)
        cls_B1E = self.cls.to(padded_BTE.dtype).expand(len(padded_BTE), 1, -1)
        longer = RealSteps.of(lengths + 1, steps + 1, rows_LE.device)
        return longer, longer.pack(torch.cat([cls_B1E, padded_BTE], dim=1))


def sinusoids(like_BTE: Tensor) -> Tensor:
    """Returns (T, E): sin and cos of t / 10000^(2i/E) in turn (Vaswani et al., 2017, section 3.5).

    Dtype and device are those of `like_BTE`.
    """
    steps, dim = like_BTE.shape[1:]
    # In float32 at least: bfloat16 does not hold every whole number above 256, so that steps would share positions.
    dtype = torch.promote_types(like_BTE.dtype, torch.float32)
    step = torch.arange(steps, device=like_BTE.device, dtype=dtype)[:, None]
    rate = torch.exp(torch.arange(0, dim, 2, device=like_BTE.device, dtype=dtype) * (-math.log(1e4) / dim))
    return torch.stack([(step * rate).sin(), (step * rate).cos()], dim=-1).flatten(1).to(like_BTE.dtype)
