"""Whether one method differs from another over the same seeds: paired tests, their correction, an interval. numpy only.

Legend: n seeds, R resamples. Differences are one number a seed, method minus baseline.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

LEVEL = 0.05  # of a corrected p, below which a difference counts as more than chance


@dataclass(frozen=True)
class Paired:
    """Of n differences: mean; std (n - 1), NaN for n = 1; two-sided p values; the 95 % interval of the mean."""

    n: int
    mean: float
    std: float
    t_p: float
    wilcoxon_p: float
    low: float
    high: float


def paired(values: Sequence[float], baseline: Sequence[float], *, seed: int = 0) -> Paired:
    """values, baseline: the same n seeds in the same order. seed: of the resamples.

    Raises ValueError for different lengths, none at all, and numbers that are not finite.
    """
    if len(values) != len(baseline):
        raise ValueError(
            f"paired: {len(values)} values beside {len(baseline)} of the baseline; give one a seed of each"
        )
    differences = _finite(np.subtract(values, baseline))
    n = len(differences)
    low, high = bootstrap_interval(differences, seed=seed)
    std = float(differences.std(ddof=1)) if n > 1 else math.nan
    return Paired(n, float(differences.mean()), std, t_test(differences), wilcoxon(differences), low, high)


def paired_by_seed(values: Mapping[int, float], baseline: Mapping[int, float]) -> Paired | None:
    """Of the seeds that both have (seed -> value); None where there are none, or a value is NaN."""
    pairs = [(values[seed], baseline[seed]) for seed in sorted(values) if seed in baseline]
    if not pairs or any(math.isnan(value) for pair in pairs for value in pair):
        return None
    return paired(*zip(*pairs, strict=True))


def corrected(found: Mapping[str, Paired | None]) -> dict[str, float]:
    """Each t test's p, corrected (`holm`) over all of them; NaN where there is none."""
    p_values = holm([math.nan if one is None else one.t_p for one in found.values()])
    return dict(zip(found, p_values, strict=True))


def t_test(differences: npt.ArrayLike) -> float:
    """Two-sided p of Student's t test that the mean difference is 0.

    All differences 0: 1. All equal (but for rounding) and not 0: NaN, not the limit 0: metrics that count clips come in
    steps, and a few seeds agree by chance. n = 1: NaN. Raises ValueError as `paired` does.
    """
    d = _finite(differences)
    n = len(d)
    if not d.any():
        return 1.0 if n > 1 else math.nan
    if np.ptp(d) <= 1e-9 * np.abs(d).max():
        return math.nan
    return student_tails(float(d.mean() / (d.std(ddof=1) / math.sqrt(n))), n - 1)


def student_tails(t: float, degrees: int) -> float:
    """P(|T| > |t|) of Student's distribution with a whole number of degrees of freedom, at least 1.

    The finite sums of Abramowitz and Stegun (1964), 26.7.3 and 26.7.4; exact to about 1e-14, absolutely.
    """
    angle = math.atan(abs(t) / math.sqrt(degrees))
    sine, square = math.sin(angle), math.cos(angle) ** 2
    odd = degrees % 2
    term, total = 1.0, 0.0
    for k in range(degrees // 2):
        total += term
        term *= square * (2 * k + 1 + odd) / (2 * k + 2 + odd)
    inside = 2 / math.pi * (angle + sine * math.cos(angle) * total) if odd else sine * total
    return min(1.0, max(0.0, 1.0 - inside))


def wilcoxon(differences: npt.ArrayLike) -> float:
    """Two-sided p of Wilcoxon's signed-rank test that differences lie symmetrically about 0 (Wilcoxon, 1945).

    Exact for any n and with ties (mean ranks): over all signs of the ranks. Sizes that differ by rounding alone are
    ties: shares of clips come in steps, whose differences do not. Differences of 0 are left out; if nothing is left, 1.
    With n differences the smallest p is 2^(1 - n): .0625 for 5 seeds. Raises ValueError as `paired` does.
    """
    d = _finite(differences)
    d = d[d != 0]
    if not len(d):
        return 1.0
    doubled = _doubled_ranks(np.round(np.abs(d) / np.abs(d).max(), 9))
    chance = np.zeros(int(doubled.sum()) + 1)  # of each sum of the positive ranks, doubled to be whole
    chance[0] = 1.0
    for rank in doubled:
        with_it = np.zeros_like(chance)
        with_it[rank:] = chance[: len(chance) - rank]
        chance = (chance + with_it) / 2
    found = int(doubled[d > 0].sum())
    return min(1.0, 2 * float(min(chance[: found + 1].sum(), chance[found:].sum())))


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction (1979) of several tests, in their order: at most 1, never below the uncorrected p.

    The chance of any false rejection stays below the level. NaN, a test that was not possible, stays, uncounted.
    """
    p = np.asarray(p_values, dtype=np.float64)
    known = np.flatnonzero(~np.isnan(p))
    order = known[np.argsort(p[known], kind="stable")]
    corrected = p.copy()
    corrected[order] = np.minimum(1.0, np.maximum.accumulate(p[order] * (len(order) - np.arange(len(order)))))
    return [float(value) for value in corrected]


def bootstrap_interval(
    values: npt.ArrayLike, *, level: float = 0.95, resamples: int = 10_000, seed: int = 0
) -> tuple[float, float]:
    """Low and high end of the mean's percentile bootstrap interval (Efron, 1979); NaN for n = 1.

    The same for the same call. It covers less than `level` for few seeds: the resamples' spread is that of the sample
    with n in place of n - 1. Raises ValueError as `paired` does, and for a level outside (0, 1).
    """
    v = _finite(values)
    if not 0 < level < 1:
        raise ValueError(f"bootstrap_interval: level {level}; expected a share between 0 and 1")
    if len(v) == 1:
        return math.nan, math.nan
    chosen_Rn = np.random.default_rng(seed).integers(len(v), size=(resamples, len(v)))
    low, high = np.quantile(v[chosen_Rn].mean(axis=1), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def seed_interval(values: Sequence[float]) -> tuple[float, float]:
    """`bootstrap_interval` of one number a seed; NaN for fewer than two of them, and where one is not finite."""
    known = len(values) > 1 and all(map(math.isfinite, values))
    return bootstrap_interval(values) if known else (math.nan, math.nan)


def _finite(values: npt.ArrayLike) -> npt.NDArray[np.float64]:
    found = np.asarray(values, dtype=np.float64)
    if found.ndim != 1 or not found.size:
        raise ValueError(f"significance: numbers of shape {found.shape}; expected (n,), one a seed")
    if not np.isfinite(found).all():
        raise ValueError(f"significance: {found.tolist()}; expected finite numbers")
    return found


def _doubled_ranks(sizes: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Twice the rank from 1 of each size, equal ones sharing their mean rank: whole numbers."""
    below = (sizes[:, None] > sizes).sum(axis=1)
    equal = (sizes[:, None] == sizes).sum(axis=1)
    ranks: npt.NDArray[np.int64] = 2 * below + equal + 1
    return ranks
