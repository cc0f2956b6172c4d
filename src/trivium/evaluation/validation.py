"""Validation while fitting: the same predictions and metrics as a test, computed once over the whole split."""

from __future__ import annotations

import math
from typing import Any

import lightning as L
import torch

from trivium.data.batch import Batch
from trivium.data.resident import ResidentSplit
from trivium.evaluation.predict import metrics_of
from trivium.evaluation.predictions import Collector, Predictions
from trivium.methods.base import Method, Prediction
from trivium.methods.meter import NonFiniteLossError


class Validation(L.Callback):
    """Logs val/loss and the protocol's metrics, alike on every rank, and tells the schedule."""

    _collector: Collector
    _scored = True  # whether the method has scores while it trains

    def on_validation_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, Method)
        pl_module.refuse_non_finite()  # with its term and clips, before a validation loss that only says NaN
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
        loss = outputs["loss"]
        self._scored = prediction is not None
        score, probabilities = (loss, None) if prediction is None else (prediction.score, prediction.probabilities)
        self._collector.add(batch.index, batch.weight, score, loss, probabilities)

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, Method)
        values = self._values(trainer, pl_module, self._collector.result(over_ranks=True))
        # float64: Lightning would round to float32. logger=False: the recorder gives loggers the epoch's whole row.
        for name, value in values.items():
            exact, shown = torch.tensor(value, dtype=torch.float64), name in ("loss", "mae")
            pl_module.log(f"val/{name}", exact, prog_bar=shown, logger=False)
        if pl_module.schedule is not None:
            pl_module.schedule.after_epoch(values["loss"])

    def _values(self, trainer: L.Trainer, method: Method, predictions: Predictions) -> dict[str, float]:
        loss = float(predictions.loss.mean())
        if not math.isfinite(loss):
            raise NonFiniteLossError(
                f"val/loss is {loss} after epoch {trainer.current_epoch + 1}; the last checkpoint is from before it"
            )
        if not self._scored:
            return {"loss": loss}
        return {"loss": loss, **metrics_of(method, predictions, _split(trainer).targets["multimodal"])}


def _split(trainer: L.Trainer) -> ResidentSplit:
    split: ResidentSplit = trainer.val_dataloaders.split  # type: ignore[union-attr]
    return split
