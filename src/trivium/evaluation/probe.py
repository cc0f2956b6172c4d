"""Fits linear probes, which measure what a linear map can read from frozen vectors or from the features.

`trivium.evaluation.probe_choice` explains which splits they are fitted and chosen on.
Legend: N clips, E features.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import Tensor

from trivium.core.metric_names import TASKS, USUAL
from trivium.data.datamodule import DataModule
from trivium.data.target import MULTIMODAL, Target
from trivium.evaluation.classification import classification_metrics
from trivium.evaluation.metrics import compute_metrics
from trivium.evaluation.predict import metrics_of
from trivium.evaluation.predictions import Predictions
from trivium.evaluation.probe_choice import (
    Probe,
    Report,
    Rows,
    choose_classifier,
    choose_each,
    choose_label_classifier,
    choose_ridge,
    fitted_on,
)
from trivium.evaluation.probe_targets import ClassRule, class_rule, refuse_rule, target_of
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

    target: "multimodal", which is the one that the run predicts, a modality's name, or another target of the store.
    classes: how one score becomes classes (trivium.evaluation.probe_targets).
    features: names of the vectors to probe; empty means all.
    raw: True probes the features' means over time in place of the method's vectors.
    standardize: True scales the features of a probe to mean 0 and variance 1.
    report: shows a line of progress.

    A result is {"size", "fitted_on"} and what belongs to the target's kind, each with metrics under "valid" and "test":
    * classes: {"rule", "classes", "c", "valid", "test"}, with classification_metrics
    * one score: the same of the classes that it becomes, and "ridge": {"alpha", "valid", "test"}, with the protocol's
    * several scores: "ridge" alone, with one alpha a score
    * labels: {"rule", "labels", "c", "valid", "test"}, with one C a label and the metrics of labels
    The numbers of "valid" are those of a map that was fitted without it.
    Raises ValueError for an unknown target, vector or rule, and for fewer than two classes.
    """
    described = target_of(data, target)
    refuse_rule(described, target, classes)
    rule = class_rule(method, described, target, classes) if described.task in ("score", "classes") else None
    vectors, targets = _read(method, data, target, raw)
    chosen = _chosen(list(vectors[fitted_on(vectors)]), features)
    if rule is not None:
        rule.refuse_single_class(targets[fitted_on(targets)], f"{data.store.path}: split {fitted_on(targets)!r}")
    results: dict[str, dict[str, Any]] = {}
    for name in chosen:
        named = None if report is None else _prefixed(report, name)
        rows = {split: Rows(part[name], targets[split]) for split, part in vectors.items()}
        results[name] = {"size": rows[fitted_on(rows)].features.shape[1], "fitted_on": fitted_on(rows)}
        if rule is not None:
            results[name] |= _probe_classes(rows, rule, standardize, refits(data), named)
        if described.kind == "labels":
            results[name] |= _probe_labels(rows, described, standardize, refits(data), named)
        if described.kind == "score":
            results[name]["ridge"] = _probe_scores(rows, _protocol_of(described, method), standardize, refits(data))
    return results


def refits(data: DataModule) -> bool:
    """Tells whether probes are fitted again on the validation split: not where train clips lack labels that it has."""
    return data.store.train_labels is None


def _protocol_of(target: Target, method: Method) -> str:
    """Returns the run's protocol of metrics where it is for the target, and else the usual one."""
    return method.metrics if TASKS[method.metrics] == target.task else USUAL[target.task]


def _prefixed(report: Report, name: str) -> Report:
    """Returns a report whose lines begin with the name of the vectors."""
    return lambda text: report(f"{name}: {text}")


def _read(
    method: Method, data: DataModule, target: str, raw: bool, splits: Sequence[str] = ("valid", "test")
) -> tuple[dict[str, dict[str, Tensor]], dict[str, Tensor]]:
    """Returns split -> name -> vectors (N, E), and split -> targets (N,) or (N, K), all float64 on the CPU.

    splits: those to read beside the split to fit on, if the store has them.
    """
    filled = [split for split, clips in data.store.schema.counts.items() if clips]
    if data.store.train_labels:
        filled = [split for split in filled if split != "probe"]
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
    rows: Mapping[str, Rows], rule: ClassRule, standardize: bool, refit: bool, report: Report | None
) -> dict[str, Any]:
    """Fits a classifier, and returns its rule, C and metrics."""
    labelled = _labelled(rows, rule)
    probe = choose_classifier(labelled, rule.classes, standardize=standardize, refit=refit, report=report)
    scores: dict[str, Any] = {
        split: classification_metrics(probe.on(split).outputs(labelled[split].features), labelled[split].targets)
        for split in ("valid", "test")
        if split in labelled
    }
    return {"rule": rule.name, "classes": rule.classes, "c": probe.strength, **scores}


