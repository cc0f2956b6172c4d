"""Runs the transformers of MulT (Tsai et al., ACL 2019, section 3) side by side, with stacked weights.

MulT has a transformer for every ordered pair of modalities and one for every modality. Those that
have equal shapes run as one: a batched product takes the place of several small ones.

Legend: L layers, G transformers, E width, H heads, B clips, R = G B, T steps of a target, S steps of a source.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from trivium.encoders.dropout import Dropout
from trivium.encoders.old_names import accept_old_names
from trivium.encoders.transformer_layer import (
    Affine,
    Attend,
    LayerWeights,
    layer_norm,
    multi_head_attention,
    split_heads,
    transformer_layer,
)


class TransformerStack(nn.Module):
    """Holds `count` transformers of `layers` layers, and runs those with the numbers `which` side by side.

    A transformer scales its input by sqrt(E), adds positions and applies embed_dropout. After its layers comes one more
    layer norm. In a layer, one norm serves both target and source, and the feed-forward part is 4E wide.
    dropout, hidden_dropout: as in `transformer_layer`. positions: False adds none, so that only the mask tells steps
    apart.

    Initial weights are MulT's: each matrix is Xavier uniform by itself, where query, key and value count as one matrix
    of 3E x E. Biases start at zero.
    """

    def __init__(
        self,
        count: int,
        width: int,
        *,
        layers: int,
        heads: int,
        dropout: float,
        embed_dropout: float,
        hidden_dropout: float | None = None,
        positions: bool = True,
    ) -> None:
        super().__init__()
        self.count, self.width, self.layers, self.heads, self.positions = count, width, layers, heads, positions
        self.dropout, self.embed_dropout = Dropout(dropout), Dropout(embed_dropout)
        self.hidden_dropout = Dropout(dropout if hidden_dropout is None else hidden_dropout)
        sizes = {"in_proj": (3, 1), "out_proj": (1, 1), "linear1": (4, 1), "linear2": (1, 4)}
        for name, (rows, columns) in sizes.items():
            # Xavier uniform (Glorot and Bengio, 2010, eq. 16), written out: torch's function would take the stacked
            # dimensions for those of a kernel.
            bound = math.sqrt(6 / ((rows + columns) * width))
            weight = torch.empty(layers, count, rows * width, columns * width).uniform_(-bound, bound)
            self.register_parameter(f"{name}_weight", nn.Parameter(weight))
            # Biases and norms are stored flat: optimisers exempt them from weight decay by their single dimension.
            self.register_parameter(f"{name}_bias", nn.Parameter(torch.zeros(layers * count * rows * width)))
        for name, norms in (("norm1", layers * count), ("norm2", layers * count), ("norm", count)):
            self.register_parameter(f"{name}_gain", nn.Parameter(torch.ones(norms * width)))
            self.register_parameter(f"{name}_shift", nn.Parameter(torch.zeros(norms * width)))
        renamed = {"into": "in_proj", "out": "out_proj", "widen": "linear1", "narrow": "linear2"}
        renamed |= {"attention": "norm1", "wide": "norm2", "last": "norm"}
        accept_old_names(
            self,
            {
                f"{old}_{kind}": f"{new}_{kind}"
                for old, new in renamed.items()
                for kind in (("gain", "shift") if new.startswith("norm") else ("weight", "bias"))
            },
        )

    def cross(
        self,
        target_GBTE: Tensor,
        source_GBSE: Tensor,
        target_length_GB: Tensor,
        source_length_GB: Tensor,
        attention_dropout: Dropout,
        which: Sequence[int],
    ) -> Tensor:
        """Returns each target after it attended to its source in every layer, (G, B, T, E).

        All layers attend to the source as it was embedded, not to deeper states of it (Tsai et al., 2019, section 3.2).
        target_length_GB, source_length_GB: numbers of real steps, int64. A source of length 0 adds nothing.
        attention_dropout: on the attention weights. which: the numbers of the G transformers.
        """
        mask_GBTS = causal_mask(target_length_GB, source_length_GB, target_GBTE.shape[2], source_GBSE.shape[2])
        attend = self._attention(mask_GBTS.flatten(0, 1), attention_dropout)
        source = self._embed(source_GBSE)
        x = self._embed(target_GBTE)
        for weights in self._layers(which):
            x = transformer_layer(
                x,
                weights,
                attend,
                source=source,
                source_present=(source_length_GB > 0)[..., None, None],
                dropout=self._drop,
                hidden_dropout=self._drop_hidden,
            )
        return self._last_norm(x, which)

    def last_steps(self, x_GBTE: Tensor, length_GB: Tensor, attention_dropout: Dropout, which: Sequence[int]) -> Tensor:
        """Returns (G, B, E): causal self-attention among the steps of each clip, read at its last real step.

        length_GB: numbers of real steps, int64. attention_dropout, which: as in `cross`.
        """
        step_T = torch.arange(x_GBTE.shape[2], device=x_GBTE.device)
        x = self._embed(x_GBTE)
        *layers, last_layer = self._layers(which)
        # Padding comes last in a clip, so that a causal mask already hides it from every real step.
        causal = self._attention((step_T <= step_T[:, None])[None], attention_dropout)
        for weights in layers:
            x = transformer_layer(x, weights, causal, dropout=self._drop, hidden_dropout=self._drop_hidden)
        # Only the last real step is read, so the last layer computes that step alone.
        last_GB11 = (length_GB - 1).clamp(min=0)[..., None, None]
        before_last = self._attention(step_T <= last_GB11.flatten(0, 1), attention_dropout)
        last = x.take_along_dim(last_GB11, dim=2)
        last = transformer_layer(
            last, last_layer, before_last, source=x, dropout=self._drop, hidden_dropout=self._drop_hidden
        )
        return self._last_norm(last, which)[:, :, 0]

    def _embed(self, x_GBTE: Tensor) -> Tensor:
        """Returns sqrt(E) x + position, after dropout.

        A step whose first feature is exactly 0, as that of padding is, gets no position; so it is in MulT's code.
        """
        embedded = x_GBTE * math.sqrt(self.width)
        if self.positions:
            embedded = embedded + sinusoids(self.width, x_GBTE.shape[2], x_GBTE) * (x_GBTE[..., :1] != 0)
        return _features_first(self.embed_dropout, embedded)

    def _drop(self, x_GBTE: Tensor) -> Tensor:
        """Applies the dropout at the end of a layer's branches."""
        return _features_first(self.dropout, x_GBTE)

    def _drop_hidden(self, x_GBTE: Tensor) -> Tensor:
        """Applies the dropout behind a layer's activation."""
        return _features_first(self.hidden_dropout, x_GBTE)

    def _attention(self, mask_RTS: Tensor, dropout: Dropout) -> Attend:
        """Returns multi-head attention of (G, B, T, E) under a mask that is True where a step is attended to."""
        mask = mask_RTS[:, None]

        def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
            if dropout.training and dropout.p > 0.0:
                attended = attention_with_dropout(query, key, value, heads=self.heads, mask=mask, dropout=dropout)
            else:
                attended = multi_head_attention(query, key, value, heads=self.heads, mask=mask)
            return attended.view_as(query)

        return attend

    def _last_norm(self, x_GBTE: Tensor, which: Sequence[int]) -> Tensor:
        """Applies the layer norm that ends each transformer."""
        flat = (self.get_parameter("norm_gain"), self.get_parameter("norm_shift"))
        return layer_norm(x_GBTE, Affine(*(_select(part.view(self.count, -1), which, dim=0) for part in flat)))

    def _layers(self, which: Sequence[int]) -> list[LayerWeights]:
        """Returns the weights of each layer, with those of the transformers `which` stacked in the first dimension."""
        parts = []
        for name in LayerWeights._fields:
            kinds = ("gain", "shift") if name.startswith("norm") else ("weight", "bias")
            stored = (self.get_parameter(f"{name}_{kind}") for kind in kinds)
            stacked = (part.view(self.layers, self.count, -1) if part.ndim == 1 else part for part in stored)
            pair = (_select(part, which, dim=1) for part in stacked)
            parts.append([Affine(*layer) for layer in zip(*pair, strict=True)])
        return [LayerWeights(*layer) for layer in zip(*parts, strict=True)]


