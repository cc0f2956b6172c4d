"""Computes the field's metrics over a whole split, as MMSA defines them.

scipy and scikit-learn are imported where they are used, so that importing this module only imports numpy.
Legend: N clips of the split, C classes.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from trivium.core.choices import check_choice
from trivium.core.metric_names import CLASSES, METRICS, RANGES, TASKS, USUAL
from trivium.data.target import Target

Scores = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

# Where CH-SIMS's Acc-5 cuts the labels.
SIMS_CUTS = (-0.7, -0.1, 0.1, 0.7)


def choose_protocol(protocol: str, target: Target) -> str:
    """Returns the protocol that scores a target: `protocol`, or for "auto" the usual one of its task.

    Raises ValueError for a protocol of another task, and for scores in a range that the protocol is not for.
    """
    if protocol == "auto":
        return USUAL[target.task]
    if TASKS[protocol] != target.task:
        fitting = [name for name, task in TASKS.items() if task == target.task]
        raise ValueError(
            f"data.metrics={protocol}: is not for {target.words}, which is the target; take data.metrics=auto, or "
            f"{' or '.join(fitting)}"
        )
    refuse_other_scale(protocol, target.range)
    return protocol


def refuse_other_scale(protocol: str, label_range: tuple[float, float] | None) -> None:
    """Raises ValueError if labels may lie outside the range that the protocol is for. None is an unknown range."""
    low, high = RANGES.get(protocol, (-math.inf, math.inf))
    if label_range is not None and not low <= label_range[0] <= label_range[1] <= high:
        raise ValueError(
            f"data.metrics={protocol}: its classes are cut for labels in [{low:g}, {high:g}], and the store's lie in "
            f"[{label_range[0]:g}, {label_range[1]:g}]; take data.metrics=regression"
        )


def score_classes(protocol: str, scores: Any) -> npt.NDArray[np.intp]:
    """Returns each score's class, (N,), an index of CLASSES[protocol], with the bins of the protocol's accuracy.

    Raises ValueError for a protocol without classes, and as compute_metrics does.
    """
    if protocol not in CLASSES:
        raise ValueError(f"metrics protocol {protocol!r} has no classes; those with classes are {list(CLASSES)}")
    array = _scores("scores", scores)
    if protocol == "sims":
        return binned(np.clip(array, -1, 1), SIMS_CUTS)
    return (rounded(array, 3) + 3).astype(np.intp)


def compute_metrics(
    protocol: str, predictions: Any, targets: Any, *, probabilities: Any = None, classes: Any = None
) -> dict[str, float]:
    """Computes the metrics of METRICS[protocol] over a whole split, not as averages over batches.

    predictions, targets: arrays or tensors. (N,) scores, unclipped, in the data's unit; (N, K) of several scores; (N,)
    class numbers; (N, C) labels of 0 and 1.
    probabilities: (N, C), which classes and labels need. classes: (N,) class indices of a score. With both,
    `acc_argmax` is added for a score: the share of clips whose likeliest class is right.
    MAE is in the data's unit, Corr in [-1, 1], and all others are shares in [0, 1]. A metric that is undefined is NaN:
    Corr of constant values, and the Non0 metrics of a split whose labels are all 0.
    Raises ValueError for an unknown protocol, shapes that differ or are not (N,), no clips, or non-finite values.
    """
    check_choice("metrics protocol", protocol, METRICS)
    if TASKS[protocol] != "score":
        from trivium.evaluation.task_metrics import task_metrics

        return task_metrics(protocol, _numpy(predictions), _numpy(targets), probabilities)
    p, t = _scores("predictions", predictions), _scores("targets", targets)
    if p.shape != t.shape:
        raise ValueError(f"metrics: {len(p)} predictions but {len(t)} targets; give one of each a clip")
    result = _PROTOCOLS[protocol](p, t)
    if probabilities is not None and classes is not None:
        likeliest_N = _numpy(probabilities).argmax(axis=1)
        result["acc_argmax"] = _share(likeliest_N == _numpy(classes))
    return result


def for_tasks(*tasks: str) -> Callable[[Callable[..., float]], Callable[..., float]]:
    """Returns a decorator that says which tasks a metric is for (Target.task); a config that adds it to another fails.

    A metric without it is for all.
    """

    def declare(metric: Callable[..., float]) -> Callable[..., float]:
        metric.tasks = tasks  # type: ignore[attr-defined]
        return metric

    return declare


@for_tasks("score", "scores")
def concordance(predictions: Scores, targets: Scores) -> float:
    """Computes the concordance correlation coefficient 2 cov / (var p + var t + (mean p - mean t)^2) (Lin, 1989).

    predictions, targets: (N,), or (N, K) of several scores, whose mean it then is. Returns a value in [-1, 1]; NaN
    where both are constant and equal.
    """
    p, t = _numpy(predictions), _numpy(targets)
    if p.ndim == 2 and p.shape == t.shape:
        return float(np.mean([concordance(p[:, k], t[:, k]) for k in range(p.shape[1])]))
    p, t = _scores("predictions", p), _scores("targets", t)
    covariance = float(((p - p.mean()) * (t - t.mean())).mean())
    spread = float(p.var() + t.var() + (p.mean() - t.mean()) ** 2)
    return 2 * covariance / spread if spread else math.nan


def _sentiment(p: Scores, t: Scores) -> dict[str, float]:
    """Computes the metrics of MOSI and MOSEI, labels in [-3, 3]."""
    non0 = t != 0
    return {
        "mae": float(np.abs(p - t).mean()),
        "corr": _pearson(p, t),
        "acc7": _share(rounded(p, 3) == rounded(t, 3)),
        "acc5": _share(rounded(p, 2) == rounded(t, 2)),
        "acc2_has0": _share((p >= 0) == (t >= 0)),
        "acc2_non0": _share((p[non0] > 0) == (t[non0] > 0)),
        "f1_has0": _weighted_f1(p >= 0, t >= 0),
        "f1_non0": _weighted_f1(p[non0] > 0, t[non0] > 0),
    }


def _sims(p: Scores, t: Scores) -> dict[str, float]:
    """Computes the metrics of CH-SIMS v1 and v2, labels in [-1, 1]. All are of clipped values, and zero is negative."""
    p, t = np.clip(p, -1, 1), np.clip(t, -1, 1)
    return {
        "mae": float(np.abs(p - t).mean()),
        "corr": _pearson(p, t),
        "acc2": _share((p > 0) == (t > 0)),
        "acc3": _share(binned(p, (-0.1, 0.1)) == binned(t, (-0.1, 0.1))),
        "acc5": _share(binned(p, SIMS_CUTS) == binned(t, SIMS_CUTS)),
        "f1": _weighted_f1(p > 0, t > 0),
    }


def _regression(p: Scores, t: Scores) -> dict[str, float]:
    """Computes the metrics of labels in any range."""
    return {"mae": float(np.abs(p - t).mean()), "corr": _pearson(p, t)}


_PROTOCOLS: dict[str, Callable[[Scores, Scores], dict[str, float]]] = {
    "mosi": _sentiment,
    "sims": _sims,
    "regression": _regression,
}


def rounded(scores: Scores, bound: int) -> Scores:
    """Returns the scores, clipped to [-bound, bound] and rounded half to even."""
    return np.clip(scores, -bound, bound).round()


def binned(scores: Scores, cuts: tuple[float, ...]) -> npt.NDArray[np.intp]:
    """Returns each score's bin; an upper edge belongs to the lower bin."""
    # In float32, the precision of stored labels: a stored 0.1 lies above 0.1 once it is read as float64.
    edges = np.asarray(cuts, dtype=np.float32)
    bins: npt.NDArray[np.intp] = np.searchsorted(edges, scores.astype(np.float32), side="left")
    return bins


