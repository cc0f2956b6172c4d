"""Tests paired statistics against enumeration and values worked out by hand, and exact Wilcoxon against scipy."""

import itertools
import math

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import stats

from trivium.evaluation.significance import (
    bootstrap_interval,
    corrected,
    equivalence_test,
    holm,
    paired,
    paired_by_seed,
    seed_interval,
    seeds_and_clips_interval,
    smallest_difference,
    t_test,
    verdict,
    wilcoxon,
)

RNG = np.random.default_rng(0)
SAMPLES = [RNG.normal(shift, 1.0, size=n) for n in (2, 3, 4, 5, 6, 7, 10, 25, 60) for shift in (0.0, 0.7)]


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: f"n{len(sample)}")
def test_wilcoxon_without_ties_is_scipys_exact_one(sample: np.ndarray) -> None:
    assert_allclose(wilcoxon(sample), stats.wilcoxon(sample, method="exact").pvalue, rtol=1e-10)


@pytest.mark.parametrize(
    "sample", [[1, 1, -1, 2], [0, 1, 2, -3, 3], [0, 0, 5], [2, 2, -2, 1, 1, 4], [-1, 3, -2, -2, 1]]
)
def test_wilcoxon_with_ties_and_zeros_is_the_enumeration_of_all_signs(sample: list[float]) -> None:
    d = np.array([x for x in sample if x], dtype=float)
    ranks = stats.rankdata(np.abs(d))
    sums = np.array([ranks @ signs for signs in itertools.product((0, 1), repeat=len(d))])
    positive = ranks[d > 0].sum()
    assert wilcoxon(sample) == pytest.approx(
        min(1, 2 * min((sums <= positive).mean(), (sums >= positive).mean())), abs=1e-14
    )


def test_wilcoxon_takes_steps_of_one_clip_for_equal_whatever_their_rounding() -> None:
    """Shares of 686 clips: differences of 2, 2, -2, 1 and 3 clips are no five sizes."""
    clips = np.array([10, 200, 333, 450, 500])
    differences = (clips + np.array([2, 2, -2, 1, 3])) / 686 - clips / 686
    assert len(set(np.abs(differences))) > 3
    expected = stats.wilcoxon([2, 2, -2, 1, 3], method=stats.PermutationMethod(n_resamples=np.inf)).pvalue
    assert wilcoxon(differences) == wilcoxon([2, 2, -2, 1, 3]) == pytest.approx(expected, abs=1e-14)


def test_two_seeds_by_hand() -> None:
    """t = 2 / (sqrt(2) / sqrt(2)) = 2 with 1 degree: p = 1 - 2 atan(2) / pi; the interval is from one to the other."""
    result = paired([1.0, 3.0], [0.0, 0.0])
    assert result.t_p == pytest.approx(1 - 2 * math.atan(2) / math.pi, abs=1e-14)
    assert (result.low, result.high, result.wilcoxon_p) == (1.0, 3.0, 0.5)


def test_five_seeds_of_one_sign_by_hand() -> None:
    """t = 3 / (sqrt(2.5) / sqrt(5)) = 4.2426 with 4 degrees; of the 32 signs two are as extreme."""
    result = paired([2, 4, 6, 8, 10], [1, 2, 3, 4, 5])
    assert (result.mean, result.n) == (3, 5)
    assert result.std == pytest.approx(math.sqrt(2.5))
    assert result.t_p == pytest.approx(0.0132, abs=1e-4)  # a table of Student's t
    assert result.wilcoxon_p == 2 / 32


def test_holm_by_hand() -> None:
    """Smallest times 4, next times 3, ...; none below the one before."""
    assert_allclose(holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02], rtol=1e-14)
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([0.02]) == [0.02]
    assert holm([]) == []


def test_holm_leaves_out_tests_that_were_not_possible() -> None:
    result = holm([math.nan, 0.01, 0.04])
    assert math.isnan(result[0])
    assert result[1:] == [0.02, 0.04]


def test_holm_rejects_what_its_definition_rejects() -> None:
    """Step down: reject while p of rank k (from 0) is at most level / (m - k)."""
    for p in RNG.uniform(0, 0.1, size=(50, 6)):
        corrected = np.array(holm(p.tolist()))
        for level in (0.01, 0.05, 0.1):
            rejected = np.zeros(6, bool)
            for k, which in enumerate(np.argsort(p)):
                if p[which] > level / (6 - k):
                    break
                rejected[which] = True
            assert ((corrected <= level) == rejected).all()


