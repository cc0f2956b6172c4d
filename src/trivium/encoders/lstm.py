"""LSTM encoder; with its defaults Self-MM's sLSTM: the last hidden state -> dropout -> Linear(hidden, out)."""

from __future__ import annotations

from typing import ClassVar

from torch import nn

from trivium.encoders.recurrent import Recurrent


class LSTM(Recurrent):
    """Encodes by an LSTM: `LSTM(in_dim, hidden=..., out=...)`, keys as in `Recurrent`.

    Source: Yu et al. (2021, section 3; thuiar/Self-MM).
    """

    cell: ClassVar[type[nn.LSTM] | type[nn.GRU]] = nn.LSTM
