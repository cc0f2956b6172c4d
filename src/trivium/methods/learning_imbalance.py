"""Measures how unevenly the modalities of a model learn: the spread of their gradients in each optimiser step.

The definition is this project's own. It is not the Modality Learning Index of MissBench, of which no formula is public.
Legend: M modalities.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from trivium.methods.base import Method

KEY = "run.learning_imbalance"


def gradient_size(parameters: Sequence[nn.Parameter]) -> Tensor:
    """Returns the norm of the gradient of all parameters together, divided by the root of their number; float64.

    A parameter without a gradient counts as one whose gradient is 0.
    """
    norms = [torch.linalg.vector_norm(p.grad, dtype=torch.float64) for p in parameters if p.grad is not None]
    entries = sum(parameter.numel() for parameter in parameters)
    norm = torch.stack(norms).norm() if norms else parameters[0].new_zeros((), dtype=torch.float64)
    return norm / math.sqrt(entries)


def imbalance(size_M: Tensor) -> Tensor:
    """Returns the standard deviation (of the population, divisor M) of gradient sizes divided by their mean.

    0 if all are equal, at most sqrt(M - 1), which one modality reaches that learns alone. NaN if all are 0.
    """
    return size_M.std(correction=0) / size_M.mean()


class LearningImbalance:
    """Takes the mean of `imbalance` over optimiser steps, for each epoch and for the run.

    Steps are left out in which no modality has a gradient, or a gradient is not finite. No step waits for the device.
    All ranks measure the same, as gradients are those of the global batch on each.
    """

    def __init__(self) -> None:
        self._parameters: list[list[nn.Parameter]] = []
        # Of this epoch, 0-dimensional and on the device of the gradients; numbers until the first step there.
        self._sum: Tensor | float = 0.0
        self._steps: Tensor | float = 0.0
        # Of the epochs before it.
        self._sum_before, self._steps_before = 0.0, 0.0

    def watch(self, method: Method) -> None:
        """Chooses the parameters: those trained ones that one modality alone feeds (Method.own_parts).

        Raises ValueError if there is one modality, or one of them has no such parameters.
        """
        names = list(method.encoders)
        if len(names) < 2:
            raise ValueError(f"{KEY}=true compares modalities; found {names} alone. Leave {KEY} out")
        self._parameters = []
        for name in names:
            alone = {p: None for part in method.own_parts(name) for p in part.parameters() if p.requires_grad}
            if not alone:
                raise ValueError(
                    f"{KEY}=true: expected trained parameters that each modality alone feeds, and {name!r} has none "
                    f"with method={method.name or type(method).__name__}; give it an encoder that is trained, or "
                    f"leave {KEY} out"
                )
            self._parameters.append(list(alone))

    def measure(self) -> None:
        """Measures a step. Gradients must be complete, and neither clipped nor cleared yet."""
        value = imbalance(torch.stack([gradient_size(parameters) for parameters in self._parameters]))
        counts = torch.isfinite(value)
        # Adding to a number keeps the sum of a resumed epoch bit by bit.
        self._sum = torch.where(counts, value, 0.0) + self._sum
        self._steps = counts.double() + self._steps

    def finish_epoch(self) -> dict[str, float]:
        """Returns "learning_imbalance", the mean over the epoch's steps; {} without a step. Begins the next epoch."""
        total, steps = float(self._sum), float(self._steps)
        self._sum_before, self._steps_before = self._sum_before + total, self._steps_before + steps
        self._sum = self._steps = 0.0
        return {"learning_imbalance": total / steps} if steps else {}

    def of_run(self) -> dict[str, float]:
        """Returns "learning_imbalance", the mean over the steps of all finished epochs; {} without a step."""
        return {"learning_imbalance": self._sum_before / self._steps_before} if self._steps_before else {}

    def state_dict(self) -> dict[str, Any]:
        """Returns plain numbers, which are read from the device."""
        return {
            **{"sum": float(self._sum), "steps": float(self._steps)},
            **{"sum_before": self._sum_before, "steps_before": self._steps_before},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores the sums."""
        self._sum, self._steps = state["sum"], state["steps"]
        self._sum_before, self._steps_before = state["sum_before"], state["steps_before"]