def attention_with_dropout(
    query_RTE: Tensor, key_RSE: Tensor, value_RSE: Tensor, *, heads: int, mask: Tensor, dropout: nn.Module
) -> Tensor:
    """Returns (R, T, E), as `multi_head_attention` does, with `dropout` applied to the attention weights.

    scaled_dot_product_attention has dropout too, but draws one random number for every weight, which costs a CPU more
    than the rest of the attention (encoders/dropout.py).
    """
    query, key, value = (split_heads(x, heads) for x in (query_RTE, key_RSE, value_RSE))
    scores_RHTS = (query * query.shape[-1] ** -0.5) @ key.mT
    # Under autocast scores are in half precision, in which a softmax over many steps loses its small weights.
    precise = torch.promote_types(scores_RHTS.dtype, torch.float32)
    weights_RHTS = scores_RHTS.to(precise).masked_fill(~mask, -torch.inf).softmax(dim=-1)
    # Random numbers are dealt out in the order (R, H, S, T), as in version 0.1.0, so that its runs can be repeated.
    weights_RHTS = dropout(weights_RHTS.mT).mT.to(value.dtype)
    attended_RHTD: Tensor = weights_RHTS @ value
    return attended_RHTD.transpose(1, 2).flatten(2)


def check_width(width: int, heads: int) -> None:
    """Raises ValueError unless the width takes sines and cosines as positions and is shared out evenly over heads."""
    if width % heads or width % 2 or width < 4:
        raise ValueError(f"width: expected an even multiple of heads ({heads}) from 4 on, found {width}")


