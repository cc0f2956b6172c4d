"""Scores trained methods: from a method and a split to numbers.

metrics             the field's metrics of a split's predictions; task_metrics: of classes, labels and several scores
predict             predictions of a split (predictions: gathered by clip) and their metrics; validation: while fitting
probe               linear probes of frozen vectors: vectors, probe_targets, probe_choice, linear_models, classification
missing_modalities  the protocols of missing and disturbed modalities: subsets, missing_rates, feature_noise, shapley
erased_steps        LNLN's protocol: single frames and words are erased; averages: over rates, as papers print them
representation_alignment  agreement of a modality's vectors with the joint ones
significance        paired tests over seeds, Holm's correction, equivalence, intervals
clip_statistics     metrics as means over clips, for intervals over seeds and clips

Functions on plain numbers and tensors are here too. Metrics of scores, by protocol (mosi, sims, regression), with the
Shapley value of each modality in one, and a paired test over seeds:

>>> from trivium.evaluation import compute_metrics, shapley_values
>>> compute_metrics("regression", [0.5, 1.0, -2.0], [1.0, 1.0, -1.0])["mae"]
0.5
>>> shapley_values([0.0, 0.25, 0.5, 1.0])  # accuracy from nothing, text, audio, both
array([0.375, 0.625])
>>> from trivium.evaluation import bootstrap_interval, holm, paired, t_test, wilcoxon
>>> ours, theirs = [0.71, 0.73, 0.72, 0.75], [0.70, 0.70, 0.71, 0.73]
>>> test = paired(ours, theirs)
>>> round(test.t_p, 3), round(t_test([0.01, 0.03, 0.01, 0.02]), 3)
(0.035, 0.035)
>>> test.wilcoxon_p, wilcoxon([0.01, 0.03, 0.01, 0.02])
(0.125, 0.125)
>>> holm([0.01, 0.04, 0.03])
[0.03, 0.06, 0.06]
>>> bootstrap_interval([1.0, 1.0, 1.0])
(1.0, 1.0)

Whether two methods are the same within a margin, the difference that so many seeds could show, and an interval that
carries both seeds and clips:

>>> from trivium.evaluation import equivalence_test, seeds_and_clips_interval, smallest_difference
>>> equivalence_test([0.004, -0.003, 0.002, 0.001, -0.002], margin=0.02) < 0.001
True
>>> round(smallest_difference(0.02, 5), 3)
0.033
>>> seeds_and_clips_interval([[0.5, 0.5], [0.5, 0.5]])
(0.5, 0.5)

Metrics of class scores, and how far one modality's vectors have the joint vectors' neighbours:

>>> import torch
>>> from trivium.evaluation import align, balanced_accuracy, classification_metrics
>>> outputs, classes = torch.eye(4), torch.tensor([0, 1, 2, 2])
>>> balanced_accuracy(outputs, classes) == classification_metrics(outputs, classes)["balanced_accuracy"]
True
>>> vectors = torch.eye(6).double() + torch.arange(36).view(6, 6) / 36
>>> align(vectors, vectors, k=2)["mutual_knn"]
1.0
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trivium.evaluation.classification import balanced_accuracy, classification_metrics
    from trivium.evaluation.metrics import compute_metrics
    from trivium.evaluation.representation_alignment import align
    from trivium.evaluation.shapley import shapley_values
    from trivium.evaluation.significance import (
        bootstrap_interval,
        equivalence_test,
        holm,
        paired,
        seeds_and_clips_interval,
        smallest_difference,
        t_test,
        wilcoxon,
    )

__all__ = [
    "align",
    "balanced_accuracy",
    "bootstrap_interval",
    "classification_metrics",
    "compute_metrics",
    "equivalence_test",
    "holm",
    "paired",
    "seeds_and_clips_interval",
    "shapley_values",
    "smallest_difference",
    "t_test",
    "wilcoxon",
]

_HOME = {
    "align": "representation_alignment",
    "balanced_accuracy": "classification",
    "bootstrap_interval": "significance",
    "classification_metrics": "classification",
    "compute_metrics": "metrics",
    "equivalence_test": "significance",
    "holm": "significance",
    "paired": "significance",
    "seeds_and_clips_interval": "significance",
    "shapley_values": "shapley",
    "smallest_difference": "significance",
    "t_test": "significance",
    "wilcoxon": "significance",
}


def __getattr__(name: str) -> Any:
    # Lazy on purpose: a report reads metrics and tests without torch.
    if name in _HOME:
        return getattr(import_module(f"trivium.evaluation.{_HOME[name]}"), name)
    raise AttributeError(f"module 'trivium.evaluation' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
