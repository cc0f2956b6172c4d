"""Metrics made of means over clips, against compute_metrics; and intervals over seeds and clips of them."""

from __future__ import annotations

import math

import numpy as np
import pytest

from trivium.core.metric_names import METRICS
from trivium.evaluation.clip_statistics import clip_statistics, value_of
from trivium.evaluation.metrics import compute_metrics
from trivium.evaluation.significance import metric_interval, seeds_and_clips_interval


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
    assert metric_interval(parts, lambda means: means[..., 0], resamples=300) == pytest.approx(expected)


def test_the_interval_of_a_correlation_is_as_wide_as_fisher_says() -> None:
    """One seed: the interval of clips alone, 1.96 / sqrt(N - 3) to each side of atanh r."""
    rng, number = np.random.default_rng(5), 600
    target = rng.normal(size=number)
    prediction = 0.6 * target + 0.8 * rng.normal(size=number)
    statistics = clip_statistics("regression", "corr", prediction, target)
    assert statistics is not None
    low, high = metric_interval([statistics[0][None]], statistics[1])
    middle, half = np.arctanh(np.corrcoef(prediction, target)[0, 1]), 1.96 / math.sqrt(number - 3)
    assert [low, high] == pytest.approx([np.tanh(middle - half), np.tanh(middle + half)], abs=0.02)


def test_a_metric_that_is_mostly_not_defined_has_no_interval() -> None:
    statistics = clip_statistics("regression", "corr", np.ones(5), np.arange(5.0))
    assert statistics is not None
    assert all(map(math.isnan, metric_interval([statistics[0][None]], statistics[1], resamples=50)))
