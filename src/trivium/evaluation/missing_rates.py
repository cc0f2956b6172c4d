"""Draws which modalities each clip loses, as a pure function of clip id, modality and draw.

The order of the split, its batches and the machine have no influence. What is missing at one rate is missing at every
higher one. A law says how a rate becomes losses; docs/protocol.md has their formulas and sources.
Legend: N clips, M modalities.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import permutations

import torch
from torch import Tensor

from trivium.core.choices import check_choice
from trivium.core.seeding import derive

RATES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)
LAWS = ("keep_one", "gcnet", "imder")
# The bits of a float64's significand: numbers of that many bits are exact, and stay below 1.
_BITS = 53
# IMDer's share of the batches that keep one and that keep two of three modalities, by tenths of the rate.
_IMDER = ((0, 0), (0.1, 0.1), (0.2, 0.2), (0.3, 0.3), (0.5, 0.2), (0.7, 0.1), (0.9, 0.0), (1.0, 0.0))
# The mean of all grids of imbalanced rates, and the least and largest rate of the evenly spaced one.
_MEAN, _LEAST, _LARGEST = 0.3, 0.1, 0.5


def draw_uniform(ids: Sequence[str], modalities: Sequence[str], draw: int, what: str = "missing") -> Tensor:
    """Draws one number for each clip and modality, uniform in [0, 1): (N, M) float64. what: names the draw's use."""
    words = [[derive(draw, what, clip, name) >> (63 - _BITS) for name in modalities] for clip in ids]
    return torch.tensor(words, dtype=torch.float64) * 2.0**-_BITS


def keep_at(rate: float | Sequence[float], uniform_NM: Tensor, present_NM: Tensor) -> Tensor:
    """Marks the modalities that each clip keeps, (N, M) bool: those whose number is not below `rate`, in [0, 1].

    rate: one for all modalities, or one for each. Of the modalities that a clip has, that whose number exceeds its rate
    by most (or lies the least below it) always stays.
    """
    rate_M = torch.as_tensor(rate, dtype=torch.float64)
    excess_NM = torch.where(present_NM, uniform_NM - rate_M, -2.0)
    largest_N1 = excess_NM.amax(dim=1, keepdim=True)
    return present_NM & ((uniform_NM >= rate_M) | (excess_NM == largest_N1))


def share_missing(keep_NM: Tensor, present_NM: Tensor) -> float:
    """Returns the share of the clips' modalities that they lost, in [0, 1)."""
    return 1.0 - int((keep_NM & present_NM).sum()) / int(present_NM.sum())


def check_law(law: str, modalities: Sequence[str]) -> None:
    """Raises ValueError for an unknown law, and for "imder" on other than three modalities."""
    check_choice("law", law, LAWS)
    if law == "imder" and len(modalities) != len("TAV"):
        raise ValueError(
            f"law=imder: expected three modalities, for which its shares are published, found {', '.join(modalities)}; "
            "take law=gcnet or law=keep_one"
        )


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


def keep_gcnet(rate: float, uniform_NM: Tensor, base_NM: Tensor, present_NM: Tensor) -> Tensor:
    """Marks the modalities that each clip keeps under GCNet's law, (N, M) bool.

    One modality of a clip, that of the largest number in `base_NM`, always stays. Each of its M - 1 others is kept with
    probability max(0, (M (1 - rate) - 1) / (M - 1)), so that the share lost is the rate up to 1 - 1 / M.
    """
    has_N1 = present_NM.sum(dim=1, keepdim=True).double()
    kept_N1 = ((has_N1 * (1.0 - rate) - 1.0) / (has_N1 - 1.0).clamp(min=1.0)).clamp(min=0.0)
    base_NM = torch.where(present_NM, base_NM, -1.0)
    always_NM = base_NM == base_NM.amax(dim=1, keepdim=True)
    return present_NM & (always_NM | (uniform_NM >= 1.0 - kept_N1))


def keep_imder(rate: float, number_N: Tensor, uniform_NM: Tensor, present_NM: Tensor) -> Tensor:
    """Marks the modalities that each clip keeps under IMDer's law, drawn for a clip and not for a batch, (N, M) bool.

    rate: one of RATES. `number_N` decides whether a clip keeps one, two or all, by the published shares of the rate;
    the largest of `uniform_NM` are kept.
    """
    share_of_1, share_of_2 = _IMDER[round(10 * rate)]
    number_N1, modalities = number_N[:, None], uniform_NM.shape[1]
    count_N1 = torch.where(number_N1 < share_of_1, 1, torch.where(number_N1 < share_of_1 + share_of_2, 2, modalities))
    place_NM = torch.where(present_NM, uniform_NM, -1.0).argsort(dim=1, descending=True).argsort(dim=1)
    return present_NM & (place_NM < count_N1)


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
