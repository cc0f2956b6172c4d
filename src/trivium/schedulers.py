"""Makes learning-rate schedules, which the method steps itself.

Lightning never steps ReduceLROnPlateau after an epoch that was resumed half-way; stepped by the method, a resumed epoch
is like any other.

Each function is the `_target_` of a YAML in configs/scheduler. It takes the optimiser, the number of optimiser steps in
an epoch and the number of epochs. If it has an argument `mode`, it also gets the direction in which trainer.monitor is
better, "min" or "max".
"""

from __future__ import annotations

import math
from typing import Any, Literal

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, ReduceLROnPlateau, StepLR


class Schedule:
    """Steps a torch scheduler, either after each optimiser step or after each epoch's validation.

    scheduler: None keeps the learning rate. every_step: True steps after each optimiser step.
    """

    def __init__(self, scheduler: LRScheduler | None, every_step: bool = False) -> None:
        self._scheduler, self._every_step = scheduler, every_step

    def after_step(self) -> None:
        """Steps a schedule of optimiser steps."""
        if self._scheduler is not None and self._every_step:
            self._scheduler.step()

    def after_epoch(self, monitored: float) -> None:
        """Steps a schedule of epochs. monitored: the value of trainer.monitor after the epoch."""
        if isinstance(self._scheduler, ReduceLROnPlateau):
            self._scheduler.step(monitored)
        elif self._scheduler is not None and not self._every_step:
            self._scheduler.step()

    def state_dict(self) -> dict[str, Any]:
        """Returns the scheduler's state, for a checkpoint."""
        return {} if self._scheduler is None else dict(self._scheduler.state_dict())

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores what `state_dict` returned."""
        if self._scheduler is not None:
            self._scheduler.load_state_dict(state)


def constant(optimizer: Optimizer, *, steps_per_epoch: int, epochs: int) -> Schedule:
    """Keeps the learning rate throughout."""
    return Schedule(None)


def plateau(
    optimizer: Optimizer,
    *,
    steps_per_epoch: int,
    epochs: int,
    factor: float,
    patience: int,
    mode: Literal["min", "max"] = "min",
) -> Schedule:
    """Multiplies the learning rate by `factor` (0 to 1) when more than `patience` epochs brought no better monitor.

    mode: "min" if lower is better, "max" if higher is.
    """
    return Schedule(ReduceLROnPlateau(optimizer, mode=mode, factor=factor, patience=patience))


def cosine(
    optimizer: Optimizer, *, steps_per_epoch: int, epochs: int, warmup_epochs: float, final_ratio: float
) -> Schedule:
    """Warms up linearly, then falls along half a cosine to final_ratio times the learning rate, step by step.

    warmup_epochs: may be a fraction. final_ratio: 0 to 1. After the warm-up it is the schedule of Loshchilov and
    Hutter (2017, eq. 5) without restarts.
    """
    warmup, total = int(warmup_epochs * steps_per_epoch), max(1, epochs * steps_per_epoch)

    def ratio(step: int) -> float:
        if step < warmup:
            return (step + 1) / (warmup + 1)
        progress = min(1.0, (step - warmup) / max(1, total - warmup))
        return final_ratio + (1 - final_ratio) * 0.5 * (1 + math.cos(math.pi * progress))

    return Schedule(LambdaLR(optimizer, ratio), every_step=True)


def linear(optimizer: Optimizer, *, steps_per_epoch: int, epochs: int, warmup_ratio: float) -> Schedule:
    """Warms up linearly, then falls linearly to 0, step by step, as BERT is usually fine-tuned (Devlin et al., 2019).

    warmup_ratio: the share of all steps that warm up, 0 to 1.
    """
    total = max(1, epochs * steps_per_epoch)
    warmup = int(warmup_ratio * total)

    def ratio(step: int) -> float:
        return (step + 1) / (warmup + 1) if step < warmup else max(0.0, (total - step) / max(1, total - warmup))

    return Schedule(LambdaLR(optimizer, ratio), every_step=True)


def step(optimizer: Optimizer, *, steps_per_epoch: int, epochs: int, every: int, factor: float) -> Schedule:
    """Multiplies the learning rate by `factor` after every `every` epochs."""
    return Schedule(StepLR(optimizer, step_size=every, gamma=factor))


def warmup_cosine(optimizer: Optimizer, *, steps_per_epoch: int, epochs: int, warmup_ratio: float) -> Schedule:
    """Warms up from 0, then falls along half a cosine, epoch by epoch, as ALMT's public code does.

    warmup_ratio: the share of epochs, above 0 and below 1. The first epoch's rate is 0, so that its gradients reach the
    optimiser's running means alone. The peak is held for two epochs where the warm-up is a whole number of them.
    Raises ValueError for a warmup_ratio out of range.
    """
    if not 0.0 < warmup_ratio < 1.0:
        raise ValueError(f"scheduler.warmup_ratio: expected a share above 0 and below 1, found {warmup_ratio}")
    warmup = warmup_ratio * epochs
    first_after = math.floor(warmup) + 1

    def ratio(epoch: int) -> float:
        if epoch <= warmup:
            return epoch / warmup
        return 0.5 * (1 + math.cos(math.pi * (epoch - first_after) / (epochs - warmup)))

    return Schedule(LambdaLR(optimizer, ratio))
