"""Provides the LSTM encoder. With pool="last" it is Self-MM's sLSTM: last hidden state -> dropout -> Linear."""

from __future__ import annotations

from typing import ClassVar

from torch import nn

from trivium.encoders.recurrent import Recurrent


class LSTM(Recurrent):
    """Encodes by an LSTM: `LSTM(in_dim, hidden=..., out=...)`. `Recurrent` explains the keys, shapes and errors.

    Source: Yu et al. (2021, section 3; thuiar/Self-MM).
    """

    cell: ClassVar[type[nn.LSTM] | type[nn.GRU]] = nn.LSTM
