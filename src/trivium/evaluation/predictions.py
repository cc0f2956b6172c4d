"""Predictions of a whole split, each clip exactly once, however many batches and ranks made them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from trivium.distributed import sum_over_ranks


@dataclass
class Predictions:
    """N clips in the split's order, float64 on the CPU.

    score (N,): predicted score. losses: name -> (N,), "loss" (the objective) first. probabilities (N, C), or None in
    regression.
    """

    score: Tensor
    losses: dict[str, Tensor]
    probabilities: Tensor | None

    @property
    def loss(self) -> Tensor:
        """(N,), the objective of each clip."""
        return self.losses["loss"]


class Collector:
    """Puts predictions in the place of their clip; ranks' parts are added up at the end."""

    def __init__(self, clips: int, device: torch.device) -> None:
        self._seen = torch.zeros(clips, 1, dtype=torch.float64, device=device)
        self._columns = self._seen.new_zeros(clips, 0)  # score, and then each of the losses
        self._names: list[str] = []
        self._probabilities: Tensor | None = None

    def add(
        self,
        index: Tensor,
        weight: Tensor,
        score: Tensor,
        losses: Mapping[str, Tensor],
        probabilities: Tensor | None,
    ) -> None:
        """index (B,) in the split; weight (B,) 0 for a clip that only keeps a rank in step. losses: name -> (B,)."""
        if not self._names:
            self._names = list(losses)
            self._columns = self._seen.new_zeros(len(self._seen), 1 + len(losses))
        rows = torch.stack([score.double(), *(loss.double() for loss in losses.values())], dim=1)
        self._seen.index_add_(0, index, weight[:, None].double())
        self._columns.index_add_(0, index, rows * weight[:, None].double())
        if probabilities is not None:
            if self._probabilities is None:
                shape = (len(self._columns), probabilities.shape[1])
                self._probabilities = self._columns.new_zeros(shape)
            self._probabilities.index_add_(0, index, probabilities.double() * weight[:, None].double())

    def result(self, *, over_ranks: bool) -> Predictions:
        """over_ranks: every rank has collected its part and calls this; else this process has seen them all.

        Raises RuntimeError unless every clip was seen exactly once.
        """
        total = sum_over_ranks if over_ranks else torch.clone
        seen = total(self._seen).cpu()
        if not bool((seen == 1).all()):
            raise RuntimeError(f"{int((seen != 1).sum())} of {len(seen)} clips were not predicted exactly once")
        score, *losses = total(self._columns).cpu().unbind(1)
        probabilities = None if self._probabilities is None else total(self._probabilities).cpu()
        return Predictions(score, dict(zip(self._names, losses, strict=True)), probabilities)
