"""Reverses gradients, so that what comes before works against the loss behind (Ganin and Lempitsky, 2015)."""

from __future__ import annotations

from torch import Tensor


def reverse_gradient(x: Tensor) -> Tensor:
    """Returns x itself; its gradient is multiplied by -1."""
    # 2x - x is x, to the bit.
    return 2 * x.detach() - x
