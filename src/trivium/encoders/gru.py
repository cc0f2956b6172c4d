"""Provides the GRU encoder: that of the LSTM with another cell, which has fewer gates (Cho et al., 2014)."""

from __future__ import annotations

from typing import ClassVar

from torch import nn

from trivium.encoders.recurrent import Recurrent


class GRU(Recurrent):
    """Encodes by a GRU: `GRU(in_dim, hidden=..., out=...)`. `Recurrent` explains the keys, shapes and errors."""

    cell: ClassVar[type[nn.LSTM] | type[nn.GRU]] = nn.GRU
