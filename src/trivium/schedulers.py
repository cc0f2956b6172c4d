"""Learning-rate schedules, stepped by the method itself so that a resumed epoch steps them like a whole one.

(Lightning never steps ReduceLROnPlateau after an epoch that was resumed half-way.) Each function here is the `_target_`
of a YAML in configs/scheduler and takes the optimiser, the optimiser steps an epoch and the epochs of the run; one with
an argument `mode` is told which direction of trainer.monitor is better, "min" or "max".
"""

from __future__ import annotations

import math
from typing import Any, Literal

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, ReduceLROnPlateau, StepLR


class Schedule:
    """A torch scheduler and when to step it: after each optimiser step, or after each epoch's validation."""

    def __init__(self, scheduler: LRScheduler | None, every_step: bool = False) -> None:
        self._scheduler, self._every_step = scheduler, every_step

    def after_step(self) -> None:
        if self._scheduler is not None and self._every_step:
            self._scheduler.step()

    def after_epoch(self, monitored: float) -> None:
        """monitored: the epoch's value of trainer.monitor."""
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
    """The same learning rate throughout."""
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
    """Times `factor` (0 to 1) after `patience` epochs without a better monitor. mode: whether lower or higher is."""
    return Schedule(ReduceLROnPlateau(optimizer, mode=mode, factor=factor, patience=patience))


def cosine(
    optimizer: Optimizer, *, steps_per_epoch: int, epochs: int, warmup_epochs: float, final_ratio: float
) -> Schedule:
    """Linear warm-up, then half a cosine down to final_ratio times the learning rate, stepped every optimiser step."""
    warmup, total = int(warmup_epochs * steps_per_epoch), max(1, epochs * steps_per_epoch)

    def ratio(step: int) -> float:
        if step < warmup:
            return (step + 1) / (warmup + 1)
        done = min(1.0, (step - warmup) / max(1, total - warmup))
        return final_ratio + (1 - final_ratio) * 0.5 * (1 + math.cos(math.pi * done))

    return Schedule(LambdaLR(optimizer, ratio), every_step=True)


def linear(optimizer: Optimizer, *, steps_per_epoch: int, epochs: int, warmup_ratio: float) -> Schedule:
    """Linear warm-up over warmup_ratio of all steps, then linearly to 0: the usual one for fine-tuning BERT."""
    total = max(1, epochs * steps_per_epoch)
    warmup = int(warmup_ratio * total)

    def ratio(step: int) -> float:
        return (step + 1) / (warmup + 1) if step < warmup else max(0.0, (total - step) / max(1, total - warmup))

    return Schedule(LambdaLR(optimizer, ratio), every_step=True)


def step(optimizer: Optimizer, *, steps_per_epoch: int, epochs: int, every: int, factor: float) -> Schedule:
    """Times `factor` after each `every` epochs."""
    return Schedule(StepLR(optimizer, step_size=every, gamma=factor))
