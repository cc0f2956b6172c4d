"""Fits linear probes, which measure what a linear map can read from frozen vectors or from the features.

`trivium.evaluation.probe_choice` explains which splits they are fitted and chosen on.
Legend: N clips, E features.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from trivium.data.datamodule import DataModule
from trivium.evaluation.classification import classification_metrics
from trivium.evaluation.metrics import compute_metrics
from trivium.evaluation.predict import metrics_of
from trivium.evaluation.predictions import Predictions
from trivium.evaluation.probe_choice import Probe, Report, Rows, choose_classifier, choose_ridge, fitted_on
from trivium.evaluation.probe_targets import ClassRule, class_rule, is_score
from trivium.evaluation.vectors import collect_vectors, raw_vectors
from trivium.methods.base import Method
from trivium.methods.readout import Readout


def probe_run(
    method: Method,
    data: DataModule,
    *,
    target: str = "multimodal",
    classes: str = "",
    features: Sequence[str] = (),
    raw: bool = False,
    standardize: bool = False,
    report: Report | None = None,
) -> dict[str, dict[str, Any]]:
    """Probes the joint vector and each modality's vector, and returns the results by the vectors' names.

    target: "multimodal", a modality's name, or another target of the store, which holds class numbers.
    classes: how scores become classes (trivium.evaluation.probe_targets).
    features: names of the vectors to probe; empty means all.
    raw: True probes the features' means over time in place of the method's vectors.
    standardize: True scales the features of a probe to mean 0 and variance 1.
    report: shows a line of progress.

    A result is {"size", "fitted_on", "rule", "classes", "c", "valid", "test"}, with classification_metrics under
    "valid" and "test". For scores it also has "ridge": {"alpha", "valid", "test"}, with the protocol's
    metrics. The numbers of "valid" are those of a map that was fitted without it.
    Raises ValueError for an unknown target, vector or rule, and for fewer than two classes.
    """
    rule = class_rule(method, data.store, target, classes)
    vectors, targets = _read(method, data, target, raw)
    chosen = _chosen(list(vectors[fitted_on(vectors)]), features)
    rule.refuse_single_class(targets[fitted_on(targets)], f"{data.store.path}: split {fitted_on(targets)!r}")
    results: dict[str, dict[str, Any]] = {}
    for name in chosen:
        named = None if report is None else _prefixed(report, name)
        rows = {split: Rows(part[name], targets[split]) for split, part in vectors.items()}
        results[name] = {"size": rows[fitted_on(rows)].features.shape[1], "fitted_on": fitted_on(rows)}
        results[name] |= _probe_classes(rows, rule, standardize, named)
        if is_score(data.store, target):
            results[name]["ridge"] = _probe_scores(rows, method.metrics, standardize)
    return results


def _prefixed(report: Report, name: str) -> Report:
    """Returns a report whose lines begin with the name of the vectors."""
    return lambda text: report(f"{name}: {text}")


def _read(
    method: Method, data: DataModule, target: str, raw: bool, splits: Sequence[str] = ("valid", "test")
) -> tuple[dict[str, dict[str, Tensor]], dict[str, Tensor]]:
    """Returns split -> name -> vectors (N, E), and split -> targets (N,), all float64 on the CPU.

    splits: those to read beside the split to fit on, if the store has them.
    """
    filled = [split for split, clips in data.store.schema.counts.items() if clips]
    vectors, targets = {}, {}
    for split in [split for split in (fitted_on(filled), *splits) if split in filled]:
        loader = data.loader(split, device=method.device)
        vectors[split] = raw_vectors(loader) if raw else collect_vectors(method, loader)
        targets[split] = loader.split.targets[target].cpu().double()
    return vectors, targets


def _chosen(known: Sequence[str], features: Sequence[str]) -> Sequence[str]:
    """Returns the names of the vectors to probe. Raises ValueError for unknown ones."""
    unknown = [name for name in features if name not in known]
    if unknown:
        raise ValueError(f"features: {unknown} are not among the vectors {list(known)}")
    return features or known


def _labelled(rows: Mapping[str, Rows], rule: ClassRule) -> dict[str, Rows]:
    """Returns the rows with classes as targets."""
    return {split: Rows(part.features, rule.classes_of(part.targets)) for split, part in rows.items()}


def _probe_classes(
    rows: Mapping[str, Rows], rule: ClassRule, standardize: bool, report: Report | None
) -> dict[str, Any]:
    """Fits a classifier, and returns its rule, C and metrics."""
    labelled = _labelled(rows, rule)
    probe = choose_classifier(labelled, rule.classes, standardize=standardize, report=report)
    scores: dict[str, Any] = {
        split: classification_metrics(probe.on(split).outputs(labelled[split].features), labelled[split].targets)
        for split in ("valid", "test")
        if split in labelled
    }
    return {"rule": rule.name, "classes": rule.classes, "c": probe.strength, **scores}


def _probe_scores(rows: Mapping[str, Rows], protocol: str, standardize: bool) -> dict[str, Any]:
    """Fits a ridge regression, and returns its alpha and metrics."""
    probe = choose_ridge(rows, standardize=standardize)
    scores: dict[str, Any] = {
        split: compute_metrics(protocol, probe.on(split).outputs(rows[split].features)[:, 0], rows[split].targets)
        for split in ("valid", "test")
        if split in rows
    }
    return {"alpha": probe.strength, **scores}


@dataclass
class FittedReadout:
    """Holds the probe that `fit_readout` fitted, and a summary for JSON."""

    probe: Probe
    summary: dict[str, Any]

    def use(self, method: Method, split: str) -> None:
        """Sets the method's readout to the map with which `split` may be scored: for "valid", one fitted without it."""
        readout = method.readout
        assert isinstance(readout, Readout)
        readout.set(*self.probe.on(split))