def _share(equal: Flags) -> float:
    """Returns the share of True; NaN for no clips."""
    return float(equal.mean()) if equal.size else math.nan


def _pearson(p: Scores, t: Scores) -> float:
    """Returns Pearson's correlation, in [-1, 1]; NaN if either is constant."""
    if np.ptp(p) == 0 or np.ptp(t) == 0:
        return math.nan
    from scipy.stats import NearConstantInputWarning, pearsonr

    with warnings.catch_warnings():
        # The predictions of an early epoch may be nearly constant, which is no reason for a warning in every run.
        warnings.simplefilter("ignore", NearConstantInputWarning)
        return float(pearsonr(p, t).statistic)


def _weighted_f1(predicted: Flags, true: Flags) -> float:
    """Returns the F1 of the two classes, weighted by the share that each has of the truth; NaN for no clips."""
    if not true.size:
        return math.nan
    from sklearn.metrics import f1_score

    return float(f1_score(true, predicted, average="weighted", zero_division=0))


def _numpy(values: Any) -> npt.NDArray[Any]:
    # np.asarray refuses tensors that are on a GPU, require a gradient or are bfloat16. They are known by their method
    # `detach`, so that torch need not be imported.
    return np.asarray(values.detach().cpu().double() if hasattr(values, "detach") else values)


def _scores(name: str, values: Any) -> Scores:
    """Returns the values as a float64 array. Raises ValueError unless they are (N,), at least one, and finite."""
    array = _numpy(values).astype(np.float64)
    if array.ndim != 1 or not array.size:
        raise ValueError(f"metrics: {name} have shape {array.shape}; expected (N,) with at least one clip")
    bad = np.flatnonzero(~np.isfinite(array))
    if bad.size:
        raise ValueError(f"metrics: {bad.size} of {array.size} {name} are not finite, the first at position {bad[0]}")
    return array
