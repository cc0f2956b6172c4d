"""Takes the last step of a run: tests the selected weights, and records the run.

The test split is opened here, and nowhere else in a run: training is over, and the weights have been selected on the
validation split.
"""

from __future__ import annotations

from typing import Any

import lightning as L

from trivium.core.files import write_json
from trivium.data.datamodule import BatchLoader, DataModule
from trivium.data.store import Store
from trivium.data.target import MULTIMODAL
from trivium.evaluation.predict import (
    confusion_of,
    details_of,
    guess_of,
    metrics_of,
    predict_split,
    score_split,
    write_predictions,
)
from trivium.evaluation.predictions import Predictions
from trivium.evaluation.probe import FittedReadout, fit_readout
from trivium.methods.base import Method
from trivium.runs.audit import write_audit
from trivium.runs.directory import RunDirectory
from trivium.runs.load import describe_model
from trivium.runs.recorder import Recorder
from trivium.runs.weights import load_weights, save_weights

_FROM_RECORD = ("seed", "config_hash", "git_commit", "resumed_at", "versions", "hardware")


def run_final_test(
    run: RunDirectory, trainer: L.Trainer, recorder: Recorder, store: Store, data: DataModule, method: Method
) -> None:
    """Evaluates the selected weights on validation and test, once each, and writes the run's record.

    result.json is written last: a directory that has it is a finished run's. Raises ValueError if another folder lies
    in the place of the run's meanwhile.
    """
    run.refuse_if_replaced()
    notes = load_weights(method, run.weights)
    method.to(trainer.strategy.root_device)
    readout = _fit_readout(method, data, run, notes) if method.probed else None
    parts: dict[str, tuple[BatchLoader, Predictions]] = {}
    scores: dict[str, dict[str, float]] = {}
    for split in [split for split in ("valid", "test") if split in store.schema.counts]:
        loader = data.loader(split, device=method.device)
        if readout is not None:
            readout.use(method, split)
        try:
            predictions = predict_split(method, loader)
        except ValueError as error:
            raise ValueError(f"{store.path}: split {split!r}: {error}") from error
        parts[split] = (loader, predictions)
        details = details_of(method, predictions, loader.split.targets[MULTIMODAL])
        scores[_as_in_result(split)] = score_split(method, loader, predictions) | details
    run.refuse_if_replaced()
    write_predictions(run.path / "predictions.csv", parts)
    write_json(run.path / "model.json", describe_model(store, data, method))
    run.update_record(status="finished", **({"unsent": "not yet"} if trainer.loggers else {}))
    result = {
        **scores,
        **_description(run, trainer, recorder, store, method),
        **_guess(method, data, {split: loader for split, (loader, _) in parts.items()}),
        **confusion_of(method, {_as_in_result(split): part for split, part in parts.items()}),
        "target": {"name": data.target_name, **data.target.to_dict()},
        "modalities": list(data.reads),
        **({} if readout is None else {"probe": readout.summary}),
    }
    # The run's own numbers are computed, so that the audit can change none of them.
    if recorder.audit:
        write_audit(run, len(recorder.history), data, method)
    write_json(run.result_file, result)


def _fit_readout(method: Method, data: DataModule, run: RunDirectory, notes: dict[str, Any]) -> FittedReadout:
    """Fits the probe that gives a probed method its score, and writes the run's weights again with it."""
    print("fitting linear probes on frozen features", flush=True)
    readout = fit_readout(method, data)
    save_weights(method, run.weights, **notes)
    return readout


def _description(
    run: RunDirectory, trainer: L.Trainer, recorder: Recorder, store: Store, method: Method
) -> dict[str, Any]:
    """Returns the facts of result.json on the run's record, data, training and model."""
    record, parameters = run.record(), list(method.parameters())
    return {
        "method": method.name or type(method).__name__,
        **{key: record[key] for key in _FROM_RECORD if key in record},
        **({"extended_at": record["extended_at"]} if "extended_at" in record else {}),
        "feature_set": store.schema.feature_set,
        **({} if store.schema.fold is None else {"fold": store.schema.fold, "folds": store.schema.folds}),
        "store_checksum": store.provenance["checksum"],
        "seconds": round(recorder.state_dict()["seconds"], 3),
        "world_size": trainer.world_size,
        "best_epoch": recorder.best_epoch,
        "selection": recorder.selection,
        "epochs": len(recorder.history),
        "parameters": sum(parameter.numel() for parameter in parameters),
        "trained_parameters": sum(parameter.numel() for parameter in parameters if parameter.requires_grad),
        "metrics": method.metrics,
        **({} if recorder.imbalance is None else recorder.imbalance.of_run()),
    }


def _guess(method: Method, data: DataModule, loaders: dict[str, BatchLoader]) -> dict[str, Any]:
    """Returns how well a constant predicts each split, which a model has to beat.

    Of a score it is "train_mean_mae", the MAE of the train mean. Of other targets it is "train_guess", the metrics of
    predicting what is most frequent in the train split, or its mean.
    """
    train = data.clips("train").targets[MULTIMODAL]
    if data.target.is_score:
        mean = float(train.mean(dtype="float64"))
        errors = {split: loader.split.targets[MULTIMODAL].double() - mean for split, loader in loaders.items()}
        return {"train_mean_mae": {_as_in_result(s): float(error.abs().mean()) for s, error in errors.items()}}
    guesses = {
        _as_in_result(split): metrics_of(
            method, guess_of(data.target, train, len(loader.split)), loader.split.targets[MULTIMODAL]
        )
        for split, loader in loaders.items()
    }
    return {"train_guess": guesses}


def _as_in_result(split: str) -> str:
    return "val" if split == "valid" else split