def fit_readout(method: Method, data: DataModule, report: Report | None = None) -> FittedReadout:
    """Fits the readout of a `probed` method on its joint vectors, and sets it to the final map.

    It is ridge regression if the objective has one output, and else a linear classifier of the objective's classes. The
    summary holds what was chosen, and under "sign" the results of a probe of label > 0 on the same vectors; None if all
    labels to fit on are of one sign.
    Raises ValueError for a vector that is not finite, and for an objective that has outputs but no classes.
    """
    vectors, targets = _read(method, data, "multimodal", raw=False)
    rows = {split: Rows(part["joint"], targets[split]) for split, part in vectors.items()}
    probe, chosen = _choose(method, data, rows, report)
    sign = class_rule(method, data.store, "multimodal", "sign")
    both_signs = sign.kinds(targets[fitted_on(targets)]) > 1
    binary = _probe_classes(rows, sign, False, report) if both_signs else None
    fitted = FittedReadout(probe, {"fitted_on": fitted_on(rows), **chosen, "sign": binary})
    fitted.use(method, "test")
    return fitted


def validation_metrics(method: Method, data: DataModule) -> dict[str, float]:
    """Returns the protocol's metrics of the validation split with the readout that `fit_readout` would fit now.

    The method's readout stays as it is. Raises ValueError as `fit_readout` does.
    """
    vectors, targets = _read(method, data, "multimodal", raw=False, splits=("valid",))
    rows = {split: Rows(part["joint"], targets[split]) for split, part in vectors.items()}
    probe, _ = _choose(method, data, rows, None)
    score_N, probabilities_NC = method.objective.decode(probe.on("valid").outputs(rows["valid"].features))
    return metrics_of(method, Predictions(score_N, {}, probabilities_NC), rows["valid"].targets)


def _choose(
    method: Method, data: DataModule, rows: Mapping[str, Rows], report: Report | None
) -> tuple[Probe, dict[str, Any]]:
    """Returns the probe of the objective's scores or classes, and as plain JSON what was chosen."""
    if method.objective.outputs == 1:
        probe = choose_ridge(rows)
        return probe, {"kind": "ridge", "alpha": probe.strength}
    rule = class_rule(method, data.store, "multimodal", "objective")
    probe = choose_classifier(_labelled(rows, rule), rule.classes, report=report)
    return probe, {"kind": "classifier", "classes": rule.classes, "c": probe.strength}
