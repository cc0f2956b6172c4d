"""Metrics made of means over clips, against compute_metrics; and intervals over seeds and clips of them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from trivium.core.metric_names import METRICS
from trivium.evaluation.clip_statistics import clip_statistics, value_of
from trivium.evaluation.metrics import compute_metrics
from trivium.evaluation.significance import (
    over_seeds_and_clips,
    seeds_and_clips_interval,
    smallest_difference,
)


def clips(protocol: str, number: int = 200) -> tuple[np.ndarray, np.ndarray]:
    """Predictions and labels with zeros, bin edges and values beyond the range."""
    rng, high = np.random.default_rng(3), 1.0 if protocol == "sims" else 3.0
    target = np.round(rng.uniform(-high, high, number), 1)
    return target + rng.normal(0, 0.5 * high, number), target


@pytest.mark.parametrize("protocol", ["mosi", "sims", "regression"])
def test_every_metric_of_scores_is_that_of_compute_metrics(protocol: str) -> None:
    prediction, target = clips(protocol)
    expected = compute_metrics(protocol, prediction, target)
    assert set(expected) == set(METRICS[protocol])
    for metric, value in expected.items():
        assert value_of(protocol, metric, prediction, target) == pytest.approx(value, rel=1e-9), metric


@pytest.mark.parametrize("metric", ["corr", "f1_non0", "acc2_non0", "acc5"])
def test_means_over_drawn_clips_give_the_metric_of_the_drawn_clips(metric: str) -> None:
    prediction, target = clips("mosi")
    drawn = np.random.default_rng(0).integers(len(target), size=len(target))
    statistics = clip_statistics("mosi", metric, prediction, target)
    assert statistics is not None
    counts = np.bincount(drawn, minlength=len(target)) / len(target)
    expected = compute_metrics("mosi", prediction[drawn], target[drawn])[metric]
    assert float(statistics[1](counts @ statistics[0])) == pytest.approx(expected, rel=1e-9)


def test_the_mean_error_and_classes() -> None:
    assert value_of("mosi", "bias", np.array([1.0, 0.5]), np.array([0.0, 1.0])) == pytest.approx(0.25)
    assert value_of("classes", "acc", np.array([1.0, 2.0, 0.0, 0.0]), np.array([1.0, 1.0, 0.0, 2.0])) == 0.5
    assert value_of("classes", "auroc", np.zeros(2), np.zeros(2)) is None
    assert value_of("scores", "mae", np.zeros((2, 2)), np.zeros((2, 2))) is None


def test_an_interval_of_a_mean_is_that_of_the_differences_of_clips() -> None:
    rng = np.random.default_rng(4)
    row, baseline = rng.normal(0.1, 1, (5, 60)), rng.normal(0, 1, (5, 60))
    expected = seeds_and_clips_interval(row - baseline, resamples=300)
    parts = [row[:, :, None], baseline[:, :, None]]
    assert over_seeds_and_clips(parts, lambda means: means[..., 0], resamples=300)[:2] == pytest.approx(expected)


def test_the_interval_of_a_correlation_is_as_wide_as_fisher_says() -> None:
    """One seed: the interval of clips alone, 1.96 / sqrt(N - 3) to each side of atanh r."""
    rng, number = np.random.default_rng(5), 600
    target = rng.normal(size=number)
    prediction = 0.6 * target + 0.8 * rng.normal(size=number)
    statistics = clip_statistics("regression", "corr", prediction, target)
    assert statistics is not None
    low, high, _ = over_seeds_and_clips([statistics[0][None]], statistics[1])
    middle, half = np.arctanh(np.corrcoef(prediction, target)[0, 1]), 1.96 / math.sqrt(number - 3)
    assert [low, high] == pytest.approx([np.tanh(middle - half), np.tanh(middle + half)], abs=0.02)


def test_a_metric_that_is_mostly_not_defined_has_no_interval() -> None:
    statistics = clip_statistics("regression", "corr", np.ones(5), np.arange(5.0))
    assert statistics is not None
    assert all(map(math.isnan, over_seeds_and_clips([statistics[0][None]], statistics[1], resamples=50)))


def test_the_smallest_difference_over_seeds_and_clips_is_found_about_as_often_as_it_says() -> None:
    """Differences of an effect, n seeds' own shifts and N clips' own: the two variances of the mean are known.

    How often the effect is found is simulated with the standard error and degrees of freedom that theory gives.
    """
    rng, n, clips, of_seeds, of_clips = np.random.default_rng(6), 6, 80, 0.2, 2.0
    found = [
        over_seeds_and_clips([difference[:, :, None]], lambda means: means[..., 0], resamples=200).smallest
        for difference in rng.normal(0, of_seeds, (60, n, 1)) + rng.normal(0, of_clips, (60, 1, clips))
    ]
    error = math.sqrt(of_seeds**2 / n + of_clips**2 / clips)
    power = stats.norm.sf(1.96 - np.median(found) / error)
    assert power == pytest.approx(0.8, abs=0.07)
    # Seeds alone would promise to find a third of it.
    assert smallest_difference(of_seeds, n) < 0.5 * np.median(found)


def test_one_seed_shows_no_smallest_difference_and_equal_differences_show_any() -> None:
    def mean(means: np.ndarray) -> np.ndarray:
        return means[..., 0]

    clips_11 = np.random.default_rng(7).normal(size=(1, 11, 1))
    assert math.isnan(over_seeds_and_clips([clips_11], mean, resamples=50).smallest)
    assert over_seeds_and_clips([np.full((3, 11, 1), 0.25)], mean, resamples=50) == pytest.approx((0.25, 0.25, 0.0))
    # Clips that differ, by the same for every seed: those of seeds alone would be 0.
    same = over_seeds_and_clips([np.repeat(clips_11, 3, axis=0)], mean, resamples=2000).smallest
    assert same == pytest.approx(
        (stats.t.ppf(0.975, 10) + stats.t.ppf(0.8, 10)) * clips_11.std() / math.sqrt(11), rel=0.1
    )
