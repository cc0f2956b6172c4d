"""Validates while a method trains, with the predictions and metrics of a test, over the whole split."""

from __future__ import annotations

import math
from typing import Any

import lightning as L
import torch

from trivium.config.monitor import Monitor
from trivium.core.metric_names import METRICS
from trivium.data.batch import Batch
from trivium.data.datamodule import DataModule
from trivium.data.resident import ResidentSplit
from trivium.data.target import MULTIMODAL
from trivium.evaluation.predict import metrics_of
from trivium.evaluation.predictions import Collector, Predictions
from trivium.evaluation.probe import validation_metrics
from trivium.methods.base import Method, Prediction
from trivium.methods.meter import NonFiniteLossError


class Validation(L.Callback):
    """Logs val/loss and the protocol's metrics, the same on every rank, and steps the schedule by the monitored one.

    A method that is scored by a probe has metrics only if one of them is the monitor. The probe is then fitted after
    each epoch on frozen vectors of the train split, as it is after training.
    """

    def __init__(self, monitor: Monitor) -> None:
        self.monitor = monitor
        self._collector: Collector
        # False for a method that has no scores while it trains.
        self._scored = True

    def on_validation_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, Method)
        # This error names the term and the clips, where a validation loss would only be NaN.
        pl_module.refuse_non_finite()
        self._collector = Collector(len(_split(trainer)), pl_module.device)

    def on_validation_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        prediction: Prediction | None = outputs["prediction"]
        losses = {name: value for name, value in outputs.items() if name != "prediction"}
        self._scored = prediction is not None
        score, probabilities = (
            (next(iter(losses.values())), None) if prediction is None else (prediction.score, prediction.probabilities)
        )
        self._collector.add(batch.index, batch.weight, score, losses, probabilities)

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, Method)
        values = self._values(trainer, pl_module, self._collector.result(over_ranks=True))
        # A tensor in float64, because Lightning would round a number to float32. Without logger, because the recorder
        # gives loggers the whole row of the epoch.
        shown_names = ("loss", METRICS[pl_module.metrics][0])
        for name, value in values.items():
            exact, shown = torch.tensor(value, dtype=torch.float64), name in shown_names
            pl_module.log(f"val/{name}", exact, prog_bar=shown, logger=False)
        if pl_module.schedule is not None:
            pl_module.schedule.after_epoch(values[self.monitor.name])

    def _values(self, trainer: L.Trainer, method: Method, predictions: Predictions) -> dict[str, float]:
        """Returns losses and metrics by name. Raises NonFiniteLossError for a loss that is NaN or infinite."""
        losses = {name: float(value_N.mean()) for name, value_N in predictions.losses.items()}
        for name, value in losses.items():
            if not math.isfinite(value):
                epoch = trainer.current_epoch + 1
                raise NonFiniteLossError(
                    f"val/{name} is {value} after epoch {epoch}; the last checkpoint is from before it"
                )
        if self._scored:
            return {**losses, **metrics_of(method, predictions, _split(trainer).targets[MULTIMODAL])}
        if self.monitor.is_loss:
            return losses
        data: DataModule = trainer.datamodule  # type: ignore[attr-defined]
        # One rank fits the probe, on whole splits, and sends the metrics to the others.
        metrics = validation_metrics(method, data) if trainer.is_global_zero else {}
        # On every rank, because Lightning expects evaluation mode until validation ends.
        method.eval()
        return {**losses, **trainer.strategy.broadcast(metrics)}


def _split(trainer: L.Trainer) -> ResidentSplit:
    split: ResidentSplit = trainer.val_dataloaders.split  # type: ignore[union-attr]
    return split