def test_bootstrap_interval_of_two_values_is_that_of_the_binomial() -> None:
    """Means of two draws of 0 and 1 are 0, .5 and 1 with .25, .5, .25."""
    assert bootstrap_interval([0.0, 1.0]) == (0.0, 1.0)
    assert bootstrap_interval([0.0, 1.0], level=0.4) == (0.5, 0.5)


def test_bootstrap_interval_of_many_values_is_nearly_the_normal_one() -> None:
    values = RNG.normal(2.0, 3.0, size=400)
    error = values.std() / math.sqrt(400)
    expected = stats.norm.interval(0.95, values.mean(), error)
    assert_allclose(bootstrap_interval(values), expected, atol=0.05 * error)


def test_bootstrap_interval_is_the_same_each_time_and_moves_with_the_seed() -> None:
    values = RNG.normal(size=9).tolist()
    assert bootstrap_interval(values) == bootstrap_interval(values)
    assert bootstrap_interval(values) != bootstrap_interval(values, seed=1)
    assert paired(values, [0.0] * 9, seed=1).low == bootstrap_interval(values, seed=1)[0]


def test_equal_runs_differ_by_nothing_with_certainty() -> None:
    result = paired([0.3, 0.4], [0.3, 0.4])
    assert (result.mean, result.std, result.t_p, result.wilcoxon_p) == (0, 0, 1, 1)
    assert (result.low, result.high) == (0, 0)


def test_the_same_difference_each_time_is_not_tested_against_a_spread_of_nothing() -> None:
    """One clip of 656 more on both seeds: rounding makes p 1e-15."""
    values, baseline = [0.5 + 1 / 656, 0.25 + 1 / 656], [0.5, 0.25]
    assert stats.ttest_rel(values, baseline).pvalue < 1e-9
    assert math.isnan(paired(values, baseline).t_p)
    assert math.isnan(t_test([0.5, 0.5, 0.5]))
    assert wilcoxon([0.5, 0.5, 0.5]) == 0.25


def test_one_seed_has_a_mean_and_no_test() -> None:
    result = paired([0.5], [0.25])
    assert (result.n, result.mean, result.wilcoxon_p) == (1, 0.25, 1.0)
    assert all(math.isnan(value) for value in (result.std, result.t_p, result.low, result.high))


