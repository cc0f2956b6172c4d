"""Draws one bar for the epoch that is being trained; the lines of finished epochs stay above it."""

from __future__ import annotations

from typing import Any

import lightning as L
from lightning.pytorch.callbacks import RichProgressBar
from rich.progress import BarColumn

# Leaves room in 80 columns for three digits of epochs and four of batches.
_WIDTH = 20


class EpochBar(RichProgressBar):
    """Counts epochs from 1, as metrics.csv and the result do, and fits into 80 columns.

    Losses are in the epochs' lines, which the recorder prints, and not behind the bar, where Lightning has them.
    """

    def configure_columns(self, trainer: L.Trainer) -> list[Any]:
        columns = super().configure_columns(trainer)
        for column in columns:
            if isinstance(column, BarColumn):
                column.bar_width = _WIDTH
        return columns

    def get_metrics(self, trainer: L.Trainer, pl_module: L.LightningModule) -> dict[str, Any]:
        return {}

    def _get_train_description(self, current_epoch: int) -> str:
        return f"epoch {current_epoch + 1}/{self.trainer.max_epochs}"
