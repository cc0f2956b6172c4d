"""Splits metrics into numbers of single clips, whose means over any clips give the metric of these clips.

A bootstrap over clips needs them: a resample is then a product of matrices instead of thousands of scored splits.
Legend: N clips, K numbers of a clip.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from trivium.core.metric_names import METRICS, UNDIRECTED
from trivium.evaluation.metrics import SIMS_CUTS, binned, rounded

Array = npt.NDArray[np.float64]
# Means over clips, (..., K) -> the metric, (...).
Metric = Callable[[Array], Array]


def clip_statistics(protocol: str, metric: str, prediction: Array, target: Array) -> tuple[Array, Metric] | None:
    """Returns (N, K) numbers of clips and how their means make the metric; None for a metric that is not made so.

    protocol: as of `compute_metrics`, whose metrics these are; and "bias", the mean of prediction minus target.
    prediction, target: (N,) scores or class numbers.
    """
    if prediction.ndim != 1 or metric not in (*METRICS[protocol], *UNDIRECTED):
        return None
    if protocol == "classes":
        return _share(prediction == target) if metric == "acc" else None
    p, t = (np.clip(v, -1, 1) if protocol == "sims" else v for v in (prediction, target))
    if metric in ("mae", *UNDIRECTED):
        error = p - t
        return (np.abs(error) if metric == "mae" else error)[:, None], lambda means: means[..., 0]
    if metric == "corr":
        return np.stack([p, t, p * p, t * t, p * t], axis=1), _correlation
    if metric.partition("_")[0] in ("acc2", "f1"):
        return _of_signs(metric, protocol, p, t)
    if metric in ("acc3", "acc5", "acc7"):
        bound = 3 if metric == "acc7" else 2
        cuts = (-0.1, 0.1) if metric == "acc3" else SIMS_CUTS
        classes = [binned(v, cuts) if protocol == "sims" else rounded(v, bound) for v in (p, t)]
        return _share(classes[0] == classes[1])
    return None


def value_of(protocol: str, metric: str, prediction: Array, target: Array) -> float | None:
    """Returns the metric of all clips, or None for one that `clip_statistics` does not have."""
    statistics = clip_statistics(protocol, metric, prediction, target)
    return None if statistics is None else float(statistics[1](statistics[0].mean(axis=0)))


def _share(equal_N: npt.NDArray[np.bool_], counted_N: npt.NDArray[np.bool_] | None = None) -> tuple[Array, Metric]:
    """Returns statistics of the share of equal clips among those that count."""
    counted_N = np.ones(len(equal_N), bool) if counted_N is None else counted_N
    statistics_NK = np.stack([equal_N & counted_N, counted_N], axis=1).astype(np.float64)
    return statistics_NK, lambda means: means[..., 0] / means[..., 1]


def _of_signs(metric: str, protocol: str, p: Array, t: Array) -> tuple[Array, Metric]:
    """Returns statistics of Acc-2 or F1: negative against the rest (Has0), or without labels of 0 (Non0)."""
    predicted, true = (p >= 0, t >= 0) if metric.endswith("has0") else (p > 0, t > 0)
    counted = t != 0 if metric.endswith("non0") else np.ones(len(t), bool)
    if metric.startswith("acc2"):
        return _share(predicted == true, counted)
    cells = [predicted & true, predicted & ~true, ~predicted & true, ~predicted & ~true]
    return np.stack([cell & counted for cell in cells], axis=1).astype(np.float64), _weighted_f1


def _weighted_f1(cells: Array) -> Array:
    """Returns the F1 of two classes, weighted by their shares.

    cells: (..., 4) shares of true positives, false positives, false negatives and true negatives.
    """
    tp, fp, fn, tn = np.moveaxis(cells, -1, 0)

    def f1(right: Array) -> Array:
        return np.where(right > 0, 2 * right / np.maximum(2 * right + fp + fn, 1e-300), 0.0)

    weighted: Array = ((tp + fn) * f1(tp) + (tn + fp) * f1(tn)) / (tp + fp + fn + tn)
    return weighted


def _correlation(means: Array) -> Array:
    p, t, pp, tt, pt = np.moveaxis(means, -1, 0)
    correlation: Array = (pt - p * t) / np.sqrt((pp - p * p) * (tt - t * t))
    return correlation
