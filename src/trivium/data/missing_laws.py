"""Defines the laws by which a rate of missing modalities becomes losses of each clip, in training and in tests.

A law takes uniform numbers of each clip, whose draw is the caller's business, and marks what the clip keeps. One
modality always stays, and what is lost at one rate is lost at every higher one. docs/protocol.md has the formulas and
their sources.
Legend: N clips, M modalities.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from trivium.core.choices import check_choice

# The rates that papers test, and for which the laws are published.
RATES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)
LAWS = ("keep_one", "gcnet", "imder")
# IMDer's share of the batches that keep one and that keep two of three modalities, by tenths of the rate.
_IMDER = ((0, 0), (0.1, 0.1), (0.2, 0.2), (0.3, 0.3), (0.5, 0.2), (0.7, 0.1), (0.9, 0.0), (1.0, 0.0))


def check_law(law: str, modalities: Sequence[str], key: str = "law") -> str:
    """Returns the law. Raises ValueError, naming `key`, if it is unknown, or "imder" and there are not 3 modalities."""
    check_choice(key, law, LAWS)
    if law == "imder" and len(modalities) != len("TAV"):
        raise ValueError(
            f"{key}=imder: expected three modalities, for which its shares are published, found "
            f"{', '.join(modalities)}; take {key}=gcnet or {key}=keep_one"
        )
    return law


def check_rate(law: str, rate: float, law_key: str, rate_key: str) -> None:
    """Raises ValueError, naming the keys, for a rate at which GCNet's or IMDer's law is not published."""
    highest = RATES[-1]
    if law == "gcnet" and not 0 <= rate <= highest:
        raise ValueError(
            f"{rate_key}: expected a rate from 0 to {highest} with {law_key}=gcnet, for which its law is published, "
            f"found {rate:g}; take such a rate, or {law_key}=keep_one"
        )
    if law == "imder" and not any(math.isclose(rate, known, abs_tol=1e-9) for known in RATES):
        raise ValueError(
            f"{rate_key}: expected one of {', '.join(f'{known:g}' for known in RATES)} with {law_key}=imder, for which "
            f"its shares are published, found {rate:g}; take one of them, {law_key}=gcnet or {law_key}=keep_one"
        )


def keep_at(rate: float | Sequence[float], uniform_NM: Tensor, present_NM: Tensor) -> Tensor:
    """Marks the modalities that each clip keeps, (N, M) bool: those whose number is not below `rate`, in [0, 1].

    rate: one for all modalities, or one for each. Of the modalities that a clip has, that whose number exceeds its rate
    by most (or lies the least below it) always stays.
    """
    rate_M = torch.as_tensor(rate, dtype=torch.float64)
    excess_NM = torch.where(present_NM, uniform_NM - rate_M, -2.0)
    largest_N1 = excess_NM.amax(dim=1, keepdim=True)
    return present_NM & ((uniform_NM >= rate_M) | (excess_NM == largest_N1))


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
