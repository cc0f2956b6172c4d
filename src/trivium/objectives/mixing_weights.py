"""Mixes the vectors of modalities and moves the mixing coefficients, in M3ixup's reading (docs/methods/m3ixup.md).

Legend: b clips, M modalities, D features.
"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor

from trivium.objectives.cpc import unit_rows

TINY = 1e-8


def toward(first_bD: Tensor, second_bD: Tensor, share_b: Tensor, interpolation: str = "linear") -> Tensor:
    """Returns unit vectors (..., D) on the way from `first` (share 0) to `second` (share 1).

    first_bD, second_bD: (..., D). share_b: (...), in [0, 1].
    interpolation: "linear" is the normalised weighted sum. "slerp" goes along the great circle between the two
    directions (Shoemake, 1985); where they nearly coincide or are opposite, it is the weighted sum.
    """
    share = share_b[..., None].to(first_bD.dtype)
    straight = (1 - share) * first_bD + share * second_bD
    if interpolation == "linear":
        return unit_rows(straight)
    first_bD, second_bD = unit_rows(first_bD), unit_rows(second_bD)
    cosine = (first_bD * second_bD).sum(dim=-1, keepdim=True)
    apart = cosine.abs() < 1 - 1e-6
    # The gradient of acos is infinite at -1 and 1. Replaced before acos, since 0 times infinity after it would be NaN.
    angle = torch.where(apart, cosine, 0.0).acos()
    arc = (((1 - share) * angle).sin() * first_bD + (share * angle).sin() * second_bD) / angle.sin()
    return unit_rows(torch.where(apart, arc, straight))


def weighted(vectors_MbD: Tensor, weight_bM: Tensor, interpolation: str = "linear") -> Tensor:
    """Returns the sum over modalities of weight * vector, of length 1, (b, D).

    weight_bM: of sum 1. interpolation: as in `toward`; "slerp" has an effect for two modalities alone.
    """
    if interpolation == "slerp" and len(vectors_MbD) == 2:
        return toward(vectors_MbD[0], vectors_MbD[1], weight_bM[:, 1], interpolation)
    return unit_rows((weight_bM.T[..., None].to(vectors_MbD.dtype) * vectors_MbD).sum(dim=0))


def project_to_simplex(values_bM: Tensor) -> Tensor:
    """Returns the nearest point with entries >= 0 and sum 1, (b, M).

    Distance is Euclidean; the algorithm is that of Duchi et al. (2008, figure 1).
    """
    ordered_bM = values_bM.sort(dim=-1, descending=True).values
    count_M = torch.arange(1, values_bM.shape[-1] + 1, device=values_bM.device, dtype=values_bM.dtype)
    # Summed one by one, because CUDA refuses cumsum in deterministic mode, and in float64, as cumsum does on a CPU.
    summed_bM = torch.stack([*itertools.accumulate(ordered_bM.double().unbind(dim=-1))], dim=-1)
    excess_bM = (summed_bM.to(values_bM.dtype) - 1) / count_M
    # The number of positive entries is at least 1, unless values are NaN. The clamp below then keeps the index within
    # bounds, and the result is NaN.
    used_b1 = (ordered_bM > excess_bM).sum(dim=-1, keepdim=True)
    return (values_bM - excess_bM.gather(-1, (used_b1 - 1).clamp(min=0))).clamp(min=0)


def descend_share(share: Tensor, gradient: Tensor, rate: float, most: float) -> Tensor:
    """Returns the share after a step down its loss: clip(share - rate * sign(gradient), 0, most)."""
    return (share - rate * gradient.sign()).clamp(0, most)


def move_weights(weight_bM: Tensor, gradient_bM: Tensor, rate: float) -> Tensor:
    """Returns Proj(weight + rate * g / |g|), where g is the gradient minus its mean and Proj is `project_to_simplex`.

    Without its mean the step stays in the plane of sum 1. rate: above 0 goes up the loss, below 0 goes down.
    """
    centred_bM = gradient_bM - gradient_bM.mean(dim=-1, keepdim=True)
    return project_to_simplex(weight_bM + rate * centred_bM / (centred_bM.norm(dim=-1, keepdim=True) + TINY))


def move_vectors(vectors_bD: Tensor, gradient_bD: Tensor, rate: float) -> Tensor:
    """Returns v + rate * g / |g|, scaled to length 1, (..., D). The step is a constant; v keeps its gradient."""
    step = gradient_bD / (gradient_bD.norm(dim=-1, keepdim=True) + TINY)
    return unit_rows(vectors_bD + rate * step.detach())
