"""Accumulates gradients over batches as MMSA's code does: by their sum, and without an epoch's last, incomplete window.

Lightning takes the mean over the batches, and steps after the last one too.
"""

from __future__ import annotations

from typing import Any

from trivium.methods.base import Method


class SummedAccumulation(Method):
    """Is the base of methods that have a switch `faithful`, which their constructor sets."""

    faithful: bool = False

    def gradient_scale(self) -> float:
        """Returns the number of accumulated batches with faithful=true, by which Lightning's mean becomes a sum."""
        return float(self.trainer.accumulate_grad_batches) if self.faithful else 1.0

    def optimizer_step(self, epoch: int, batch_idx: int, optimizer: Any, optimizer_closure: Any = None) -> None:
        """Takes an optimiser step. With faithful=true an epoch's last, incomplete window of batches takes none."""
        window = self.trainer.accumulate_grad_batches
        if self.faithful and (batch_idx + 1) % window:
            # MMSA's code runs these batches, with all that they leave behind (Self-MM's label bank), but never steps.
            optimizer_closure()
            self.zero_grad()
            return
        super().optimizer_step(epoch, batch_idx, optimizer, optimizer_closure)
