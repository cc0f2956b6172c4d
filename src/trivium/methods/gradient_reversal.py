"""Reverses gradients, so that what comes before works against the loss behind."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class Reversal(torch.autograd.Function):
    """Returns its input, and multiplies the gradient by -factor (Ganin and Lempitsky, ICML 2015)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, factor: float) -> Tensor:
        ctx.factor = factor
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return -ctx.factor * gradient, None
