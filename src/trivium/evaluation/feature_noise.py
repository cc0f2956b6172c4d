"""Disturbs features: Gaussian noise and zeroed steps.

Every random number is a function of the draw, the modality, the clip's id, the step and the feature. A level scales
them or says how many of them count, so that the levels of one draw differ by nothing else.
Legend: N clips of the split, B of a batch, T steps, D features.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from trivium.core.keyed_random import normal, uniform
from trivium.core.seeding import derive
from trivium.data.batch import Batch, Stream
from trivium.data.datamodule import BatchLoader
from trivium.data.store import Statistics

# kind -> levels: standard deviations of the noise in units of each feature's own; shares of a clip's steps
LEVELS: dict[str, tuple[float, ...]] = {"noise": (0.0, 0.5, 1.0, 2.0), "dropped": (0.0, 0.25, 0.5, 0.75)}


def clip_keys(ids: Sequence[str]) -> Tensor:
    """Returns (N,) int64, one number a clip id."""
    return torch.tensor([derive(0, "clip", clip) for clip in ids])


def noise_units(loader: BatchLoader, statistics: Mapping[str, Statistics]) -> dict[str, Tensor]:
    """Returns modality -> (D,) float32 on the split's device: each feature's standard deviation on train.

    It is as the method sees it: 1 where features are standardised. Modalities read as token ids are left out.
    """
    units = {}
    for name, stream in loader.split.streams.items():
        if stream.values.is_floating_point():
            std_D = torch.from_numpy(statistics[name].std).float().to(loader.split.device)
            units[name] = std_D if stream.scale is None else std_D * stream.scale
    return units


def add_noise(batch: Batch, units: Mapping[str, Tensor], level: float, clips_N: Tensor, draw: int) -> Batch:
    """Adds noise of `level` times units (modality -> (D,)) to every real step of those modalities; others stay.

    clips_N: `clip_keys` of the split, on the batch's device.
    """
    streams = dict(batch.streams)
    for name, unit_D in units.items():
        stream = streams[name]
        clip_B11, step_T1 = clips_N[batch.index][:, None, None], _steps(stream)[:, None]
        feature_D = torch.arange(len(unit_D), device=unit_D.device)
        noise_BTD = normal(derive(draw, "noise", name), clip_B11, step_T1, feature_D) * (level * unit_D)
        noise_BTD = noise_BTD.masked_fill(~_real(batch, name)[..., None], 0.0)
        streams[name] = replace(stream, values=stream.values + noise_BTD)
    return replace(batch, streams=streams)


def drop_steps(batch: Batch, names: Sequence[str], share: float, clips_N: Tensor, draw: int) -> Batch:
    """Sets round(share x steps) (half to even) of each clip's real steps to zero, in these modalities; masks stay.

    What is dropped at one share is dropped at every higher one. clips_N: as in `add_noise`.
    """
    streams = dict(batch.streams)
    for name in names:
        stream, real_BT = streams[name], _real(batch, name)
        score_BT = uniform(derive(draw, "dropped", name), clips_N[batch.index][:, None], _steps(stream))
        order_BT = score_BT.masked_fill(~real_BT, 2.0).argsort(dim=1, stable=True)
        dropped_B1 = (share * real_BT.sum(dim=1, keepdim=True)).round()
        # order_BT is a random order of 0 ... steps - 1, with padding behind it.
        zeroed_BT = order_BT < dropped_B1
        streams[name] = replace(stream, values=stream.values.masked_fill(zeroed_BT[..., None], 0))
    return replace(batch, streams=streams)


def _steps(stream: Stream) -> Tensor:
    return torch.arange(stream.values.shape[1], device=stream.values.device)


def _real(batch: Batch, name: str) -> Tensor:
    """Marks (B, T) real steps; an absent modality's one zero step is none."""
    return batch.streams[name].mask & batch.present[:, list(batch.streams).index(name), None]
