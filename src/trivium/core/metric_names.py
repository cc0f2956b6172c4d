"""Names the metrics: which of them each protocol gives, how they are printed, and which direction is better.

Imports nothing, so that the check of a command line and reports can use it without torch. The metrics themselves are
in trivium.evaluation.metrics.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

_SENTIMENT = ("mae", "corr", "acc7", "acc5", "acc2_has0", "acc2_non0", "f1_has0", "f1_non0")
_SIMS = ("mae", "corr", "acc2", "acc3", "acc5", "f1")

# Maps a protocol to its metrics, in the order in which tables print them.
METRICS: dict[str, tuple[str, ...]] = {
    "mosi": _SENTIMENT,
    "sims": _SIMS,
    "regression": ("mae", "corr"),
    "scores": ("mae", "corr"),
    "classes": ("acc", "balanced_acc", "f1_macro", "f1_weighted", "auroc", "ece"),
    "labels": ("f1_micro", "f1_macro", "f1_weighted", "map", "auroc", "subset_acc"),
    "emotions": ("weighted_acc", "f1_weighted", "f1_binary", "auroc", "subset_acc"),
}

# Maps a protocol to what it is for, as trivium.data.target.Target.task says it.
TASKS: dict[str, str] = {
    "mosi": "score",
    "sims": "score",
    "regression": "score",
    "scores": "scores",
    "classes": "classes",
    "labels": "labels",
    "emotions": "labels",
}
# Maps a task to the protocol that data.metrics=auto takes.
USUAL: dict[str, str] = {"score": "regression", "scores": "scores", "classes": "classes", "labels": "labels"}

LABELS: dict[str, str] = {
    "mae": "MAE",
    "corr": "Corr",
    "acc7": "Acc-7",
    "acc5": "Acc-5",
    "acc3": "Acc-3",
    "acc2": "Acc-2",
    "acc2_has0": "Acc-2 Has0",
    "acc2_non0": "Acc-2 Non0",
    "f1": "F1",
    "f1_has0": "F1 Has0",
    "f1_non0": "F1 Non0",
    "acc_argmax": "Acc argmax",
    "acc": "Acc",
    "weighted_acc": "WA",
    "balanced_acc": "Balanced acc",
    "f1_micro": "F1 micro",
    "f1_macro": "F1 macro",
    "f1_weighted": "F1 weighted",
    "f1_binary": "F1 of the label",
    "map": "mAP",
    "auroc": "AUROC",
    "ece": "ECE",
    "subset_acc": "Subset acc",
    "recall": "Recall",
    "bias": "Mean error",
}
# Metrics of which neither direction is better: the mean of prediction minus target.
UNDIRECTED = ("bias",)

# Stands between a metric and the class, label or score that it is of, as in "recall/happy".
OF = "/"
_SHARES = ("balanced_acc", "subset_acc", "weighted_acc", "auroc", "map", "ece", "recall")

# "min" means that lower is better.
DIRECTION: dict[str, str] = {key: "min" if key in ("mae", "ece") else "max" for key in LABELS if key not in UNDIRECTED}

# Maps a protocol to its accuracy over the most classes, and to these classes from the lowest: a confusion matrix shows
# them.
CLASSES: dict[str, tuple[str, tuple[str, ...]]] = {
    "mosi": ("acc7", ("-3", "-2", "-1", "0", "1", "2", "3")),
    "sims": ("acc5", ("negative", "weakly neg.", "neutral", "weakly pos.", "positive")),
}

# Maps a protocol to the range of labels that its classes are cut for; the sims protocol clips to it.
RANGES: dict[str, tuple[float, float]] = {"mosi": (-3.0, 3.0), "sims": (-1.0, 1.0)}

# The mean objective of the validation clips, and the weighted sum of all terms for methods that have further ones.
LOSSES: dict[str, str] = {"loss": "min", "total": "min"}


def monitorable(protocol: str) -> dict[str, str]:
    """Returns the names that a run can be selected by: "val/loss" -> "min" or "max", the direction that is better.

    protocol: data.metrics. "val/total" is there for methods that add terms to the task's loss, "val/acc_argmax" for
    objectives with classes.
    """
    names = (*known_metrics(protocol), "acc_argmax")
    directions = LOSSES | {name: DIRECTION[name] for name in names}
    return {f"val/{name}": direction for name, direction in directions.items()}


def known_metrics(protocol: str) -> tuple[str, ...]:
    """Returns the metrics of a protocol, and for "auto" those of all, as the store that decides is not open yet."""
    if protocol != "auto":
        return METRICS[protocol]
    return tuple(dict.fromkeys(name for names in METRICS.values() for name in names))


def is_share(metric: str) -> bool:
    """Tells whether a metric lies in [0, 1] and is shown in %, as accuracies and F1 are.

    MAE is in the labels' unit, and Corr lies in [-1, 1]. A metric of one class, label or score, such as "recall/happy",
    is as its first part says.
    """
    name = metric.partition(OF)[0]
    return name.startswith(("acc", "f1")) or name in _SHARES


def label_of(metric: str) -> str:
    """Returns a metric's name for people: "F1 macro", or "Recall happy" for that of one class, label or score."""
    name, _, part = metric.partition(OF)
    return f"{LABELS.get(name, name)} {part}".rstrip()


def guess_name(metrics: Iterable[str]) -> str:
    """Returns what a constant prediction is called beside these metrics: "train mean", or "train frequencies".

    The latter are the shares of the train clips that are of each class, or have each label.
    """
    of_scores = {"mae", "corr", LABELS["mae"], LABELS["corr"]}
    return "train mean" if any(metric.partition(" ")[0] in of_scores for metric in metrics) else "train frequencies"


def direction_of(metric: str) -> str:
    """Returns "min" or "max", the better direction of a metric, that of one class, label or score included."""
    return DIRECTION[metric.partition(OF)[0]]


def lower_is_better(metric: str) -> bool | None:
    """Returns whether lower is better, None for a metric of which neither direction is; unknown ones are losses."""
    name = metric.partition(OF)[0]
    return None if name in UNDIRECTED else DIRECTION.get(name, "min") == "min"


def metric_text(value: float, share: bool, sign: bool = False) -> str:
    """Formats a metric as tables do: 34.1 (in %) for a share of .3412, 0.723 for anything else, "-" for NaN.

    sign: write a + before positive numbers, as in +34.1.
    """
    if math.isnan(value):
        return "-"
    plus = "+" if sign else ""
    return format(100 * value, f"{plus}.1f") if share else format(value, f"{plus}.3f")
