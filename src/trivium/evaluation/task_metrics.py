"""Computes the metrics of classes, of labels and of several scores over a whole split, by torchmetrics.

Legend: N clips, C classes or labels, K scores.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torchmetrics.functional import classification as by_torchmetrics

from trivium.core.metric_names import OF

Array = npt.NDArray[Any]
# The bins of equal width of the calibration error (Guo et al., 2017).
BINS = 15


def task_metrics(protocol: str, predictions: Array, targets: Array, probabilities: Any) -> dict[str, float]:
    """Computes METRICS[protocol] of a protocol that is not for one score. Arrays are as `compute_metrics` takes them.

    Raises ValueError for shapes that differ or are not the protocol's, for no clips, for values that are not finite,
    and where classes or labels come without probabilities.
    """
    if predictions.shape != targets.shape or not len(targets):
        raise ValueError(
            f"metrics: predictions of shape {predictions.shape} but targets of {targets.shape}; give one of each a clip"
        )
    if not (np.isfinite(predictions).all() and np.isfinite(targets).all()):
        raise ValueError("metrics: predictions or targets are not finite")
    expected = 1 if protocol == "classes" else 2
    if targets.ndim != expected:
        shape = "(N,)" if expected == 1 else "(N, K)"
        raise ValueError(f"metrics protocol {protocol!r}: targets of shape {targets.shape}; expected {shape}")
    if protocol == "scores":
        return scores_metrics(predictions, targets)
    if probabilities is None:
        raise ValueError(f"metrics protocol {protocol!r}: needs probabilities, (N, C)")
    likely = torch.as_tensor(probabilities).double().cpu()
    if likely.ndim != 2 or len(likely) != len(targets) or not bool(likely.isfinite().all()):
        raise ValueError(
            f"metrics protocol {protocol!r}: probabilities of shape {tuple(likely.shape)}; expected finite numbers, "
            f"({len(targets)}, C)"
        )
    truth = torch.from_numpy(targets).long()
    compute: dict[str, Callable[[Tensor, Tensor], dict[str, float]]] = {
        "classes": class_metrics,
        "labels": label_metrics,
        "emotions": emotion_metrics,
    }
    return compute[protocol](likely, truth)


def scores_metrics(predictions_NK: Array, targets_NK: Array) -> dict[str, float]:
    """Returns "mae" and "corr", the means over the scores. Corr is NaN if that of a score is."""
    each = [_score_metrics(predictions_NK[:, k], targets_NK[:, k]) for k in range(targets_NK.shape[1])]
    return {name: float(np.mean([values[name] for values in each])) for name in ("mae", "corr")}


def class_metrics(probabilities_NC: Tensor, class_N: Tensor) -> dict[str, float]:
    """Returns the metrics of classes, each in [0, 1].

    acc: the share of clips whose likeliest class is right. balanced_acc: the recall of a class, in the mean over those
    that occur. f1_macro, f1_weighted: the F1 of each class, in the mean over those that occur or are predicted, or
    weighted by their clips. auroc: the area under each class's ROC curve against the rest, in the mean over the classes
    that some clips have and some have not; NaN without such a class. ece: the expected calibration error of the
    likeliest class's probability in 15 bins (Guo et al., 2017).
    """
    predicted_N, classes = probabilities_NC.argmax(dim=1), probabilities_NC.shape[1]
    recall_C, occurs_C = recalls(probabilities_NC, class_N), torch.bincount(class_N, minlength=classes) > 0
    seen_C = occurs_C | (torch.bincount(predicted_N, minlength=classes) > 0)
    f1_C = by_torchmetrics.multiclass_f1_score(predicted_N, class_N, classes, average="none").double()
    f1_weighted = by_torchmetrics.multiclass_f1_score(predicted_N, class_N, classes, average="weighted")
    ece = by_torchmetrics.multiclass_calibration_error(probabilities_NC, class_N, classes, n_bins=BINS, norm="l1")
    return {
        "acc": float((predicted_N == class_N).double().mean()),
        "balanced_acc": float(recall_C[occurs_C].mean()),
        "f1_macro": float(f1_C[seen_C].mean()),
        "f1_weighted": float(f1_weighted),
        "auroc": _mean_auroc(probabilities_NC, torch.nn.functional.one_hot(class_N, classes)),
        "ece": float(ece),
    }


def label_metrics(probabilities_NC: Tensor, label_NC: Tensor) -> dict[str, float]:
    """Returns the metrics of labels, each in [0, 1]; a label of probability .5 or more counts as predicted.

    f1_micro: over all clips and labels at once. f1_macro, f1_weighted: the F1 of each label, in the mean, or weighted
    by the clips that have it. map: average precision, in the mean over the labels that occur. auroc: in the mean over
    the labels that some clips have and some have not. subset_acc: the share of clips with every label right.
    """
    predicted_NC, labels = (probabilities_NC >= 0.5).long(), label_NC.shape[1]
    f1_C, occurs_C = label_f1(predicted_NC, label_NC), label_NC.sum(dim=0) > 0
    precision_C = [
        float(by_torchmetrics.binary_average_precision(probabilities_NC[:, c], label_NC[:, c]))
        for c in range(labels)
        if occurs_C[c]
    ]
    share_C = label_NC.double().sum(dim=0)
    return {
        "f1_micro": float(by_torchmetrics.binary_f1_score(predicted_NC.flatten(), label_NC.flatten())),
        "f1_macro": float(f1_C.mean()),
        "f1_weighted": float((f1_C * share_C).sum() / share_C.sum()) if share_C.sum() else math.nan,
        "map": _mean(precision_C),
        "auroc": _mean_auroc(probabilities_NC, label_NC),
        "subset_acc": float((predicted_NC == label_NC).all(dim=1).double().mean()),
    }


def emotion_metrics(probabilities_NC: Tensor, label_NC: Tensor) -> dict[str, float]:
    """Returns the metrics of MOSEI's emotions as the field prints them, in the means over emotions; each in [0, 1].

    weighted_acc: (TP N/P + TN) / (2 N) for P clips with the emotion and N without (Zadeh et al., ACL 2018, after Tong
    et al., ACL 2017), which is the mean of the two recalls. f1_weighted: the F1 of having it and of not having it,
    weighted by their clips (as MulT and its followers print). f1_binary: the F1 of having it. Emotions that no clip or
    every clip has are left out of weighted_acc.
    """
    predicted_NC = (probabilities_NC >= 0.5).long()
    common = label_metrics(probabilities_NC, label_NC)
    weighted = [weighted_accuracy(predicted_NC[:, c], label_NC[:, c]) for c in range(label_NC.shape[1])]
    both = [
        float(by_torchmetrics.multiclass_f1_score(predicted_NC[:, c], label_NC[:, c], 2, average="weighted"))
        for c in range(label_NC.shape[1])
    ]
    return {
        "weighted_acc": _mean([value for value in weighted if not math.isnan(value)]),
        "f1_weighted": _mean(both),
        "f1_binary": common["f1_macro"],
        "auroc": common["auroc"],
        "subset_acc": common["subset_acc"],
    }


def weighted_accuracy(predicted_N: Tensor, label_N: Tensor) -> float:
    """Returns (TP N/P + TN) / (2 N) of one label; NaN where no clip or every clip has it."""
    has_N, positives = label_N == 1, int(label_N.sum())
    negatives = len(label_N) - positives
    if not positives or not negatives:
        return math.nan
    true_positives = int((predicted_N[has_N] == 1).sum())
    true_negatives = int((predicted_N[~has_N] == 0).sum())
    return (true_positives * negatives / positives + true_negatives) / (2 * negatives)


def recalls(probabilities_NC: Tensor, class_N: Tensor) -> Tensor:
    """Returns each class's recall, (C,) float64; NaN for a class that no clip has."""
    classes = probabilities_NC.shape[1]
    right_N = (probabilities_NC.argmax(dim=1) == class_N).double()
    return torch.bincount(class_N, weights=right_N, minlength=classes) / torch.bincount(class_N, minlength=classes)