@pytest.mark.parametrize(
    ("values", "baseline", "message"),
    [
        ([1.0, 2.0], [1.0], "2 values beside 1 of the baseline"),
        ([], [], r"shape \(0,\); expected \(n,\)"),
        ([1.0, math.nan], [1.0, 2.0], "expected finite numbers"),
        ([[1.0]], [[1.0]], r"shape \(1, 1\)"),
    ],
)
def test_what_cannot_be_tested_is_refused(values: list[float], baseline: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        paired(values, baseline)


def test_level_outside_its_range_is_refused() -> None:
    with pytest.raises(ValueError, match=r"level 95; expected a share between 0 and 1"):
        bootstrap_interval([1.0, 2.0], level=95)


def test_seeds_are_paired_with_themselves_and_none_without_its_like_counts() -> None:
    """Seed 9 of one and 7 of the other are left out, and the rest goes by seed, not by place."""
    result = paired_by_seed({3: 0.4, 1: 0.1, 2: 0.7, 9: 100.0}, {1: 0.2, 2: 0.3, 3: 0.9, 7: -100.0})
    assert result is not None
    assert_allclose(result.t_p, stats.ttest_rel([0.1, 0.7, 0.4], [0.2, 0.3, 0.9]).pvalue, rtol=1e-9)
    assert (result.n, result.mean) == (3, pytest.approx(-0.2 / 3))
    assert paired_by_seed({1: 0.1}, {2: 0.1}) is None
    assert paired_by_seed({1: 0.1, 2: math.nan}, {1: 0.1, 2: 0.1}) is None


def test_p_values_are_corrected_over_the_tests_that_there_are() -> None:
    one, other = (paired(values, [0.0] * 4) for values in ([1.0, 2.0, 3.0, 4.0], [1.0, -2.0, 3.0, 1.0]))
    result = corrected({"one": one, "none": None, "other": other})
    expected = [stats.ttest_1samp(values, 0.0).pvalue for values in ([1.0, 2.0, 3.0, 4.0], [1.0, -2.0, 3.0, 1.0])]
    assert_allclose(
        [result["one"], result["other"]], [2 * expected[0], expected[1]], rtol=1e-9
    )  # the larger is as it was
    assert math.isnan(result["none"])


def test_an_interval_over_seeds_needs_two_numbers() -> None:
    assert seed_interval([1.0, 2.0, 4.0]) == bootstrap_interval([1.0, 2.0, 4.0])
    for values in ([], [1.0], [1.0, math.nan], [math.inf, 1.0]):
        assert all(map(math.isnan, seed_interval(values)))


def test_equivalence_is_two_one_sided_t_tests() -> None:
    d, margin = np.array([0.004, -0.013, 0.012, 0.001, -0.009]), 0.02
    n, mean, error = len(d), d.mean(), d.std(ddof=1) / math.sqrt(len(d))
    expected = max(stats.t.sf((mean + margin) / error, n - 1), stats.t.cdf((mean - margin) / error, n - 1))
    assert equivalence_test(d, margin) == pytest.approx(expected, rel=1e-12)
    # A wide margin holds it, one narrower than the mean never does.
    assert equivalence_test(d, 10.0) < 1e-6
    assert equivalence_test(d + 0.05, margin) > 0.5


def test_equivalence_of_equal_differences_is_told_only_at_zero() -> None:
    assert equivalence_test([0.0, 0.0, 0.0], 0.01) == 0.0
    assert math.isnan(equivalence_test([0.001, 0.001, 0.001], 0.01))
    assert math.isnan(equivalence_test([0.001], 0.01))
    with pytest.raises(ValueError, match="margin 0; expected a number above 0"):
        equivalence_test([0.1, 0.2], 0)


def test_the_smallest_difference_is_found_about_as_often_as_it_says() -> None:
    rng, n, std = np.random.default_rng(0), 8, 1.0
    effect = smallest_difference(std, n)
    samples = rng.normal(effect, std, size=(4000, n))
    found = stats.ttest_1samp(samples, 0.0, axis=1).pvalue < 0.05
    # The formula is the usual approximation of the noncentral t distribution.
    assert found.mean() == pytest.approx(0.8, abs=0.04)
    assert math.isnan(smallest_difference(std, 1))
    assert math.isnan(smallest_difference(math.nan, 5))


@pytest.mark.parametrize(
    ("difference", "p", "same", "lower", "expected"),
    [
        (-0.05, 0.01, 0.9, True, "better"),
        (-0.05, 0.01, 0.9, False, "worse"),
        (0.05, 0.01, 0.9, True, "worse"),
        (0.001, 0.01, 0.001, False, "better"),
        (0.001, 0.6, 0.01, True, "same"),
        (0.03, 0.2, 0.4, True, "not told"),
        (0.03, math.nan, math.nan, True, "not told"),
    ],
)
def test_a_verdict_says_different_before_same_and_same_before_nothing(
    difference: float, p: float, same: float, lower: bool, expected: str
) -> None:
    assert verdict(difference, p, same, lower) == expected


def test_the_interval_of_seeds_and_clips_has_the_variance_of_both() -> None:
    rng, n, clips = np.random.default_rng(1), 12, 400
    of_seed, of_clip = rng.normal(0, 0.3, size=(n, 1)), rng.normal(0, 2.0, size=(1, clips))
    low, high = seeds_and_clips_interval(0.5 + of_seed + of_clip, resamples=4000)
    spread = math.sqrt(of_seed.var() / n + of_clip.var() / clips)
    middle = 0.5 + of_seed.mean() + of_clip.mean()
    assert (low + high) / 2 == pytest.approx(middle, abs=0.2 * spread)
    assert high - low == pytest.approx(2 * 1.96 * spread, rel=0.1)
    # One seed: the interval of clips alone.
    only = seeds_and_clips_interval(of_clip, resamples=4000)
    assert only[1] - only[0] == pytest.approx(2 * 1.96 * of_clip.std() / math.sqrt(clips), rel=0.1)
    with pytest.raises(ValueError, match=r"differences of shape \(3,\); expected \(n, N\)"):
        seeds_and_clips_interval([0.1, 0.2, 0.3])