def causal_mask(target_length: Tensor, source_length: Tensor, target_steps: int, source_steps: int) -> Tensor:
    """Returns (..., T, S) bool, True where target step t attends to source step s: s is real and s <= t + |Ls - Lt|.

    That is MulT's mask for sequences of different lengths. Lt and Ls are each clip's own lengths, so that padding
    changes nothing. target_length, source_length: (...) int64. target_steps, source_steps: T and S.
    A source of length 0 shows its first step, because the softmax over no step is undefined; `transformer_layer` drops
    the result (source_present).
    """
    step_T1 = torch.arange(target_steps, device=target_length.device)[:, None]
    step_S = torch.arange(source_steps, device=target_length.device)
    reach = (source_length - target_length).abs()[..., None, None]
    return (step_S <= step_T1 + reach) & (step_S < source_length.clamp(min=1)[..., None, None])


def sinusoids(width: int, steps: int, like: Tensor) -> Tensor:
    """Returns (T, E): E / 2 sines of (t + 1) 10000^(-k / (E / 2 - 1)), then as many cosines.

    That is the form of fairseq, which MulT's code has. encoders.transformer.sinusoids has that of Vaswani et al.
    (2017), with each sine beside its cosine. Dtype and device are those of `like`.
    """
    # In float32 at least: bfloat16 does not hold every whole number above 256, so that steps would share positions.
    dtype = torch.promote_types(like.dtype, torch.float32)
    half = width // 2
    rate = torch.exp(torch.arange(half, device=like.device, dtype=dtype) * (-math.log(1e4) / (half - 1)))
    angle = rate * torch.arange(1, steps + 1, device=like.device, dtype=dtype)[:, None]
    return torch.cat([angle.sin(), angle.cos()], dim=1).to(like.dtype)


def _features_first(dropout: Dropout, x_GBTE: Tensor) -> Tensor:
    """Returns dropout(x), with random numbers dealt out feature by feature, as in version 0.1.0.

    Runs that version 0.1.0 began so go on with the same draws.
    """
    dropped: Tensor = dropout(x_GBTE.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
    return dropped


def _select(stacked: Tensor, which: Sequence[int], dim: int) -> Tensor:
    """Returns the slices numbered `which`, without a tensor of indices, which would have to be copied to a GPU."""
    if list(which) == list(range(stacked.shape[dim])):
        return stacked
    return torch.stack([stacked.select(dim, n) for n in which], dim=dim)