def label_f1(predicted_NC: Tensor, label_NC: Tensor) -> Tensor:
    """Returns each label's F1, (C,) float64; 0 where it is neither there nor predicted."""
    labels = label_NC.shape[1]
    if labels == 1:
        return by_torchmetrics.binary_f1_score(predicted_NC[:, 0], label_NC[:, 0]).double()[None]
    f1_C: Tensor = by_torchmetrics.multilabel_f1_score(predicted_NC, label_NC, labels, average="none").double()
    return f1_C


def metrics_by_name(
    protocol: str, names: Sequence[str], predictions: Array, targets: Array, probabilities: Any
) -> dict[str, float]:
    """Returns "METRIC/NAME" -> value of each class, label or score: recall of classes, F1 of labels, MAE and Corr.

    names: of the classes, labels or scores. Arrays are as `compute_metrics` takes them. The values of emotions are F1
    and weighted accuracy. A class without clips has a recall of NaN.
    """
    if protocol == "scores":
        each = [_score_metrics(predictions[:, k], targets[:, k]) for k in range(len(names))]
        return {
            f"{key}{OF}{name}": values[key] for key in ("mae", "corr") for name, values in zip(names, each, strict=True)
        }
    truth = torch.from_numpy(targets).long()
    likely = torch.as_tensor(probabilities).double().cpu()
    if protocol == "classes":
        return {f"recall{OF}{n}": float(v) for n, v in zip(names, recalls(likely, truth), strict=True)}
    predicted = (likely >= 0.5).long()
    values = {f"f1{OF}{n}": float(v) for n, v in zip(names, label_f1(predicted, truth), strict=True)}
    if protocol == "emotions":
        for column, name in enumerate(names):
            values[f"weighted_acc{OF}{name}"] = weighted_accuracy(predicted[:, column], truth[:, column])
    return values


def confusion(probabilities_NC: Any, class_N: Array) -> list[list[int]]:
    """Returns C rows of C counts: clips of the row's class whose likeliest class is the column's."""
    likely = torch.as_tensor(probabilities_NC).double().cpu()
    matrix: list[list[int]] = by_torchmetrics.multiclass_confusion_matrix(
        likely.argmax(dim=1), torch.from_numpy(class_N).long(), likely.shape[1]
    ).tolist()
    return matrix


def _score_metrics(predictions_N: Array, targets_N: Array) -> dict[str, float]:
    from trivium.evaluation.metrics import compute_metrics

    return compute_metrics("regression", predictions_N, targets_N)


def _mean_auroc(probabilities_NC: Tensor, label_NC: Tensor) -> float:
    counts_C = label_NC.sum(dim=0)
    return _mean(
        [
            float(by_torchmetrics.binary_auroc(probabilities_NC[:, c], label_NC[:, c]))
            for c in range(label_NC.shape[1])
            if 0 < counts_C[c] < len(label_NC)
        ]
    )


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else math.nan
