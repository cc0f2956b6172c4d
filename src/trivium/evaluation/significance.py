"""Compares a method with a baseline over the same seeds: tests of difference and of equivalence, and intervals.

scipy.stats is imported where it is used, because the import takes half a second and most commands need none of it.
Legend: n seeds, R resamples. Differences are one number a seed, method minus baseline.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

# A difference counts as more than chance if its corrected p is below this level.
LEVEL = 0.05
# The probability with which a smallest difference would be found.
POWER = 0.8


@dataclass(frozen=True)
class Paired:
    """Holds the tests of n paired differences.

    mean, std: of the differences; std divides by n - 1, and is NaN for n = 1. t_p, wilcoxon_p: two-sided p values.
    low, high: the ends of the mean's 95 % bootstrap interval.
    """

    n: int
    mean: float
    std: float
    t_p: float
    wilcoxon_p: float
    low: float
    high: float


def paired(values: Sequence[float], baseline: Sequence[float], *, seed: int = 0) -> Paired:
    """Tests `values` against `baseline`, which are numbers of the same n seeds in the same order.

    seed: of the bootstrap's resamples.
    Raises ValueError for different lengths, for no numbers at all, and for numbers that are not finite.
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


def paired_by_seed(values: Mapping[Any, float], baseline: Mapping[Any, float]) -> Paired | None:
    """Tests over the seeds, or pairs of fold and seed, that are keys of both. Returns None without any, or for NaN."""
    pairs = [(values[seed], baseline[seed]) for seed in sorted(values) if seed in baseline]
    if not pairs or any(math.isnan(value) for pair in pairs for value in pair):
        return None
    return paired(*zip(*pairs, strict=True))


def corrected(tests: Mapping[str, Paired | None]) -> dict[str, float]:
    """Returns the p of each t test, corrected over all of them by `holm`; NaN where there is no test."""
    p_values = holm([math.nan if test is None else test.t_p for test in tests.values()])
    return dict(zip(tests, p_values, strict=True))


def t_test(differences: npt.ArrayLike) -> float:
    """Returns the two-sided p of Student's t test that the mean difference is 0.

    It is 1 if all differences are 0. It is NaN for n = 1, and if all are equal (but for rounding) and not 0. The limit
    would be 0 then, but metrics that count clips come in steps, so that a few seeds may agree by chance.
    Raises ValueError as `paired` does.
    """
    d = _finite(differences)
    if not d.any():
        return 1.0 if len(d) > 1 else math.nan
    if np.ptp(d) <= 1e-9 * np.abs(d).max():
        return math.nan
    from scipy.stats import ttest_1samp

    return float(ttest_1samp(d, 0.0).pvalue)


def wilcoxon(differences: npt.ArrayLike) -> float:
    """Returns the two-sided p of the signed-rank test that differences lie symmetrically about 0 (Wilcoxon, 1945).

    It is exact for any n, with ties as well. Differences of 0 are left out; if none remains, p is 1.
    With n differences the smallest p is 2^(1 - n): .0625 for 5 seeds. Raises ValueError as `paired` does.
    """
    d = _finite(differences)
    d = d[d != 0]
    if not len(d):
        return 1.0
    from scipy.stats import rankdata

    # Metrics that count clips come in steps, and their differences are rounded: sizes equal to 9 digits are ties.
    ranks = rankdata(np.round(np.abs(d) / np.abs(d).max(), 9))
    # The mean ranks of ties may be halves, so that twice a rank is a whole number.
    doubled = np.rint(2 * ranks).astype(np.int64)
    # The distribution of the sum of positive ranks over all 2^n signs is built up one rank after another. With ties
    # scipy.stats.wilcoxon is exact only by visiting every combination of signs, which takes 200 s for 20 seeds.
    chance = np.zeros(int(doubled.sum()) + 1)
    chance[0] = 1.0
    for rank in doubled:
        shifted = np.zeros_like(chance)
        shifted[rank:] = chance[: len(chance) - rank]
        chance = (chance + shifted) / 2
    positive = int(doubled[d > 0].sum())
    return min(1.0, 2 * float(min(chance[: positive + 1].sum(), chance[positive:].sum())))


def holm(p_values: Sequence[float]) -> list[float]:
    """Returns the p values, in their order, corrected by the step-down rule of Holm (1979).

    The chance of any false rejection stays below the level. A corrected p is at most 1, and never below the uncorrected
    one. NaN marks a test that was not possible; it stays NaN, and does not count as a test.
    """
    p = np.asarray(p_values, dtype=np.float64)
    tested = np.flatnonzero(~np.isnan(p))
    order = tested[np.argsort(p[tested], kind="stable")]
    corrected = p.copy()
    corrected[order] = np.minimum(1.0, np.maximum.accumulate(p[order] * (len(order) - np.arange(len(order)))))
    return [float(value) for value in corrected]


