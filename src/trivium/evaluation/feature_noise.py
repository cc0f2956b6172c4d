"""Disturbs features: Gaussian noise and zeroed steps.

Every random number is a function of the draw, the modality, the clip's id, the step and the feature. A level scales
the noise or sets the share of steps, so that the levels of one draw differ in nothing else.
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

# Kind -> levels: of "noise" its standard deviation in units of the feature's, of "dropped" the share of a clip's steps.
LEVELS: dict[str, tuple[float, ...]] = {"noise": (0.0, 0.5, 1.0, 2.0), "dropped": (0.0, 0.25, 0.5, 0.75)}


def clip_keys(ids: Sequence[str]) -> Tensor:
    """Returns one number for each clip id, (N,) int64."""
    return torch.tensor([derive(0, "clip", clip) for clip in ids])


def noise_units(loader: BatchLoader, statistics: Mapping[str, Statistics]) -> dict[str, Tensor]:
    """Returns modality -> (D,) float32 on the split's device: each feature's standard deviation on train.

    It is that of the features as the method gets them: 1 if they are standardised. Modalities that are read as token
    ids are left out.
    """
    units = {}
    for name, stream in loader.split.streams.items():
        if stream.values.is_floating_point():
            std_D = torch.from_numpy(statistics[name].std).float().to(loader.split.device)
            units[name] = std_D if stream.scale is None else std_D * stream.scale
    return units


def add_noise(batch: Batch, units: Mapping[str, Tensor], level: float, clips_N: Tensor, draw: int) -> Batch:
    """Returns the batch with Gaussian noise on every real step of some modalities.

    units: modality -> (D,), for the modalities that get noise. level: its standard deviation in these units.
    clips_N: `clip_keys` of the split, on the batch's device. draw: the number of the draw.
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
    """Returns the batch with a share of each clip's real steps set to zero, in the modalities `names`; masks stay.

    The number of steps is share x steps, rounded half to even. A step that is dropped at one share is dropped at every
    higher one. clips_N, draw: as in `add_noise`.
    """
    streams = dict(batch.streams)
    for name in names:
        stream, real_BT = streams[name], _real(batch, name)
        score_BT = uniform(derive(draw, "dropped", name), clips_N[batch.index][:, None], _steps(stream))
        order_BT = score_BT.masked_fill(~real_BT, 2.0).argsort(dim=1, stable=True)
        dropped_B1 = (share * real_BT.sum(dim=1, keepdim=True)).round()
        # order_BT holds a random permutation of the real steps' numbers, then those of padding.
        zeroed_BT = order_BT < dropped_B1
        streams[name] = replace(stream, values=stream.values.masked_fill(zeroed_BT[..., None], 0))
    return replace(batch, streams=streams)


def _steps(stream: Stream) -> Tensor:
    """Returns the numbers of a batch's steps, (T,)."""
    return torch.arange(stream.values.shape[1], device=stream.values.device)


def _real(batch: Batch, name: str) -> Tensor:
    """Marks the real steps of a modality, (B, T) bool. The single zero step of an absent modality is none."""
    return batch.streams[name].mask & batch.present[:, list(batch.streams).index(name), None]
