"""Implements CoMM as one would write it first: padded and masked, one view and one mask after another, torch's layers.

It is made of a method's parameters, so that losses and gradients can be compared, and is timed beside that method. It
does not cover the padding of faithful=true, nor clips that lack a modality.
Legend: B clips, T steps, D features, E embedding.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trivium.data.batch import Batch, Stream
from trivium.encoders.transformer import Transformer
from trivium.encoders.transformer_layer import TransformerLayer
from trivium.fusions.transformer import Layer, TransformerFusion
from trivium.methods.comm import CoMM
from trivium.methods.projection_head import ProjectionHead
from trivium.methods.sync_batch_norm import SyncBatchNorm

Streams = Mapping[str, Stream]


class PlainCoMM(nn.Module):
    """Shares the parameters of `method` (terms=comm, fusion=transformer of one layer), in training mode."""

    attention: nn.MultiheadAttention

    def __init__(self, method: CoMM) -> None:
        super().__init__()
        self.temperature = method.temperature
        encoders = cast(Mapping[str, Transformer], dict(method.encoders.items()))
        self.embeds = nn.ModuleDict({name: encoder.embed for name, encoder in encoders.items()})
        self.encoders = nn.ModuleDict(
            {
                name: nn.ModuleList(_encoder_layer(cast(TransformerLayer, layer)) for layer in encoder.layers)
                for name, encoder in encoders.items()
            }
        )
        fusion = cast(TransformerFusion, method.fusion)
        (layer,) = fusion.layers
        self.layer = cast(Layer, layer)
        self.first, self.norm = fusion.first, fusion.norm
        attention = nn.MultiheadAttention(fusion.dim, self.layer.heads, batch_first=True, dtype=self.first.dtype)
        attention.out_proj.weight, attention.out_proj.bias = self.layer.out_proj.weight, self.layer.out_proj.bias
        del attention.in_proj_weight, attention.in_proj_bias
        self.attention = attention
        self.head = cast(ProjectionHead, method.head)
        norms = [cast(SyncBatchNorm, norm) for norm in self.head.norms]
        self.batch_norms = nn.ModuleList(nn.BatchNorm1d(len(norm.weight), dtype=norm.weight.dtype) for norm in norms)
        for mine, norm in zip(self.batch_norms, norms, strict=True):
            mine.weight, mine.bias = norm.weight, norm.bias

    def losses(self, views: tuple[Streams, Streams]) -> list[Tensor]:
        """Returns a loss for each mask: every modality alone, then all."""
        first, second = (self._embeddings(streams) for streams in views)
        joint = nt_xent(first[-1], second[-1], self.temperature)
        alone = [
            (nt_xent(a, second[-1], self.temperature) + nt_xent(b, first[-1], self.temperature)) / 2
            for a, b in zip(first[:-1], second[:-1], strict=True)
        ]
        return [*alone, joint]

    def _embeddings(self, streams: Streams) -> list[Tensor]:
        """Embeds one view through every mask."""
        tokens = {}
        for name, stream in streams.items():
            x = self.embeds[name](stream.values)
            padding = torch.zeros_like(x[..., 0]).masked_fill(~stream.mask, -torch.inf)
            for layer in cast(nn.ModuleList, self.encoders[name]):
                x = layer(x, src_key_padding_mask=padding)
            tokens[name] = (x, padding)
        masks = [[name] for name in streams] + [list(streams)]
        return [F.normalize(self._project(self._fuse([tokens[name] for name in mask])), dim=1) for mask in masks]

    def _fuse(self, tokens: list[tuple[Tensor, Tensor]]) -> Tensor:
        clips, dim, layer = len(tokens[0][0]), self.first.shape[-1], self.layer
        x = torch.cat([self.first.expand(clips, 1, -1), *(rows for rows, _ in tokens)], dim=1)
        padding = torch.cat([x.new_zeros(clips, 1), *(each for _, each in tokens)], dim=1)
        attention: Any = self.attention  # whose weights are parameters otherwise
        attention.in_proj_weight = torch.cat([layer.query.weight, layer.key.weight, layer.value.weight])
        attention.in_proj_bias = torch.cat([layer.query.bias, layer.key.bias, layer.value.bias])
        normed = F.layer_norm(x, (dim,), layer.norm1.weight, layer.norm1.bias)
        x = x + attention(normed, normed, normed, key_padding_mask=padding, need_weights=False)[0]
        wide = layer.linear1(F.layer_norm(x, (dim,), layer.norm2.weight, layer.norm2.bias))
        out: Tensor = self.norm(x + layer.linear2(wide * torch.sigmoid(1.702 * wide)))[:, 0]
        return out

    def _project(self, rows: Tensor) -> Tensor:
        *hidden, last = self.head.linears
        for linear, norm in zip(hidden, self.batch_norms, strict=True):
            rows = norm(linear(rows)).relu()
        out: Tensor = last(rows)
        return out


def nt_xent(first: Tensor, second: Tensor, temperature: float) -> Tensor:
    rows = torch.cat([first, second])
    scores = (rows @ rows.T / temperature).fill_diagonal_(-torch.inf)
    partner = torch.arange(len(rows)).roll(len(first))
    return F.cross_entropy(scores, partner)


def two_views(method: CoMM, batch: Batch) -> tuple[Streams, Streams]:
    """Returns the views that the method's next step will use."""
    first, second = (
        method.augment(batch.streams, batch.index, method.step_key("view", number)) for number in ("1", "2")
    )
    return first, second


def plain_view(streams: Streams, drop_max: float = 0.8, noise_std: float = 0.1) -> dict[str, Stream]:
    """Makes a view by drop+noise from torch's global generator, all clips at once; modalities share a clip's coins."""
    clips = len(next(iter(streams.values())).lengths)
    drops_B1, noisy_B1 = torch.rand(2, clips, 1) < 0.5
    view = {}
    for name, stream in streams.items():
        count_B = (torch.rand(clips) * drop_max * stream.lengths).round()
        order_BT = torch.rand(stream.mask.shape).masked_fill(~stream.mask, 2.0).argsort(dim=1)
        keep_BT = (order_BT >= count_B[:, None]) | ~drops_B1
        values = stream.values * keep_BT[..., None]
        noise = torch.randn_like(values) * (noise_std * (noisy_B1 & stream.mask))[..., None]
        view[name] = replace(stream, values=values + noise)
    return view


def _encoder_layer(layer: TransformerLayer) -> nn.TransformerEncoderLayer:
    dim, wide = layer.linear2.out_features, layer.linear2.in_features
    theirs = nn.TransformerEncoderLayer(
        dim, layer.heads, wide, layer.dropout.p, batch_first=True, norm_first=True, dtype=layer.out_proj.weight.dtype
    )
    theirs.self_attn.in_proj_weight = layer.in_proj.weight
    theirs.self_attn.in_proj_bias = layer.in_proj.bias
    theirs.self_attn.out_proj.weight, theirs.self_attn.out_proj.bias = layer.out_proj.weight, layer.out_proj.bias
    theirs.linear1, theirs.linear2 = layer.linear1, layer.linear2
    theirs.norm1, theirs.norm2 = layer.norm1, layer.norm2
    return theirs
