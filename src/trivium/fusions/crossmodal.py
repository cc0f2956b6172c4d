"""MulT's transformers (Tsai et al., ACL 2019), several at once with stacked weights.

Features stand in front of steps: on a CPU a product with a thousand columns is up to twice as fast as one with 30.
Legend: L layers, G transformers, E width, H heads, D = E / H, B clips, R = G B, T target steps, S source steps.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from trivium.encoders.dropout import Dropout
from trivium.fusions.attend import attend, future_mask

Linear = tuple[Tensor, Tensor]  # weights (G, out, in) and biases (G, out, 1)


@dataclass
class _Layer:
    """One layer of G transformers. The layer norms' gains and shifts are folded into what reads them."""

    query: Linear
    keys_values: Linear
    out: Linear
    widen: Linear
    narrow: Linear


class Transformers(nn.Module):
    """`count` transformers of `layers` layers; what each reads is scaled, gets its positions, then embed_dropout.

    A layer: x + out(attention(norm(x), norm(source))), then x + narrow(relu(widen(norm(x)))), widen to 4E. One norm
    serves asking and source. dropout: after the ReLU and on both branches. A last norm ends the transformer.

    Initial weights as MulT's: Xavier uniform, each matrix by itself, those of query, keys and values as one of 3E x E;
    zero biases. Biases and norms are kept flat, because optimisers know them by their one dimension.
    `which` below are the numbers of the G transformers that are asked.
    """

    def __init__(
        self, count: int, width: int, *, layers: int, heads: int, dropout: float, embed_dropout: float
    ) -> None:
        super().__init__()
        self.count, self.width, self.layers, self.heads = count, width, layers, heads
        self.dropout, self.embed_dropout = Dropout(dropout), Dropout(embed_dropout)
        stack = layers * count
        sizes = {"into": (3, 1), "out": (1, 1), "widen": (4, 1), "narrow": (1, 4)}
        for name, (rows, columns) in sizes.items():
            bound = math.sqrt(6 / ((rows + columns) * width))
            weight = torch.empty(layers, count, rows * width, columns * width).uniform_(-bound, bound)
            self.register_parameter(f"{name}_weight", nn.Parameter(weight))
            self.register_parameter(f"{name}_bias", nn.Parameter(torch.zeros(stack * rows * width)))
        for name, norms in (("attention", stack), ("wide", stack), ("last", count)):
            self.register_parameter(f"{name}_gain", nn.Parameter(torch.ones(norms * width)))
            self.register_parameter(f"{name}_shift", nn.Parameter(torch.zeros(norms * width)))

    def cross(
        self,
        target_GEBT: Tensor,
        source_GEBS: Tensor,
        target_GB: Tensor,
        source_GB: Tensor,
        attention_dropout: nn.Module,
        which: Sequence[int],
    ) -> Tensor:
        """(G, E, B, T): each target after it attended, in every layer, to its source, which stays as it was embedded.

        target_GB, source_GB: their real steps, int64. Attention to a source of length 0 adds nothing.
        """
        layers = self._layers(which)
        mask_RST = future_mask(target_GB, source_GB, source_GEBS.shape[-1], target_GEBT.shape[-1]).flatten(0, 1)
        here_G1B1 = (source_GB > 0)[:, None, :, None]
        keys_values = self._keys_values(layers, normalised(self._embed(source_GEBS)))
        rows = self._embed(target_GEBT)
        for layer, (key, value) in zip(layers, keys_values, strict=True):
            found = self._look(layer, rows, key, value, mask_RST, attention_dropout)
            rows = self._feed(layer, rows + self.dropout(torch.where(here_G1B1, found, 0.0)))
        return self._end(rows, which)

    def at_last(
        self, rows_GEBT: Tensor, length_GB: Tensor, attention_dropout: nn.Module, which: Sequence[int]
    ) -> Tensor:
        """(G, E, B): self-attention among the steps of each, read at the last real one; the last layer is asked there
        alone. length_GB: real steps, int64."""
        steps = rows_GEBT.shape[-1]
        whole_1 = length_GB.new_full((1,), steps)
        mask = future_mask(whole_1, whole_1, steps, steps)  # padding comes last, so no real step sees any
        last_G1B1 = (length_GB - 1).clamp(min=0)[:, None, :, None]
        rows = self._embed(rows_GEBT)
        layers = self._layers(which)
        for layer in layers:
            ((key, value),) = self._keys_values([layer], normalised(rows))
            if layer is layers[-1]:
                rows = rows.take_along_dim(last_G1B1, dim=-1)
                step_S1 = torch.arange(steps, device=rows.device)[:, None]
                mask = torch.where(step_S1 <= last_G1B1.reshape(-1, 1, 1), 0.0, -torch.inf)
            found = self._look(layer, rows, key, value, mask, attention_dropout)
            rows = self._feed(layer, rows + self.dropout(found))
        return self._end(rows, which)[..., 0]

    def _embed(self, rows_GEBT: Tensor) -> Tensor:
        """sqrt(E) x + position; a step whose first feature is exactly 0, as padding's is, gets no position."""
        place_E1T = sinusoids(self.width, rows_GEBT.shape[-1], rows_GEBT)[:, None]
        placed = rows_GEBT * math.sqrt(self.width) + place_E1T * (rows_GEBT[:, :1] != 0)
        embedded: Tensor = self.embed_dropout(placed)
        return embedded

    def _keys_values(self, layers: Sequence[_Layer], seen_GEBS: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Keys and values of each layer, (R, H, D, S), in one product."""
        weight, bias = (torch.cat([layer.keys_values[part] for layer in layers], dim=1) for part in (0, 1))
        rows = _apply((weight, bias), seen_GEBS)
        split = rows.view(len(rows), len(layers), 2, self.heads, -1, *rows.shape[2:])
        keys, values = split.permute(2, 1, 0, 5, 3, 4, 6).flatten(2, 3)
        return list(zip(keys, values, strict=True))

    def _look(
        self, layer: _Layer, rows_GEBT: Tensor, key: Tensor, value: Tensor, mask: Tensor, dropout: nn.Module
    ) -> Tensor:
        """(G, E, B, T): what attention brings to the rows."""
        query = _apply(layer.query, normalised(rows_GEBT))
        count, _, clips, _ = query.shape
        query = query.view(count, self.heads, -1, *query.shape[2:]).permute(0, 3, 1, 2, 4).flatten(0, 1)
        found = attend(query, key, value, mask, dropout)
        return _apply(layer.out, found.view(count, clips, *found.shape[1:]).permute(0, 2, 3, 1, 4).flatten(1, 2))

    def _feed(self, layer: _Layer, rows_GEBT: Tensor) -> Tensor:
        wide = self.dropout(_apply(layer.widen, normalised(rows_GEBT)).relu())
        after: Tensor = rows_GEBT + self.dropout(_apply(layer.narrow, wide))
        return after

    def _end(self, rows_GEBT: Tensor, which: Sequence[int]) -> Tensor:
        flat = (self.get_parameter("last_gain"), self.get_parameter("last_shift"))
        gain, shift = (_some(one.view(self.count, self.width, 1, 1), which, dim=0) for one in flat)
        return normalised(rows_GEBT) * gain + shift

    def _layers(self, which: Sequence[int]) -> list[_Layer]:
        """With w (g x + s) + b = (w g) x + (w s + b); 1 / sqrt(D) is folded into the query."""
        into, widen = self._reading("into", "attention", which), self._reading("widen", "wide", which)
        scale = math.sqrt(self.heads / self.width)
        query = [part[:, :, : self.width] * scale for part in into]
        keys_values = [part[:, :, self.width :] for part in into]
        out, narrow = ([self._weight(name, which), self._column(f"{name}_bias", which)] for name in ("out", "narrow"))
        every = (zip(*pair, strict=True) for pair in (query, keys_values, out, widen, narrow))
        return [_Layer(*linears) for linears in zip(*every, strict=True)]

    def _reading(self, name: str, norm: str, which: Sequence[int]) -> list[Tensor]:
        """Weights (L, G, out, in) and biases (L, G, out, 1) that read the layer norm `norm`."""
        weight, bias = self._weight(name, which), self._column(f"{name}_bias", which)
        gain, shift = self._column(f"{norm}_gain", which), self._column(f"{norm}_shift", which)
        return [weight * gain.mT, bias + weight @ shift]

    def _weight(self, name: str, which: Sequence[int]) -> Tensor:
        return _some(self.get_parameter(f"{name}_weight"), which, dim=1)

    def _column(self, name: str, which: Sequence[int]) -> Tensor:
        """(L, G, size, 1) of a flat parameter."""
        return _some(self.get_parameter(name).view(self.layers, self.count, -1, 1), which, dim=1)


def normalised(rows_GEBT: Tensor) -> Tensor:
    """Mean 0 and variance 1 over E, in float32 at least: a layer norm without gain and shift."""
    rows = rows_GEBT.to(torch.promote_types(rows_GEBT.dtype, torch.float32))
    centred = rows - rows.mean(dim=1, keepdim=True)
    return (centred * (centred.square().mean(dim=1, keepdim=True) + 1e-5).rsqrt()).to(rows_GEBT.dtype)


def sinusoids(width: int, steps: int, like: Tensor) -> Tensor:
    """(E, T), step t at t + 1: E / 2 sines, then as many cosines, of frequencies 10000^(-k / (E / 2 - 1))."""
    dtype = torch.promote_types(like.dtype, torch.float32)  # half precision cannot count to 500
    half = width // 2
    rate = torch.exp(torch.arange(half, device=like.device, dtype=dtype) * (-math.log(1e4) / (half - 1)))
    angle = rate[:, None] * torch.arange(1, steps + 1, device=like.device, dtype=dtype)
    return torch.cat([angle.sin(), angle.cos()]).to(like.dtype)


def _apply(linear: Linear, rows_GEBT: Tensor) -> Tensor:
    weight, bias = linear
    rows = torch.baddbmm(bias, weight, rows_GEBT.flatten(2))
    return rows.view(*rows.shape[:2], *rows_GEBT.shape[2:])


def _some(stacked: Tensor, which: Sequence[int], dim: int) -> Tensor:
    """Slices of `stacked`, without an index that would have to travel to a GPU."""
    if list(which) == list(range(stacked.shape[dim])):
        return stacked
    return torch.stack([stacked.select(dim, n) for n in which], dim=dim)