def _probe_labels(
    rows: Mapping[str, Rows], target: Target, standardize: bool, refit: bool, report: Report | None
) -> dict[str, Any]:
    """Fits a classifier a label, and returns the names of the labels, each C, and the metrics of labels."""
    choose = partial(choose_label_classifier, standardize=standardize, refit=refit, report=report)
    probe = choose_each(rows, choose)
    scores: dict[str, Any] = {}
    for split in [split for split in ("valid", "test") if split in rows]:
        likely_NC = probe.on(split).outputs(rows[split].features).sigmoid()
        guess_NC = (likely_NC >= 0.5).to(likely_NC.dtype)
        scores[split] = compute_metrics("labels", guess_NC, rows[split].targets, probabilities=likely_NC)
    return {"rule": "each label", "labels": list(target.names), "c": probe.strength, **scores}


def _probe_scores(rows: Mapping[str, Rows], protocol: str, standardize: bool, refit: bool) -> dict[str, Any]:
    """Fits a ridge regression, of several scores one each, and returns its alpha and metrics."""
    probe = _ridge(rows, standardize, refit)
    scores: dict[str, Any] = {}
    for split in [split for split in ("valid", "test") if split in rows]:
        targets, outputs_NK = rows[split].targets, probe.on(split).outputs(rows[split].features)
        scores[split] = compute_metrics(protocol, outputs_NK.view(targets.shape), targets)
    return {"alpha": probe.strength, **scores}


def _ridge(rows: Mapping[str, Rows], standardize: bool, refit: bool) -> Probe:
    """Returns the ridge regression of targets (N,), or one for each column of targets (N, K)."""
    choose = partial(choose_ridge, standardize=standardize, refit=refit)
    return choose_each(rows, choose) if rows[fitted_on(rows)].targets.dim() == 2 else choose(rows)


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

    It is a linear classifier of the objective's classes, one of each label, or ridge regression of each score. The
    summary holds what was chosen, and under "sign" the results of a probe of label > 0 on the same vectors; None if the
    target is not one score, or all labels to fit on are of one sign.
    Raises ValueError for a vector that is not finite, and for an objective that has outputs but no classes.
    """
    vectors, targets = _read(method, data, "multimodal", raw=False)
    rows = {split: Rows(part["joint"], targets[split]) for split, part in vectors.items()}
    probe, chosen = _choose(method, data, rows, report)
    binary = _probe_sign(method, data, rows, report)
    fitted = FittedReadout(probe, {"fitted_on": fitted_on(rows), **chosen, "sign": binary})
    fitted.use(method, "test")
    return fitted


def _probe_sign(
    method: Method, data: DataModule, rows: Mapping[str, Rows], report: Report | None
) -> dict[str, Any] | None:
    """Returns the probe of score > 0, or None for other targets and for scores of one sign."""
    if not data.target.is_score:
        return None
    rule = class_rule(method, data.target, MULTIMODAL, "sign")
    if rule.kinds(rows[fitted_on(rows)].targets) < 2:
        return None
    return _probe_classes(rows, rule, False, refits(data), report)


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
    """Returns the probe of the objective's scores, classes or labels, and as plain JSON what was chosen."""
    target = data.target
    if target.kind == "labels":
        probe = choose_each(rows, partial(choose_label_classifier, refit=refits(data), report=report))
        return probe, {"kind": "classifier of each label", "labels": list(target.names), "c": probe.strength}
    if target.kind == "score" and method.objective.outputs == target.columns:
        probe = _ridge(rows, False, refits(data))
        return probe, {"kind": "ridge", "alpha": probe.strength}
    rule = class_rule(method, target, MULTIMODAL, "objective" if target.is_score else "")
    probe = choose_classifier(_labelled(rows, rule), rule.classes, refit=refits(data), report=report)
    return probe, {"kind": "classifier", "classes": rule.classes, "c": probe.strength}
