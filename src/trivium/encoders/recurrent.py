"""Provides what the LSTM and the GRU encoder share: layers, directions and pooling.

Sequences are run padded, not packed. Padding lies behind a clip's last step (and the backward direction reads each clip
reversed within its own length), so no padded step comes before a real one and none can change a result. On a CPU this
is faster than pack_padded_sequence, whose kernel goes step by step: 10 times for an LSTM of 16 units over 338 steps
(16 clips of 170 steps in the mean), 2 times over 35 steps, and 1.1 to 1.5 times for a GRU and for float64.

Legend: B clips, T steps, D input features, H hidden units, E embedding.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from trivium.core.choices import check_choice
from trivium.core.precision import autocast_of_recurrent_layers
from trivium.data.batch import Stream
from trivium.encoders.base import Encoded, Encoder
from trivium.encoders.old_names import accept_old_names
from trivium.encoders.pooling import check_least, pool_steps

POOLS = ("last", "mean", "max", "meanmax", "flatten")


class Recurrent(Encoder):
    """Encodes by stacked recurrent layers -> dropout -> Linear(H, out). Subclasses set the `cell`.

    hidden: units of a layer and direction; H is twice that if bidirectional.
    out: size of tokens and pooled vector; 0 leaves out the Linear.
    dropout: before the Linear and between layers, 0 to 1. input_dropout: on the features, 0 to 1.
    pool: how the steps become one vector.
      "last": the last state of each direction, as in Self-MM's sLSTM (Yu et al., 2021).
      "mean", "max", "meanmax": over the tokens of the valid steps; meanmax is both, so twice the size.
      "flatten": the states of `steps` steps, padding included, end to end -> Linear(steps * H, out), as in GMC
      (Poklukar et al., 2022). The tokens are then the states themselves.
    steps: the length of the longest clip to come, which "flatten" needs.
    Raises ValueError for an unknown pool, for sizes below 1, and for a clip longer than a flattening encoder's steps.
    """

    takes_steps: ClassVar[bool] = True
    cell: ClassVar[type[nn.LSTM] | type[nn.GRU]]

    def __init__(
        self,
        in_dim: int,
        *,
        hidden: int,
        out: int = 0,
        layers: int = 1,
        bidirectional: bool = False,
        dropout: float = 0.0,
        input_dropout: float = 0.0,
        pool: str = "last",
        steps: int | None = None,
    ) -> None:
        super().__init__()
        for key, size, least in (("hidden", hidden, 1), ("layers", layers, 1), ("out", out, 0)):
            check_least(key, size, least)
        self.pool = check_choice("pool", pool, POOLS)
        self.input_size = self.adapts = in_dim
        width = hidden * (2 if bidirectional else 1)
        sizes = [in_dim, *[width] * (layers - 1)]
        self.forward_cells = nn.ModuleList(self.cell(size, hidden, batch_first=True) for size in sizes)
        self.backward_cells = nn.ModuleList(
            self.cell(size, hidden, batch_first=True) for size in sizes if bidirectional
        )
        accept_old_names(self, {"ahead.": "forward_cells.", "back.": "backward_cells."})
        self.input_dropout = nn.Dropout(input_dropout)
        self.dropout = nn.Dropout(dropout)
        self.steps = self.longest = steps if pool == "flatten" else None
        if pool == "flatten":
            assert steps is not None
            check_least("out", out, 1)
            self.project: nn.Module = nn.Linear(steps * width, out)
            self.token_dim, self.dim = width, out
            return
        self.project = nn.Linear(width, out) if out else nn.Identity()
        self.token_dim = out or width
        self.dim = self.token_dim * (2 if pool == "meanmax" else 1)

    def forward(self, stream: Stream) -> Encoded:
        if self.steps is not None:
            return self._flattened(stream, self.steps)
        states_BTH = self._states(self.input_dropout(stream.values), stream.mask)
        dropped_BTH = self.dropout(states_BTH)
        tokens_BTE = self.project(dropped_BTH).masked_fill(~stream.mask[..., None], 0.0)
        if self.pool == "last" and self.backward_cells:
            return Encoded(tokens_BTE, stream.mask, self.project(self._ends(dropped_BTH, stream.mask)))
        return Encoded(tokens_BTE, stream.mask, pool_steps(self.pool, tokens_BTE, stream.mask))

    def _flattened(self, stream: Stream, steps: int) -> Encoded:
        """Encodes for pool="flatten". Raises ValueError for a clip of more than `steps` steps."""
        longest = stream.values.shape[1]
        if longest > steps:
            raise ValueError(
                f"a clip of {longest} steps: this encoder flattens the {steps} of the longest clip it was built for; "
                "encoder.pool=last, mean or max takes any length"
            )
        # The states of padded steps enter the result, so that what padding holds must not depend on the batch.
        values_BTD = stream.values.masked_fill(~stream.mask[..., None], 0.0)
        states_BTH = self.dropout(
            self._states(
                nn.functional.pad(self.input_dropout(values_BTD), (0, 0, 0, steps - longest)),
                nn.functional.pad(stream.mask, (0, steps - longest)),
            )
        )
        tokens_BTH = states_BTH[:, :longest].masked_fill(~stream.mask[..., None], 0.0)
        return Encoded(tokens_BTH, stream.mask, self.project(states_BTH.flatten(1)))

    def _states(self, inputs_BTD: Tensor, mask_BT: Tensor) -> Tensor:
        """Returns the states of the last layer, (B, T, H), both directions side by side."""
        order = reversed_steps(mask_BT) if self.backward_cells else None
        for number, cell in enumerate(self.forward_cells):
            if number:
                inputs_BTD = self.dropout(inputs_BTD)
            with autocast_of_recurrent_layers(inputs_BTD.device):
                states, _ = cell(inputs_BTD)
                if order is not None:
                    backward, _ = self.backward_cells[number](reorder(inputs_BTD, order))
                    states = torch.cat([states, reorder(backward, order)], dim=-1)
            inputs_BTD = states
        return inputs_BTD

    def _ends(self, states_BTH: Tensor, mask_BT: Tensor) -> Tensor:
        """Returns the last state of each direction, (B, H).

        The forward direction ends at the clip's last step, the backward direction at its first.
        """
        forward, backward = states_BTH.chunk(2, dim=-1)
        return torch.cat([pool_steps("last", forward, mask_BT), pool_steps("first", backward, mask_BT)], dim=-1)


def reversed_steps(mask_BT: Tensor) -> Tensor:
    """Returns (B*T,) int64, the index that reverses the valid steps of every clip and leaves padding where it is."""
    clips, steps = mask_BT.shape
    step_T = torch.arange(steps, device=mask_BT.device)
    step_BT = torch.where(mask_BT, mask_BT.sum(dim=1, keepdim=True) - 1 - step_T, step_T)
    first_B1 = torch.arange(clips, device=mask_BT.device)[:, None] * steps
    return (first_B1 + step_BT).flatten()


def reorder(values_BTD: Tensor, order: Tensor) -> Tensor:
    """Returns (B, T, D) with its steps in the order of `reversed_steps`; applied twice, it gives the input again."""
    return values_BTD.flatten(0, 1).index_select(0, order).view_as(values_BTD)
