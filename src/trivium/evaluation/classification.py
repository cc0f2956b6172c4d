"""Computes metrics of class scores over a whole split.

Legend: N clips, C classes.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def classification_metrics(outputs_NC: Tensor, classes_N: Tensor) -> dict[str, float]:
    """Returns shares in [0, 1] of how well classes are recognised.

    outputs_NC: logits. classes_N: int64 in [0, C).
    * balanced_accuracy: as the function below.
    * accuracy: the share of clips whose likeliest class is right.
    * top5: the share of clips whose class is among the min(5, C) likeliest.
    * auc: the area under the ROC curve of each class against the rest, in the mean over the classes that some clips
      have and some have not; NaN without such a class. With two classes it is the usual AUC.
    """
    # Imported here because the import takes a second.
    from torchmetrics.functional.classification import binary_auroc, multiclass_accuracy

    classes, probabilities_NC = outputs_NC.shape[1], outputs_NC.softmax(dim=1)
    top5 = multiclass_accuracy(outputs_NC, classes_N, classes, average="micro", top_k=min(5, classes))
    clips_C = torch.bincount(classes_N, minlength=classes)
    occurring = [c for c in range(classes) if 0 < clips_C[c] < len(classes_N)]
    areas = [float(binary_auroc(probabilities_NC[:, c], (classes_N == c).long())) for c in occurring]
    return {
        "balanced_accuracy": balanced_accuracy(outputs_NC, classes_N),
        "accuracy": float((outputs_NC.argmax(dim=1) == classes_N).double().mean()),
        "top5": float(top5),
        "auc": sum(areas) / len(areas) if areas else math.nan,
    }


def balanced_accuracy(outputs_NC: Tensor, classes_N: Tensor) -> float:
    """Returns the share of a class's clips that are recognised, in the mean over the classes that occur, in [0, 1].

    outputs_NC, classes_N: as in `classification_metrics`. The definition is scikit-learn's, whose value may differ in
    the last digit; that would matter in `search_c`, where ties decide.
    """
    right_N = (outputs_NC.argmax(dim=1) == classes_N).double()
    clips_C = torch.bincount(classes_N, minlength=outputs_NC.shape[1])
    right_C = torch.bincount(classes_N, weights=right_N, minlength=outputs_NC.shape[1])
    return float((right_C / clips_C)[clips_C > 0].mean())