def equivalence_test(differences: npt.ArrayLike, margin: float) -> float:
    """Returns the p of two one-sided t tests that the mean difference lies within (-margin, margin) (Schuirmann, 1987).

    It is the larger of the two p values. It is 0 if all differences are 0, and NaN for n = 1 and if all are equal and
    not 0, as `t_test` is. Raises ValueError as `paired` does, and for a margin that is not above 0.
    """
    d = _finite(differences)
    if not margin > 0:
        raise ValueError(f"equivalence_test: margin {margin}; expected a number above 0, in the metric's unit")
    if len(d) == 1:
        return math.nan
    if np.ptp(d) <= 1e-9 * np.abs(d).max():
        return math.nan if d.any() else 0.0
    from scipy.stats import ttest_1samp

    above = ttest_1samp(d, -margin, alternative="greater").pvalue
    below = ttest_1samp(d, margin, alternative="less").pvalue
    return float(max(above, below))


def smallest_difference(std: float, n: int, *, power: float = POWER) -> float:
    """Returns the mean difference that a paired t test over n seeds finds with probability `power`, at p < .05.

    It is (t_.975 + t_power) std / sqrt(n) with n - 1 degrees of freedom, the usual approximation. std: of the
    differences. NaN for n = 1, and for a std that is NaN.
    """
    if n < 2 or math.isnan(std):
        return math.nan
    return _detectable(std / math.sqrt(n), n - 1, power)


def _detectable(standard_error: float, freedom: float, power: float) -> float:
    from scipy.stats import t

    return float((t.ppf(1 - LEVEL / 2, freedom) + t.ppf(power, freedom)) * standard_error)


def is_told(p: float) -> bool:
    """Tells whether a corrected p tells a difference from chance; stars, the sign for ties and verdicts all ask it."""
    return p < LEVEL


def verdict(difference: float, p: float, equivalence_p: float, lower_is_better: bool | None) -> str:
    """Returns what can be told of a row and its baseline: "better", "worse", "same" or "not told".

    p, equivalence_p: of the tests of difference and of equivalence within a margin, corrected. A difference that is
    told apart from 0 is better or worse even where it is within the margin. lower_is_better: None where neither
    direction is better; "better" and "worse" are then "lower" and "higher".
    """
    if is_told(p):
        if lower_is_better is None:
            return "lower" if difference < 0 else "higher"
        return "better" if (difference < 0) == lower_is_better else "worse"
    return "same" if is_told(equivalence_p) else "not told"


