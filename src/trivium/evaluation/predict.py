"""Predicts a split with a trained method, in evaluation mode, from any subset of modalities."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from trivium.core.files import write_text
from trivium.data.batch import Batch
from trivium.data.datamodule import BatchLoader
from trivium.evaluation.metrics import compute_metrics
from trivium.evaluation.predictions import Collector, Predictions
from trivium.methods.base import Method
from trivium.objectives.task import CrossEntropy


@torch.no_grad()
def predict_split(
    method: Method,
    loader: BatchLoader,
    modalities: Sequence[str] | None = None,
    change: Callable[[Batch], Batch] | None = None,
) -> Predictions:
    """Predicts every clip of a split once, in evaluation mode and on the method's device.

    modalities: those to predict from; None or empty means all.
    change: applied to each batch first. It must leave the clips in their places (Batch.index).
    Clips without labels have no losses.
    Raises ValueError for an unknown modality, and, with its id, for a clip that has none of those to predict from.
    """
    method.eval()
    collector = Collector(len(loader.split), loader.split.device)
    for batch in loader:
        if modalities:
            batch = batch.restrict(list(modalities))
        if change is not None:
            batch = change(batch)
        refuse_all_absent(loader, batch.present, batch.index)
        match_dtype(batch, method)
        prediction = method.predict(batch)
        losses = {}
        if (target_B := batch.targets.get("multimodal")) is not None:
            losses["loss"] = method.objective(prediction.outputs, target_B.to(prediction.outputs.dtype))
        collector.add(batch.index, batch.weight, prediction.score, losses, prediction.probabilities)
    targets = loader.split.targets.get("multimodal")
    return replace(
        collector.result(over_ranks=False),
        ids=list(loader.split.ids),
        targets=None if targets is None else targets.double().cpu(),
    )


def score_split(method: Method, loader: BatchLoader, predictions: Predictions) -> dict[str, float]:
    """Computes the protocol's metrics over the whole split, and as "loss" the mean of the objective."""
    metrics = metrics_of(method, predictions, loader.split.targets["multimodal"])
    return {**metrics, "loss": float(predictions.loss.mean())}


def metrics_of(method: Method, predictions: Predictions, targets_N: Tensor) -> dict[str, float]:
    """Computes the protocol's metrics of the decoded scores, and those that the config adds.

    If the objective has classes, `acc_argmax` is among them.
    Raises ValueError, naming it, for an added metric that returns no number.
    """
    targets_N, classes_N = targets_N.cpu(), None
    if isinstance(method.objective, CrossEntropy):
        classes_N = method.objective.classes(targets_N)
    score_N, target_N = predictions.score.numpy(), targets_N.numpy()
    values = compute_metrics(
        method.metrics, score_N, target_N, probabilities=predictions.probabilities, classes=classes_N
    )
    return values | added_metrics(method, score_N, target_N)


def added_metrics(method: Method, scores_N: Any, targets_N: Any) -> dict[str, float]:
    """Computes the metrics that the config adds to those of its protocol, of a whole split's numpy arrays.

    Raises ValueError naming a metric that returns no number.
    """
    values: dict[str, float] = {}
    for name, metric in method.added_metrics.items():
        value = metric(scores_N, targets_N)
        try:
            values[name] = float(value)
        except (TypeError, ValueError):
            raise ValueError(f"metrics.{name}: expected a number from it, found {value!r}") from None
    return values


def write_predictions(path: Path, parts: dict[str, tuple[BatchLoader, Predictions]]) -> None:
    """Writes a CSV file with a row for each clip: split, id, target, prediction, and class probabilities if any.

    parts: split -> its loader and predictions.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    classes = max((p.probabilities.shape[1] for _, p in parts.values() if p.probabilities is not None), default=0)
    writer.writerow(["split", "id", "target", "prediction", *(f"p{c}" for c in range(classes))])
    for split, (loader, predictions) in parts.items():
        targets = loader.split.targets["multimodal"].tolist()
        rows = predictions.probabilities.tolist() if predictions.probabilities is not None else [[]] * len(targets)
        for clip, target, score, row in zip(loader.split.ids, targets, predictions.score.tolist(), rows, strict=True):
            writer.writerow([split, clip, target, score, *row])
    write_text(path, text.getvalue())


def match_dtype(batch: Batch, method: Method) -> None:
    """Converts the batch's features, in place, to the method's precision; token ids stay."""
    dtype = next(p.dtype for p in method.parameters() if p.is_floating_point())
    batch.streams = {
        name: replace(stream, values=stream.values.to(dtype)) if stream.values.is_floating_point() else stream
        for name, stream in batch.streams.items()
    }


def refuse_all_absent(loader: BatchLoader, present_BM: Tensor, index: Tensor) -> None:
    """Raises ValueError, with the id of the first, if a clip of the batch has no modality."""
    empty_B = ~present_BM.any(dim=1)
    if bool(empty_B.any()):
        clip = loader.split.ids[int(index[empty_B][0])]
        raise ValueError(f"clip {clip!r} has none of the modalities to predict from; leave it out or choose others")
