"""Dropout that is fast on a CPU, where torch's random number for every entry costs more than the layers around it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

_LEVELS = 2**16


class Dropout(nn.Dropout):
    """Drops entries as nn.Dropout does; on a CPU four entries share one 64-bit draw, 16 bits each.

    The probability is then p rounded to a multiple of 2^-16, and what is kept is scaled by exactly its inverse, so that
    expectations are unchanged. Draws come from torch's global generator.
    """

    def forward(self, input: Tensor) -> Tensor:
        dropped = round(self.p * _LEVELS)
        if input.device.type != "cpu" or not self.training or not 0 < dropped < _LEVELS:
            return super().forward(input)
        draws = torch.empty(-(-input.numel() // 4), dtype=torch.int64).random_(-(2**63), None)
        bits = draws.view(torch.int16)[: input.numel()].view(input.shape)
        # 16 signed bits are uniform over 2^16 values, of which the `dropped` smallest are dropped.
        scale = (bits >= dropped - _LEVELS // 2).to(input.dtype).mul_(_LEVELS / (_LEVELS - dropped))
        return input * scale
