"""Gathers predictions of a whole split, each clip exactly once, however many batches and ranks made them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from trivium.core.distributed import sum_over_ranks

if TYPE_CHECKING:
    import pandas as pd


@dataclass
class Predictions:
    """Holds the predictions of N clips in the split's order, float64 on the CPU.

    score: (N,), in the labels' unit. losses: name -> (N,), with "loss", the objective, first; empty without labels.
    probabilities: (N, C), of the classes; None in a regression.
    ids: of the clips, where `predict_split` made the predictions. targets: (N,), or None without labels. split: its
    name, or "" for clips that are of no store.
    """

    score: Tensor
    losses: dict[str, Tensor]
    probabilities: Tensor | None
    ids: list[Any] = field(default_factory=list)
    targets: Tensor | None = None
    split: str = ""

    def __repr__(self) -> str:
        classes = "" if self.probabilities is None else f", {self.probabilities.shape[1]} classes"
        labels = "unlabelled" if self.targets is None else "labelled"
        return f"Predictions({len(self.score)} {labels} clips{f' of {self.split!r}' if self.split else ''}{classes})"

    def __len__(self) -> int:
        return len(self.score)

    def to_frame(self) -> pd.DataFrame:
        """Returns a pandas frame with the columns of predictions.csv: split, id, target, prediction, p0, p1, ...

        A target is NaN without labels; p0, p1, ... are class probabilities, where there are any.
        """
        import pandas as pd  # here, as a training needs none

        columns: dict[str, Any] = {
            "split": self.split,
            "id": self.ids,
            "target": torch.nan if self.targets is None else self.targets.numpy(),
            "prediction": self.score.numpy(),
        }
        if self.probabilities is not None:
            columns |= {f"p{c}": column.numpy() for c, column in enumerate(self.probabilities.unbind(dim=1))}
        return pd.DataFrame(columns)

    @property
    def loss(self) -> Tensor:
        """Returns the objective of each clip, (N,)."""
        return self.losses["loss"]


class Collector:
    """Puts each prediction in the place of its clip, and adds up the parts of all ranks at the end."""

    def __init__(self, clips: int, device: torch.device) -> None:
        self._count = torch.zeros(clips, 1, dtype=torch.float64, device=device)
        # One column for the score, then one for each loss.
        self._columns = self._count.new_zeros(clips, 0)
        self._names: list[str] | None = None
        self._probabilities: Tensor | None = None

    def add(
        self,
        index: Tensor,
        weight: Tensor,
        score: Tensor,
        losses: Mapping[str, Tensor],
        probabilities: Tensor | None,
    ) -> None:
        """Adds the predictions of a batch.

        index: (B,) int64, places in the split. weight: (B,), 1, or 0 for a clip that only keeps a rank in step.
        score: (B,). losses: name -> (B,). probabilities: (B, C) or None.
        """
        if self._names is None:  # of no names without labels
            self._names = list(losses)
            self._columns = self._count.new_zeros(len(self._count), 1 + len(losses))
        rows = torch.stack([score.double(), *(loss.double() for loss in losses.values())], dim=1)
        self._count.index_add_(0, index, weight[:, None].double())
        self._columns.index_add_(0, index, rows * weight[:, None].double())
        if probabilities is not None:
            if self._probabilities is None:
                shape = (len(self._columns), probabilities.shape[1])
                self._probabilities = self._columns.new_zeros(shape)
            self._probabilities.index_add_(0, index, probabilities.double() * weight[:, None].double())

    def result(self, *, over_ranks: bool) -> Predictions:
        """Returns all predictions.

        over_ranks: True if every rank has a part and calls this; False if this process has them all.
        Raises RuntimeError unless every clip was predicted exactly once.
        """
        total = sum_over_ranks if over_ranks else torch.clone
        count = total(self._count).cpu()
        if not bool((count == 1).all()):
            raise RuntimeError(f"{int((count != 1).sum())} of {len(count)} clips were not predicted exactly once")
        score, *losses = total(self._columns).cpu().unbind(1)
        probabilities = None if self._probabilities is None else total(self._probabilities).cpu()
        return Predictions(score, dict(zip(self._names or [], losses, strict=True)), probabilities)
