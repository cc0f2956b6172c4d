"""Holds the linear probe of a method without a head, which trivium.evaluation.probe fits and a run saves.

Legend: B clips, E features, K outputs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Self

import torch
from torch import Tensor, nn


class Readout(nn.Module):
    """Maps frozen features (B, E) to outputs (B, K); zero until `set`.

    Its weights are buffers and not parameters, so that no optimiser gets them. They stay in float32 at least, whatever
    the surrounding module is cast to, because half precision would round the fitted map.
    """

    weight: Tensor
    bias: Tensor

    def __init__(self, dim: int, outputs: int) -> None:
        super().__init__()
        self.register_buffer("weight", torch.zeros(outputs, dim))
        self.register_buffer("bias", torch.zeros(outputs))

    def set(self, weight_KE: Tensor, bias_K: Tensor) -> None:
        """Sets the fitted map. It may have any floating-point type, and be on any device."""
        assert weight_KE.shape == self.weight.shape, (weight_KE.shape, self.weight.shape)
        self.weight.copy_(weight_KE)
        self.bias.copy_(bias_K)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        def moved(tensor: Tensor) -> Tensor:
            wanted = fn(tensor)
            return tensor.to(wanted.device, torch.promote_types(wanted.dtype, torch.float32))

        module: Self = super()._apply(moved, recurse)  # type: ignore[no-untyped-call]
        return module

    def forward(self, features_BE: Tensor) -> Tensor:
        return nn.functional.linear(features_BE.to(self.weight.dtype), self.weight, self.bias)
