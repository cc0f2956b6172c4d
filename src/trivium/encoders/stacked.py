"""Provides MISA's encoder: two bidirectional recurrent layers with a layer norm between, read at all four ends.

Legend: B clips, T steps, D input features, H hidden units.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from trivium.core.choices import check_choice
from trivium.core.precision import autocast_of_recurrent_layers
from trivium.data.batch import Stream
from trivium.encoders.base import Encoded, Encoder
from trivium.encoders.pooling import check_least, pool_steps
from trivium.encoders.recurrent import reorder, reversed_steps

CELLS: dict[str, type[nn.LSTM] | type[nn.GRU]] = {"lstm": nn.LSTM, "gru": nn.GRU}


class Stacked(Encoder):
    """Encodes by a bidirectional layer -> layer norm -> a second one, as MISA does (Hazarika et al., 2020).

    Tokens are the states of the second layer, (B, T, 2H). The pooled vector, (B, 4H), holds the last states: forward of
    the first layer and of the second, then backward of both.

    hidden: H; 0 takes as many units as there are features, as MISA does.
    cell: "lstm" or "gru". orthogonal: initial weights of the recurrence are orthogonal, as in MISA's code.
    Raises ValueError for an unknown cell and a negative `hidden`.
    """

    def __init__(self, in_dim: int, *, hidden: int = 0, cell: str = "lstm", orthogonal: bool = True) -> None:
        super().__init__()
        check_least("hidden", hidden, 0)
        make = CELLS[check_choice("cell", cell, CELLS)]
        hidden = hidden or in_dim
        sizes = (in_dim, 2 * hidden)
        self.forward_cells = nn.ModuleList(make(size, hidden, batch_first=True) for size in sizes)
        self.backward_cells = nn.ModuleList(make(size, hidden, batch_first=True) for size in sizes)
        self.norm = nn.LayerNorm(2 * hidden)
        self.input_size = self.adapts = in_dim
        self.token_dim, self.dim = 2 * hidden, 4 * hidden
        if orthogonal:
            for layer in (*self.forward_cells, *self.backward_cells):
                nn.init.orthogonal_(layer.get_parameter("weight_hh_l0"))

    def forward(self, stream: Stream) -> Encoded:
        order = reversed_steps(stream.mask)
        forward1, backward1 = self._layer(0, stream.values, order)
        states_BTH = self.norm(torch.cat([forward1, backward1], dim=-1))
        forward2, backward2 = self._layer(1, states_BTH, order)
        ends = [pool_steps("last", states, stream.mask) for states in (forward1, forward2)]
        ends += [pool_steps("first", states, stream.mask) for states in (backward1, backward2)]
        tokens_BTE = torch.cat([forward2, backward2], dim=-1).masked_fill(~stream.mask[..., None], 0.0)
        return Encoded(tokens_BTE, stream.mask, torch.cat(ends, dim=-1))

    def _layer(self, number: int, inputs_BTD: Tensor, order: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the states of a layer's two directions, (B, T, H) each, both in the order of the steps."""
        with autocast_of_recurrent_layers(inputs_BTD.device):
            forward_BTH, _ = self.forward_cells[number](inputs_BTD)
            # Each clip is reversed within its own length, so that no padded step comes before a real one.
            backward_BTH, _ = self.backward_cells[number](reorder(inputs_BTD, order))
        return forward_BTH, reorder(backward_BTH, order)
