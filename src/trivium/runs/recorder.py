"""Records a run while it trains: metrics.csv, the best weights, and the checkpoint to resume from."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Checkpoint

from trivium.config.monitor import Monitor
from trivium.core.distributed import sum_over_ranks
from trivium.core.files import csv_text, write_text
from trivium.core.metric_names import METRICS
from trivium.methods.base import Method
from trivium.methods.learning_imbalance import LearningImbalance
from trivium.runs.directory import RunDirectory
from trivium.runs.loggers import log_epoch
from trivium.runs.weights import save_weights

# The width of a terminal.
_COLUMNS = 80


class Recorder(Checkpoint):
    """Writes metrics, weights and checkpoints of a run.

    It runs after every other callback (Lightning puts Checkpoint callbacks last), so that their state is complete.

    With select "best", weights are saved when the monitor is better than before, and after the first epoch in any case,
    as its monitor may be undefined. With "last" they are saved after each epoch. With audit, those of each epoch are
    kept beside them (trivium.runs.audit). With learning_imbalance, that of each epoch is among its numbers. The
    checkpoint is written after each epoch's validation and, if checkpoint_every > 0, after each checkpoint_every
    batches inside an epoch.
    """

    def __init__(
        self,
        run: RunDirectory,
        monitor: Monitor,
        *,
        checkpoint_every: int = 0,
        select: str = "best",
        log_steps: bool = False,
        audit: bool = False,
        learning_imbalance: bool = False,
        print_lines: bool = False,
    ) -> None:
        self.run, self.monitor, self.select = run, monitor, select
        self.log_steps, self.print_lines = log_steps, print_lines
        self.audit = audit
        self.imbalance = LearningImbalance() if learning_imbalance else None
        self.checkpoint_every = checkpoint_every
        self.history: list[dict[str, float]] = []
        self.steps: list[dict[str, float]] = []
        self.best_value, self.best_epoch, self.stopped, self.seconds = monitor.worst, 0, False, 0.0
        self._resumed_at = time.monotonic()
        # Loggers that have failed.
        self._warned_of: set[str] = set()

    def state_dict(self) -> dict[str, Any]:
        return {
            "history": self.history,
            "steps": self.steps,
            "best_value": self.best_value,
            "best_epoch": self.best_epoch,
            "stopped": self.stopped,
            "seconds": self.seconds + time.monotonic() - self._resumed_at,
            **({} if self.imbalance is None else {"imbalance": self.imbalance.state_dict()}),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        state_dict = dict(state_dict)
        # A resumed run may have been begun with the other value of run.learning_imbalance.
        imbalance = state_dict.pop("imbalance", None)
        if self.imbalance is not None and imbalance is not None:
            self.imbalance.load_state_dict(imbalance)
        for name, value in state_dict.items():
            # Checkpoints of version 0.1.0 name it best_loss.
            setattr(self, "best_value" if name == "best_loss" else name, value)
        self._resumed_at = time.monotonic()

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, Method)
        if self.imbalance is not None:
            self.imbalance.watch(pl_module)

    def on_before_optimizer_step(
        self, trainer: L.Trainer, pl_module: L.LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        # Gradients are complete here, without a loss scale, and neither clipped nor with the noise that OGM-GE adds.
        if self.imbalance is not None:
            self.imbalance.measure()

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self.log_steps:
            loss = float(sum_over_ranks(outputs["unscaled"].double())) / trainer.world_size
            self.steps.append({"epoch": trainer.current_epoch + 1, "batch": batch_idx + 1, "loss": loss})
        batches = batch_idx + 1
        # No checkpoint is written at an epoch's last batch, as the one after validation follows, and none inside an
        # accumulation window, whose gradients are not part of a checkpoint.
        window_closed = batches % trainer.accumulate_grad_batches == 0
        due = self.checkpoint_every and batches % self.checkpoint_every == 0
        if due and window_closed and batches < int(trainer.num_training_batches):
            self.run.refuse_if_replaced()
            trainer.save_checkpoint(self.run.checkpoint, weights_only=False)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.run.refuse_if_replaced()
        value = float(trainer.callback_metrics[self.monitor.key])
        better = self.monitor.better(value, self.best_value) or math.isnan(self.best_value) or not self.best_epoch
        if self.audit and trainer.is_global_zero:
            weights = self.run.epoch_weights(trainer.current_epoch + 1)
            weights.parent.mkdir(exist_ok=True)
            save_weights(pl_module, weights)
        if self.select == "last" or better:
            self.best_value, self.best_epoch = value, trainer.current_epoch + 1
            if trainer.is_global_zero:
                loss = float(trainer.callback_metrics["val/loss"])
                save_weights(pl_module, self.run.weights, epoch=self.best_epoch, val_loss=loss)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, Method)
        self.run.refuse_if_replaced()
        self.stopped = trainer.should_stop
        row = self._row(trainer, pl_module)
        self.history.append(row)
        if trainer.is_global_zero:
            _write_rows(self.run.path / "metrics.csv", self.history)
            if self.steps:
                _write_rows(self.run.path / "steps.csv", self.steps)
            values = {name: value for name, value in row.items() if name != "step"}
            log_epoch(trainer.loggers, values, int(row["step"]), self._warned_of)
            if self.print_lines:
                print(self._line(row, trainer), flush=True)
        trainer.save_checkpoint(self.run.checkpoint, weights_only=False)

    def _row(self, trainer: L.Trainer, method: Method) -> dict[str, float]:
        row: dict[str, float] = {"epoch": trainer.current_epoch + 1, "step": trainer.global_step}
        row |= {f"train/{name}": value for name, value in method.finish_epoch().items()}
        if self.imbalance is not None:
            row |= {f"train/{name}": value for name, value in self.imbalance.finish_epoch().items()}
        row |= {name: float(value) for name, value in trainer.callback_metrics.items() if name.startswith("val/")}
        for number, group in enumerate(trainer.optimizers[0].param_groups):
            # An optimiser of the user's own gives its groups no role.
            row.setdefault(f"lr/{group.get('role', number)}", float(group["lr"]))
        row["seconds"] = round(self.seconds + time.monotonic() - self._resumed_at, 3)
        return row

    @property
    def selection(self) -> dict[str, Any]:
        """Returns how the tested epoch was selected: the monitor, the rule, and the monitor's value there."""
        rule = "last epoch" if self.select == "last" else self.monitor.words
        value = None if math.isnan(self.best_value) else self.best_value
        return {"monitor": self.monitor.key, "rule": rule, "value": value}

    @staticmethod
    def _main_keys(trainer: L.Trainer) -> list[str]:
        """Returns the keys of the protocol's first two metrics, such as val/mae and val/corr."""
        method = trainer.lightning_module
        return [f"val/{name}" for name in METRICS[method.metrics][:2]] if isinstance(method, Method) else []

    def _line(self, row: dict[str, float], trainer: L.Trainer) -> str:
        mark = "  *" if self.best_epoch == row["epoch"] else ""
        line = f"epoch {int(row['epoch']):>3}/{trainer.max_epochs}"
        # The metrics that come last are left out where a terminal would wrap the line.
        for key in dict.fromkeys(("train/loss", "val/loss", self.monitor.key, *self._main_keys(trainer))):
            name = key if key.endswith("/loss") else key.removeprefix("val/")
            part = f"  {name} {row[key]:.4f}" if key in row else ""
            line += part if len(line + part) <= _COLUMNS - len("  *") else ""
        return line + mark


def _write_rows(path: Path, rows: list[dict[str, float]]) -> None:
    write_text(path, csv_text(list(dict.fromkeys(key for row in rows for key in row)), rows))
