"""Erases random steps of sequences: frames become zeros, and words the unknown one (LNLN; Zhang et al., 2024).

What is lost is a function of the key, the clip, the modality and the step alone, so it is the same in any batch and on
any rank, and what is lost at one rate is lost at every higher one.
Legend: B clips, M modalities, T steps of the padded batch, D features.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from trivium.core.keyed_random import uniform
from trivium.core.seeding import derive
from trivium.data.batch import Batch, Stream


def draw_rates(names: Sequence[str], index_B: Tensor, key: int) -> Tensor:
    """Draws the share that each clip's modalities lose, (B, M) float64: 0 for one half, for the other uniform."""
    drawn = []
    for name in names:
        rate_B = uniform(derive(key, "rate", name), index_B, dtype=torch.float64)
        drawn.append(torch.where(uniform(derive(key, "complete", name), index_B) < 0.5, 0.0, rate_B))
    return torch.stack(drawn, dim=1)


def draw_lost(batch: Batch, rate_BM: Tensor, key: int, clips_B: Tensor | None = None) -> dict[str, Tensor]:
    """Draws which steps each clip loses: modality -> (B, T) bool, padding and protected tokens not yet left out.

    clips_B: (B,) int64, the numbers that stand for the clips in the draw; None for their places in the split.
    """
    clip_B1 = (batch.index if clips_B is None else clips_B)[:, None]
    lost = {}
    for m, (name, stream) in enumerate(batch.streams.items()):
        step_T = torch.arange(stream.mask.shape[1], device=batch.index.device)
        drawn_BT = uniform(derive(key, "step", name), clip_B1, step_T, dtype=torch.float64)
        lost[name] = drawn_BT < rate_BM[:, m, None]
    return lost


def erase(
    batch: Batch,
    rate_BM: Tensor,
    key: int,
    *,
    unknown_id: int,
    unknown: Mapping[str, Tensor] | None = None,
    clips_B: Tensor | None = None,
) -> Batch:
    """Returns the batch with each real step erased with its clip's and modality's probability.

    unknown_id, unknown: as in `erase_steps`; unknown has a vector for some modalities. clips_B: as in `draw_lost`.
    """
    lost, vectors = draw_lost(batch, rate_BM, key, clips_B), unknown or {}
    streams = {
        name: erase_steps(stream, lost[name], unknown_id=unknown_id, unknown_D=vectors.get(name))
        for name, stream in batch.streams.items()
    }
    return replace(batch, streams=streams)


def erasable(stream: Stream) -> Tensor:
    """Marks the steps that can be erased, (B, T) bool: real ones, but for the first and last token of token ids."""
    if stream.values.is_floating_point():
        return stream.mask
    step_T = torch.arange(stream.mask.shape[1], device=stream.mask.device)
    return (step_T > 0) & (step_T < stream.mask.sum(dim=1, keepdim=True) - 1)


def erase_steps(stream: Stream, lost_BT: Tensor, *, unknown_id: int, unknown_D: Tensor | None = None) -> Stream:
    """Returns the stream with the real steps among `lost_BT` erased; they stay real steps.

    unknown_id: what erased token ids become. A clip's first and last token, [CLS] and [SEP], are never erased.
    unknown_D: what erased features become; None for zeros.
    """
    lost_BT = lost_BT & erasable(stream)
    if stream.values.is_floating_point():
        erased = torch.zeros_like(stream.values[0, 0]) if unknown_D is None else unknown_D.to(stream.values.dtype)
        return replace(stream, values=torch.where(lost_BT[..., None], erased, stream.values))
    return replace(stream, values=stream.values.masked_fill(lost_BT, unknown_id))


def fill_absent(batch: Batch, *, unknown_id: int, first_id: int, last_id: int) -> Batch:
    """Returns the batch with absent modalities present, as if each of their steps had been erased.

    A clip that lacks a modality gets as many steps as the batch is padded to: zeros, or first_id, unknown_id ...,
    last_id.
    """
    streams = {}
    for m, (name, stream) in enumerate(batch.streams.items()):
        gone_B = ~batch.present[:, m]
        steps = stream.mask.shape[1]
        values = stream.values
        if values.is_floating_point():
            values = values.masked_fill(gone_B[:, None, None], 0.0)
        else:
            row_T = torch.full((steps,), unknown_id, dtype=values.dtype, device=values.device)
            row_T[-1], row_T[0] = last_id, first_id
            values = torch.where(gone_B[:, None], row_T, values)
        # Lengths are read on the host, which here waits for a GPU, as only the device knows who lacks what.
        lengths = torch.where(gone_B, steps, stream.lengths.to(gone_B.device))
        streams[name] = Stream(values, stream.mask | gone_B[:, None], lengths)
    return replace(batch, streams=streams, present=torch.ones_like(batch.present))
