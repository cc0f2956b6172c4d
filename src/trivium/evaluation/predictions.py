"""Gathers predictions of a whole split, each clip exactly once, however many batches and ranks made them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from trivium.core.distributed import sum_over_ranks
from trivium.data.target import Target

if TYPE_CHECKING:
    import pandas as pd


@dataclass
class Predictions:
    """Holds the predictions of N clips in the split's order, float64 on the CPU.

    score: (N,) or (N, K), scores in the target's unit, class numbers or labels of 0 and 1. losses: name -> (N,), with
    "loss", the objective, first; empty without labels. probabilities: (N, C), of classes or labels; None in a
    regression.
    ids: of the clips, where `predict_split` made the predictions. targets: as `score`, or None without labels. split:
    its name, or "" for clips that are of no store. target: what is predicted.
    """

    score: Tensor
    losses: dict[str, Tensor]
    probabilities: Tensor | None
    ids: list[Any] = field(default_factory=list)
    targets: Tensor | None = None
    split: str = ""
    target: Target = field(default_factory=Target)

    def __repr__(self) -> str:
        classes = "" if self.probabilities is None else f", {self.probabilities.shape[1]} classes"
        labels = "unlabelled" if self.targets is None else "labelled"
        return f"Predictions({len(self.score)} {labels} clips{f' of {self.split!r}' if self.split else ''}{classes})"

    def __len__(self) -> int:
        return len(self.score)

    def to_frame(self) -> pd.DataFrame:
        """Returns a pandas frame with the columns of predictions.csv; see `columns`. Targets are NaN without labels."""
        import pandas as pd  # here, as a training needs none

        return pd.DataFrame({"split": self.split, "id": self.ids, **self.columns()})

    def columns(self) -> dict[str, list[Any]]:
        """Returns the columns of predictions.csv after split and id.

        * a score: target, prediction, and with classes of the score p0, p1, ..., their probabilities
        * classes: target and prediction, names of classes; p_NAME, the probability of each
        * several scores: target_NAME and prediction_NAME of each
        * labels: the same, 0 or 1, and p_NAME, the probability of each
        """
        names, kind = self.target.names, self.target.kind
        values = {"target": self.targets, "prediction": self.score}
        columns: dict[str, list[Any]] = {}
        for head, part in values.items():
            if part is None:
                heads = [f"{head}_{name}" for name in names] if self.target.shape else [head]
                columns |= {name: [math.nan] * len(self) for name in heads}
            elif kind == "classes":
                columns[head] = [names[number] for number in part.long().tolist()]
            elif self.target.shape:
                parts = zip(names, part.unbind(dim=1), strict=True)
                columns |= {f"{head}_{name}": column.tolist() for name, column in parts}
            else:
                columns[head] = part.tolist()
        if self.probabilities is not None:
            heads = [f"p_{name}" for name in names] or [f"p{c}" for c in range(self.probabilities.shape[1])]
            columns |= {h: column.tolist() for h, column in zip(heads, self.probabilities.unbind(dim=1), strict=True)}
        return columns

    @property
    def loss(self) -> Tensor:
        """Returns the objective of each clip, (N,)."""
        return self.losses["loss"]


class Collector:
    """Puts each prediction in the place of its clip, and adds up the parts of all ranks at the end."""

    def __init__(self, clips: int, device: torch.device) -> None:
        self._count = torch.zeros(clips, 1, dtype=torch.float64, device=device)
        # One column for each score or label, then one for each loss.
        self._columns = self._count.new_zeros(clips, 0)
        self._scores: tuple[int, ...] = ()
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
        score: (B,) or (B, K). losses: name -> (B,). probabilities: (B, C) or None.
        """
        if self._names is None:  # of no names without labels
            self._names = list(losses)
            self._scores = score.shape[1:]
            self._columns = self._count.new_zeros(len(self._count), math.prod(self._scores) + len(losses))
        columns = [score.double().view(len(score), -1), *(loss.double()[:, None] for loss in losses.values())]
        rows = torch.cat(columns, dim=1)
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
        columns, width = total(self._columns).cpu(), math.prod(self._scores)
        probabilities = None if self._probabilities is None else total(self._probabilities).cpu()
        score = columns[:, :width].reshape(len(count), *self._scores)
        losses = dict(zip(self._names or [], columns[:, width:].unbind(dim=1), strict=True))
        return Predictions(score, losses, probabilities)