def bootstrap_interval(
    values: npt.ArrayLike, *, level: float = 0.95, resamples: int = 10_000, seed: int = 0
) -> tuple[float, float]:
    """Returns the ends of the mean's percentile bootstrap interval (Efron, 1979); NaN for n = 1.

    Equal calls give equal intervals. For few seeds the interval covers less than `level`, because the spread of
    resamples is that of the sample with n in place of n - 1.
    values: (n,). level: in (0, 1). resamples: R. seed: of the resamples.
    Raises ValueError as `paired` does, and for a level outside (0, 1).
    """
    v = _finite(values)
    if not 0 < level < 1:
        raise ValueError(f"bootstrap_interval: level {level}; expected a share between 0 and 1")
    if len(v) == 1:
        return math.nan, math.nan
    # scipy.stats.bootstrap draws the same resamples, but the last digit of some ends differs from committed tables.
    chosen_Rn = np.random.default_rng(seed).integers(len(v), size=(resamples, len(v)))
    low, high = np.quantile(v[chosen_Rn].mean(axis=1), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def seeds_and_clips_interval(
    differences_nN: npt.ArrayLike, *, level: float = 0.95, resamples: int = 10_000, seed: int = 0
) -> tuple[float, float]:
    """Returns the ends of a bootstrap interval of the mean difference that carries both seeds and clips.

    differences_nN: (n, N), of each seed the difference of each of the same N test clips. In every resample n seeds and
    N clips are drawn with replacement, independently of each other, and the mean is over all pairs of the two; so the
    interval says how far the mean may lie off with other seeds and other test clips. With one seed it is that of clips
    alone. Raises ValueError for another shape and for values that are not finite.
    """
    d_nN = np.asarray(differences_nN, dtype=np.float64)
    if d_nN.ndim != 2 or not d_nN.size or not np.isfinite(d_nN).all():
        raise ValueError(
            f"seeds_and_clips_interval: differences of shape {d_nN.shape}; expected (n, N) finite numbers, one a seed "
            "and clip"
        )
    return over_seeds_and_clips(
        [d_nN[:, :, None]], lambda means_K: means_K[..., 0], level=level, resamples=resamples, seed=seed
    )[:2]


class OverClips(NamedTuple):
    """Holds what seeds and clips together say of a metric or a difference.

    low, high: ends of the bootstrap interval. smallest: the difference that so many seeds and clips would find with
    probability .8; NaN for one seed.
    """

    low: float
    high: float
    smallest: float


def over_seeds_and_clips(
    statistics_nNK: Sequence[npt.NDArray[np.float64]],
    metric: Callable[[npt.NDArray[np.float64]], npt.NDArray[np.float64]],
    *,
    level: float = 0.95,
    resamples: int = 2_000,
    seed: int = 0,
) -> OverClips:
    """Returns what seeds and clips together say of any metric that is made of means over clips.

    statistics_nNK: of a row, (n, N, K) numbers, K of each of n seeds and N clips; with a second one, of a baseline on
    the same seeds and clips, all is of the difference. metric: means over clips, (..., K), to values (...).
    In every resample n seeds and N clips are drawn with replacement, independently of each other; the metric is
    computed of each drawn seed over the drawn clips, and their mean is taken. Resamples in which a metric is not
    defined, as Corr of constant predictions, are left out; all is NaN if more than one in twenty is.
    """
    n, clips, _ = statistics_nNK[0].shape
    rng = np.random.default_rng(seed)
    seeds_Rn, clips_RN = np.empty((resamples, n)), np.empty((resamples, clips))
    for r in range(resamples):
        # A mean over a resample is seen from how often each was drawn.
        seeds_Rn[r] = np.bincount(rng.integers(n, size=n), minlength=n) / n
        clips_RN[r] = np.bincount(rng.integers(clips, size=clips), minlength=clips) / clips
    with np.errstate(invalid="ignore", divide="ignore"):
        values_n, *others_n = (metric(part_nNK.mean(axis=1)) for part_nNK in statistics_nNK)
        values_Rn, *others_Rn = (
            metric(np.einsum("rc,sck->rsk", clips_RN, part_nNK, optimize=True)) for part_nNK in statistics_nNK
        )
    if others_n:
        values_n, values_Rn = values_n - others_n[0], values_Rn - others_Rn[0]
    means_R = (seeds_Rn * values_Rn).sum(axis=1)
    defined_R = np.isfinite(means_R)
    if defined_R.sum() < 0.95 * resamples:
        return OverClips(math.nan, math.nan, math.nan)
    low, high = np.quantile(means_R[defined_R], [(1 - level) / 2, (1 + level) / 2])
    of_clips_R = values_Rn[defined_R].mean(axis=1)
    return OverClips(float(low), float(high), _smallest_over_clips(values_n, float(of_clips_R.var()), clips))


def _smallest_over_clips(values_n: npt.NDArray[np.float64], variance_of_clips: float, clips: int) -> float:
    """Returns the difference that seeds and clips together find with probability .8.

    The variance of the mean is that of n seeds, and that of other clips with these seeds, which the resamples give;
    the degrees of freedom of their sum are Satterthwaite's (1946).
    """
    n = len(values_n)
    if n < 2:
        return math.nan
    of_seeds = float(values_n.var(ddof=1)) / n
    variance = of_seeds + variance_of_clips
    if not variance > 0:
        return 0.0 if variance == 0 else math.nan
    freedom = variance**2 / (of_seeds**2 / (n - 1) + variance_of_clips**2 / (clips - 1))
    return _detectable(math.sqrt(variance), freedom, POWER)


def seed_interval(values: Sequence[float]) -> tuple[float, float]:
    """Returns the `bootstrap_interval` of one number a seed; NaN for fewer than two, or if any is not finite."""
    testable = len(values) > 1 and all(map(math.isfinite, values))
    return bootstrap_interval(values) if testable else (math.nan, math.nan)


def _finite(values: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Returns a float64 array. Raises ValueError unless it is (n,), not empty, and finite."""
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or not array.size:
        raise ValueError(f"significance: numbers of shape {array.shape}; expected (n,), one a seed")
    if not np.isfinite(array).all():
        raise ValueError(f"significance: {array.tolist()}; expected finite numbers")
    return array
