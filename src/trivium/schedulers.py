"""Makes learning-rate schedules, which the method itself steps, so that a resumed epoch steps them like a whole one.

Lightning never steps ReduceLROnPlateau after an epoch that was resumed half-way. Each function here is the `_target_`
of a YAML in configs/scheduler. It takes the optimiser, the optimiser steps an epoch and the epochs of the run; one with
an argument `mode` also gets the better direction of trainer.monitor, "min" or "max".
"""

from __future__ import annotations

import math
from typing import Any, Literal

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, ReduceLROnPlateau, StepLR


class Schedule:
    """Steps a torch scheduler, after each optimiser step or after each epoch's validation."""

    def __init__(self, scheduler: LRScheduler | None, every_step: bool = False) -> None:
        self._scheduler, self._every_step = scheduler, every_step

    def after_step(self) -> None:
        if self._scheduler is not None and self._every_step:
            self._scheduler.step()

    def after_epoch(self, monitored: float) -> None:
        """Steps a schedule of epochs. monitored: the epoch's value of trainer.monitor."""
        if isinstance(self._scheduler, ReduceLROnPlateau):
            self._scheduler.step(monitored)
        elif self._scheduler is not None and not self._every_step:
            self._scheduler.step()

    def state_dict(self) -> dict[str, Any]:
        return {} if self._scheduler is None else dict(self._scheduler.state_dict())

    def load_state_dict(self, state: dict[str, Any]) -> None:
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
    """Multiplies the rate by `factor` (0 to 1) after `patience` epochs in which trainer.monitor was not better.

    mode: "min" where lower is better.
    """
    return Schedule(ReduceLROnPlateau(optimizer, mode=mode, factor=factor, patience=patience))


def cosine(
    optimizer: Optimizer, *, steps_per_epoch: int, epochs: int, warmup_epochs: float, final_ratio: float
) -> Schedule:
    """Warms up linearly, then falls by half a cosine to final_ratio times the rate, stepped every optimiser step."""
    warmup, total = int(warmup_epochs * steps_per_epoch), max(1, epochs * steps_per_epoch)

    def ratio(step: int) -> float:
        if step < warmup:
            return (step + 1) / (warmup + 1)
        progress = min(1.0, (step - warmup) / max(1, total - warmup))
        return final_ratio + (1 - final_ratio) * 0.5 * (1 + math.cos(math.pi * progress))

    return Schedule(LambdaLR(optimizer, ratio), every_step=True)


def linear(optimizer: Optimizer, *, steps_per_epoch: int, epochs: int, warmup_ratio: float) -> Schedule:
    """Warms up linearly over warmup_ratio of all steps, then falls linearly to 0, as BERT is usually fine-tuned."""
    total = max(1, epochs * steps_per_epoch)
    warmup = int(warmup_ratio * total)

    def ratio(step: int) -> float:
        return (step + 1) / (warmup + 1) if step < warmup else max(0.0, (total - step) / max(1, total - warmup))

    return Schedule(LambdaLR(optimizer, ratio), every_step=True)


def step(optimizer: Optimizer, *, steps_per_epoch: int, epochs: int, every: int, factor: float) -> Schedule:
    """Multiplies the rate by `factor` after every `every` epochs."""
    return Schedule(StepLR(optimizer, step_size=every, gamma=factor))
