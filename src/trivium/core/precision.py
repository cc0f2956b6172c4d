"""Raises tensors to the precision that losses and statistics need, whatever the model's or autocast's is."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Self

import torch
from torch import Tensor, nn


def at_least_float32(tensor: Tensor) -> Tensor:
    """Returns the tensor in float32 where it is narrower (autocast's halves, integers); float64 stays float64."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


class Float32Buffers(nn.Module):
    """Keeps a module's buffers in float32 at least, whatever precision the model has.

    For what a rounded value would make wrong: human labels, the weights of classes.
    """

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Applies Module.to, .half and the like, except that no buffer goes below float32."""
        before = dict(self.named_buffers())
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        for name, moved in self.named_buffers():
            if moved.is_floating_point() and moved.dtype.itemsize < 4:
                setattr(self, name, before[name].to(moved.device, torch.float32))
        return self


def autocast_of_recurrent_layers(device: torch.device) -> AbstractContextManager[object]:
    """Returns the context in which a recurrent layer runs: as it is, or in float32 on a CPU that has no other way.

    oneDNN has no LSTM in half precision for processors without AVX-512, and raises an error that names none of this.
    """
    halved = device.type == "cpu" and torch.is_autocast_enabled("cpu")
    if halved and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return torch.autocast("cpu", enabled=False)
    return contextlib.nullcontext()
