"""Fills modules of ALMT and LNLN with the sines of their test vectors, array after array in a stated order."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from trivium.fusions.almt import ALMT, CrossFusion, HyperModalityLayer
from trivium.fusions.token_encoder import Block, ModalityEmbedding, TokenEncoder

Arrays = Iterator[tuple[str, Tensor]]


def sines(*shape: int, c: float) -> Tensor:
    """S(B, T, D; c)[b, t, d] = sin(1.1 b + 0.8 t + 0.5 d + c)."""
    b, t, d = (torch.arange(n, dtype=torch.float64) for n in shape)
    return (1.1 * b[:, None, None] + 0.8 * t[:, None] + 0.5 * d + c).sin()


def fill(*parts: object) -> None:
    """Numbers the arrays of all parts from 0 and fills each by the rule of its kind."""
    with torch.no_grad():
        for p, (kind, array) in enumerate(itertools.chain.from_iterable(map(arrays, parts))):
            i = torch.arange(array.shape[0], dtype=torch.float64)
            j = torch.arange(array.shape[-1], dtype=torch.float64)
            if kind == "matrix":
                array.copy_(0.4 * (0.7 * i[:, None] + 0.3 * j + p).sin())
            elif kind == "tokens":
                array.copy_(0.5 * (0.9 * i[:, None] + 0.4 * j + p).sin())
            elif kind == "gain":
                array.copy_(1 + 0.1 * (i + p).sin())
            else:
                array.copy_(0.1 * (0.5 * i + p).cos())


def arrays(part: object) -> Arrays:
    """(kind, array) of a part, in the order of the specification."""
    if isinstance(part, nn.Parameter):
        yield "tokens", part
    elif isinstance(part, nn.LayerNorm):
        yield from (("gain", part.weight), ("shift", part.bias))
    elif isinstance(part, nn.Linear):
        yield "matrix", part.weight
        if part.bias is not None:
            yield "bias", part.bias
    else:
        for inner in _order(part):
            yield from arrays(inner)


def _order(part: object) -> list[object]:
    match part:
        case Block():
            norms = [part.norm_query, part.norm_key, part.norm_value]
            return [*norms, part.query, part.key, part.value, part.out_proj, part.norm, part.linear1, part.linear2]
        case TokenEncoder():
            return [part.positions, *([] if part.tokens is None else [part.tokens]), *part.blocks]
        case ModalityEmbedding():
            return [part.project, part.encoder]
        case HyperModalityLayer():
            norms = [part.norm_language, *part.norm_others, part.norm_hyper]
            return [*norms, part.query, *part.keys, *part.values, part.out_proj]
        case CrossFusion():
            return [part.source_positions, part.target_positions, part.token, *part.blocks]
        case ALMT():
            return [*part.embeddings, part.scales, *part.layers, part.cross]
        case nn.Sequential():
            return [layer for layer in part if isinstance(layer, nn.Linear)]
    raise TypeError(f"no order is stated for {type(part).__name__}")
