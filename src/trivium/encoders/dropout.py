"""Speeds up dropout on a CPU, where drawing one random number for every entry costs more than the layers around it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

_LEVELS = 2**16


class Dropout(nn.Dropout):
    """Drops entries as nn.Dropout does; on a CPU four entries share one 64-bit draw, 16 bits each.

    The probability is then p rounded to a multiple of 2^-16. The entries that stay are scaled by exactly one over the
    rounded probability of staying, so that expectations are unchanged. Draws come from torch's global generator.
    """

    def forward(self, input: Tensor) -> Tensor:
        dropped = round(self.p * _LEVELS)
        if input.device.type != "cpu" or not self.training or not 0 < dropped < _LEVELS:
            return super().forward(input)
        draws = torch.empty(-(-input.numel() // 4), dtype=torch.int64).random_(-(2**63), None)
        bits = draws.view(torch.int16)[: input.numel()].view(input.shape)
        # Read as signed integers, 16 random bits are uniform over 2^16 values. The `dropped` smallest mean "drop".
        scale = (bits >= dropped - _LEVELS // 2).to(input.dtype).mul_(_LEVELS / (_LEVELS - dropped))
        return input * scale
