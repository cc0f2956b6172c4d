"""Draws which modalities each clip loses, as a pure function of clip id, modality and draw.

The order of the split, its batches and the machine have no influence. What is missing at one rate is missing at every
higher one.
Legend: N clips, M modalities.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from trivium.core.seeding import derive

RATES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)
# The bits of a float64's significand: numbers of that many bits are exact, and stay below 1.
_BITS = 53


def draw_uniform(ids: Sequence[str], modalities: Sequence[str], draw: int) -> Tensor:
    """Draws one number for each clip and modality, uniform in [0, 1): (N, M) float64."""
    words = [[derive(draw, "missing", clip, name) >> (63 - _BITS) for name in modalities] for clip in ids]
    return torch.tensor(words, dtype=torch.float64) * 2.0**-_BITS


def keep_at(rate: float, uniform_NM: Tensor, present_NM: Tensor) -> Tensor:
    """Marks the modalities that each clip keeps, (N, M) bool: those whose number is not below `rate`, in [0, 1].

    Of the modalities that a clip has, that of the largest number always stays.
    """
    draw_NM = torch.where(present_NM, uniform_NM, -1.0)
    largest_N1 = draw_NM.amax(dim=1, keepdim=True)
    return present_NM & ((draw_NM >= rate) | (draw_NM == largest_N1))


def share_missing(keep_NM: Tensor, present_NM: Tensor) -> float:
    """Returns the share of the clips' modalities that they lost, in [0, 1)."""
    return 1.0 - int((keep_NM & present_NM).sum()) / int(present_NM.sum())
