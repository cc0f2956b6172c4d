"""Raises tensors to the precision that losses and statistics need, whatever the model's or autocast's is."""

from __future__ import annotations

import torch
from torch import Tensor


def at_least_float32(tensor: Tensor) -> Tensor:
    """Returns the tensor in float32 where it is narrower (autocast's halves, integers); float64 stays float64."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))
