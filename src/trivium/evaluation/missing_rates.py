"""Draws which modalities each clip loses, as a pure function of clip id, modality and draw.

The order of the split, its batches and the machine have no influence. What is missing at one rate is missing at every
higher one. trivium.data.missing_laws has the laws by which a rate becomes losses.
Legend: N clips, M modalities.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import permutations

import torch
from torch import Tensor

from trivium.core.seeding import derive
from trivium.data.missing_laws import check_law, keep_at, keep_gcnet, keep_imder

# The bits of a float64's significand: numbers of that many bits are exact, and stay below 1.
_BITS = 53
# The mean of all grids of imbalanced rates, and the least and largest rate of the evenly spaced one.
_MEAN, _LEAST, _LARGEST = 0.3, 0.1, 0.5


def draw_uniform(ids: Sequence[str], modalities: Sequence[str], draw: int, what: str = "missing") -> Tensor:
    """Draws one number for each clip and modality, uniform in [0, 1): (N, M) float64. what: names the draw's use."""
    words = [[derive(draw, what, clip, name) >> (63 - _BITS) for name in modalities] for clip in ids]
    return torch.tensor(words, dtype=torch.float64) * 2.0**-_BITS


def share_missing(keep_NM: Tensor, present_NM: Tensor) -> float:
    """Returns the share of the clips' modalities that they lost, in [0, 1)."""
    return 1.0 - int((keep_NM & present_NM).sum()) / int(present_NM.sum())


def loss_law(
    law: str, ids: Sequence[str], modalities: Sequence[str], draw: int, present_NM: Tensor
) -> Callable[[float], Tensor]:
    """Returns the function of a rate that marks the modalities that each clip keeps, (N, M) bool.

    Raises ValueError as `check_law` does.
    """
    check_law(law, modalities)
    uniform_NM = draw_uniform(ids, modalities, draw)
    if law == "keep_one":
        return lambda rate: keep_at(rate, uniform_NM, present_NM)
    if law == "gcnet":
        base_NM = draw_uniform(ids, modalities, draw, "kept")
        return lambda rate: keep_gcnet(rate, uniform_NM, base_NM, present_NM)
    number_N = draw_uniform(ids, ["all"], draw, "number kept")[:, 0]
    return lambda rate: keep_imder(rate, number_N, uniform_NM, present_NM)


def imbalanced_rates(modalities: int) -> dict[str, list[tuple[float, ...]]]:
    """Returns kind -> rates of each modality, all of mean .3.

    "shared": one rate for all. "spread": every order of rates from .1 to .5, evenly spaced. "one": each modality in
    turn has what the others, at .1, leave of the mean, where that is no more than 1; of two, that is "spread".
    """
    grids = {"shared": [(_MEAN,) * modalities]}
    if modalities > 1:
        step = (_LARGEST - _LEAST) / (modalities - 1)
        spread = [round(_LEAST + step * m, 4) for m in range(modalities)]
        grids["spread"] = list(permutations(spread))
    heavy = round(_MEAN * modalities - _LEAST * (modalities - 1), 4)
    if modalities > len("TA") and heavy <= 1.0:
        grids["one"] = [tuple(heavy if m == k else _LEAST for m in range(modalities)) for k in range(modalities)]
    return grids
