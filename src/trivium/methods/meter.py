"""Takes epoch means of the loss terms and watches for non-finite ones, without waiting for the device in a step."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from trivium.core.distributed import rank, sum_over_ranks, world


class NonFiniteLossError(ValueError):
    """Says that a loss became NaN or infinite, so that training cannot go on with these settings or data."""


class Meter:
    """Sums each term over an epoch, weighted by clips, on the device that the terms live on.

    A term is a rank's Batch.mean: averaged over ranks it is the mean over the global batch. Legend: W ranks, T terms.
    """

    def __init__(self) -> None:
        self.names: list[str] = []
        self._sums: Tensor | None = None
        self._clips = 0
        # (1 + T,): the first step with a non-finite term, -1 if there was none, then a flag for each term.
        self._bad = torch.zeros(0)

    def reset(self) -> None:
        """Forgets all sums, for the next epoch."""
        self.names, self._sums, self._clips = [], None, 0

    def add(self, terms: dict[str, Tensor], step: int, clips: int) -> None:
        """Adds the terms of a step: scalars, of the same names at each call.

        step: its number in the epoch, from 0. clips: the size of the global batch.
        """
        values = torch.stack([term.detach().double() for term in terms.values()])
        if self._sums is None or self.names != list(terms):
            self.names, self._sums = list(terms), torch.zeros_like(values)
            self._bad = values.new_full((1 + len(values),), -1.0)
        self._sums += values * (clips / world())
        self._clips += clips
        bad = ~torch.isfinite(values)
        this_step = torch.cat([values.new_full((1,), step), bad.double()])
        # torch.where and not "if", which would read a value on the host and make it wait for a GPU in each step.
        self._bad = torch.where((self._bad[0] < 0) & bad.any(), this_step, self._bad)

    def first_bad(self) -> tuple[int, list[str]] | None:
        """Returns (step, names of terms) of the first non-finite value of the epoch, or None. Waits for the device."""
        if self._sums is None or float(self._bad[0]) < 0:
            return None
        step, *flags = self._bad.tolist()
        return int(step), [name for name, flag in zip(self.names, flags, strict=True) if flag]

    def means(self) -> dict[str, float]:
        """Returns each term's mean over the epoch's clips, over all ranks; {} before the first step."""
        if self._sums is None:
            return {}
        totals = sum_over_ranks(self._sums).tolist()
        return {name: total / self._clips for name, total in zip(self.names, totals, strict=True)}

    def state_dict(self) -> dict[str, Any]:
        """Returns the sums of every rank, so that a resumed epoch rounds as an undisturbed one. All ranks call it."""
        sums: list[list[float]] = []
        if self._sums is not None:
            rows_WT = self._sums.new_zeros(world(), len(self._sums))
            rows_WT[rank()] = self._sums
            sums = sum_over_ranks(rows_WT).tolist()
        return {"names": self.names, "sums": sums, "clips": self._clips}

    def load_state_dict(self, state: dict[str, Any], device: torch.device) -> None:
        """Restores this rank's sums. If the number of ranks has changed, the first one gets the sum over all."""
        self.names, self._clips = list(state["names"]), int(state["clips"])
        self._sums = None
        if self.names:
            rows_WT = torch.tensor(state["sums"], dtype=torch.float64, device=device)
            if len(rows_WT) != world():
                rows_WT = torch.cat(
                    [rows_WT.sum(dim=0, keepdim=True), torch.zeros_like(rows_WT[:1]).repeat(world() - 1, 1)]
                )
            self._sums = rows_WT[rank()]
            self._bad = self._sums.new_full((1 + len(self._sums),), -1.0)
