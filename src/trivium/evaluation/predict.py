"""Predicts a split with a trained method, in evaluation mode, from any subset of modalities."""

from __future__ import annotations

import csv
import inspect
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from trivium.core.files import write_text
from trivium.data.batch import Batch
from trivium.data.datamodule import BatchLoader
from trivium.data.target import MULTIMODAL, Target
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
        if (target_B := batch.targets.get(MULTIMODAL)) is not None:
            # Class numbers must not be rounded to half precision.
            dtype = torch.promote_types(target_B.dtype, prediction.outputs.dtype)
            losses["loss"] = method.objective(prediction.outputs, target_B.to(dtype))
        collector.add(batch.index, batch.weight, prediction.score, losses, prediction.probabilities)
    targets = loader.split.targets.get(MULTIMODAL)
    gathered = collector.result(over_ranks=False)
    _refuse_not_finite(loader, gathered.score)
    return replace(
        gathered,
        ids=list(loader.split.ids),
        targets=None if targets is None else targets.double().cpu(),
        target=method.objective.target,
    )


def _refuse_not_finite(loader: BatchLoader, score: Tensor) -> None:
    bad = torch.nonzero(~torch.isfinite(score.reshape(len(score), -1)).all(dim=1)).flatten().tolist()
    if bad:
        raise ValueError(
            f"{len(bad)} of {len(score)} predictions are not finite, the first of clip {loader.split.ids[bad[0]]!r}: "
            "does it have a fill value, or features on another scale than the others (data.standardize=zscore)?"
        )


def score_split(method: Method, loader: BatchLoader, predictions: Predictions) -> dict[str, float]:
    """Computes the protocol's metrics over the whole split, and as "loss" the mean of the objective."""
    metrics = metrics_of(method, predictions, loader.split.targets[MULTIMODAL])
    return {**metrics, "loss": float(predictions.loss.mean())}


def metrics_of(method: Method, predictions: Predictions, targets_N: Tensor) -> dict[str, float]:
    """Computes the protocol's metrics of the decoded predictions, and those that the config adds.

    If the objective has classes of a score, `acc_argmax` is among them.
    Raises ValueError, naming it, for an added metric that returns no number.
    """
    targets_N, classes_N = targets_N.cpu(), None
    if isinstance(method.objective, CrossEntropy) and method.objective.target.is_score:
        classes_N = method.objective.classes(targets_N)
    score_N, target_N = predictions.score.numpy(), targets_N.numpy()
    values = compute_metrics(
        method.metrics, score_N, target_N, probabilities=predictions.probabilities, classes=classes_N
    )
    return values | added_metrics(method, score_N, target_N, predictions.probabilities)


def details_of(method: Method, predictions: Predictions, targets_N: Tensor) -> dict[str, float]:
    """Returns "METRIC/NAME" -> value of each class, label or score; empty for a single score."""
    names = method.objective.target.names
    if not names:
        return {}
    from trivium.evaluation.task_metrics import metrics_by_name

    score, target = predictions.score.numpy(), targets_N.cpu().numpy()
    return metrics_by_name(method.metrics, names, score, target, predictions.probabilities)


def confusion_of(method: Method, parts: Mapping[str, tuple[BatchLoader, Predictions]]) -> dict[str, Any]:
    """Returns "confusion": split -> counts by true (row) and predicted class; empty for other targets than classes.

    parts: split -> its loader and predictions.
    """
    if method.objective.target.kind != "classes":
        return {}
    from trivium.evaluation.task_metrics import confusion

    return {
        "confusion": {
            split: confusion(predictions.probabilities, loader.split.targets[MULTIMODAL].cpu().numpy())
            for split, (loader, predictions) in parts.items()
        }
    }


def guess_of(target: Target, train_targets: Any, clips: int) -> Predictions:
    """Returns what could be predicted without looking at a clip: the same for each of `clips`.

    It is the train split's mean score, or the share of its clips that are of each class or have each label.
    """
    train = torch.as_tensor(train_targets).double()
    if target.kind == "score":
        return Predictions(train.mean(dim=0).expand(clips, *target.shape).clone(), {}, None, target=target)
    if target.kind == "classes":
        share_C = torch.bincount(train.long(), minlength=len(target.names)) / len(train)
        score_N = share_C.argmax().double().expand(clips).clone()
        return Predictions(score_N, {}, share_C.double().expand(clips, -1).clone(), target=target)
    share_C = train.mean(dim=0)
    likely_NC = share_C.expand(clips, -1).clone()
    return Predictions((likely_NC >= 0.5).double(), {}, likely_NC, target=target)


def added_metrics(
    method: Method, predictions: Any, targets: Any, probabilities: Tensor | None = None
) -> dict[str, float]:
    """Computes the metrics that the config adds to those of its protocol, of a whole split's numpy arrays.

    A metric gets predictions and targets: (N,) scores or class numbers, (N, K) of several scores, (N, C) labels of 0
    and 1. One that has a parameter `probabilities` gets those too, (N, C) float64; None in a regression.
    Raises ValueError naming a metric that returns no number.
    """
    values: dict[str, float] = {}
    for name, metric in method.added_metrics.items():
        more = {}
        if "probabilities" in inspect.signature(metric).parameters:
            more["probabilities"] = None if probabilities is None else probabilities.double().cpu().numpy()
        value = metric(predictions, targets, **more)
        try:
            values[name] = float(value)
        except (TypeError, ValueError):
            raise ValueError(f"metrics.{name}: expected a number from it, found {value!r}") from None
    return values


def write_predictions(path: Path, parts: dict[str, tuple[BatchLoader, Predictions]]) -> None:
    """Writes a CSV file with a row for each clip: split, id, and the columns of `Predictions.columns`.

    parts: split -> its loader and predictions.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    heads: list[str] = []
    for split, (_, predictions) in parts.items():
        columns = predictions.columns()
        if not heads:
            heads = list(columns)
            writer.writerow(["split", "id", *heads])
        for clip, *row in zip(predictions.ids, *columns.values(), strict=True):
            writer.writerow([split, clip, *row])
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
