"""Predicts from every non-empty subset of modalities with one trained method.

A clip's prediction from a subset depends on no other clip, so that these serve for any pattern of missing modalities.
Legend: N clips, M modalities, B clips of a batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import torch
from torch import Tensor

from trivium.data.batch import Batch
from trivium.data.datamodule import BatchLoader
from trivium.evaluation.predict import predict_split
from trivium.evaluation.predictions import Predictions
from trivium.methods.base import Method

Subset = tuple[str, ...]
# Yields the items given, and shows how many of them are done.
Track = Callable[[Sequence[Any], str], Iterable[Any]]


def untracked(items: Sequence[Any], what: str) -> Iterable[Any]:
    """Yields the items and shows nothing."""
    return items


def all_subsets(modalities: Sequence[str]) -> list[Subset]:
    """Returns the 2^M - 1 non-empty subsets, small ones first, each in the order of `modalities`."""
    return [subset for size in range(1, len(modalities) + 1) for subset in combinations(modalities, size)]


def natural_presence(loader: BatchLoader) -> Tensor:
    """Marks (N, M), on the CPU, the modalities that the split's clips have."""
    return torch.stack([stream.lengths > 0 for stream in loader.split.streams.values()], dim=1)


@dataclass
class SubsetPredictions:
    """Holds the predictions of a split by subset, and present (N, M) bool, the modalities that its clips have.

    Where a clip has no modality of a subset, that subset's prediction is from all that it has; `at` never reads it.
    """

    modalities: Subset
    present: Tensor
    by_subset: dict[Subset, Predictions]

    @property
    def whole(self) -> Predictions:
        """The predictions from all modalities."""
        return self.by_subset[self.modalities]

    def at(self, keep_NM: Tensor) -> Predictions:
        """Predicts each clip from the modalities that it has and that keep_NM (bool) leaves it; at least one a clip."""
        subset_NM = keep_NM & self.present
        assert bool(subset_NM.any(dim=1).all())
        clip_N = torch.arange(len(subset_NM))
        masks_SM = torch.tensor([[name in subset for name in self.modalities] for subset in self.by_subset])
        row_N = (subset_NM[:, None] == masks_SM).all(dim=2).int().argmax(dim=1)
        parts = list(self.by_subset.values())
        probabilities = [part.probabilities for part in parts if part.probabilities is not None]
        return Predictions(
            score=torch.stack([part.score for part in parts])[row_N, clip_N],
            losses={"loss": torch.stack([part.loss for part in parts])[row_N, clip_N]},
            probabilities=torch.stack(probabilities)[row_N, clip_N] if probabilities else None,
        )


def predict_subsets(method: Method, loader: BatchLoader, track: Track = untracked) -> SubsetPredictions:
    """Predicts the split once from each subset."""
    modalities = tuple(loader.split.streams)
    subsets = all_subsets(modalities)
    by_subset = {s: predict_split(method, loader, change=_only(s)) for s in track(subsets, "subsets")}
    return SubsetPredictions(modalities, natural_presence(loader), by_subset)


def choose_clips(predictions: Predictions, rows_N: Tensor) -> Predictions:
    """Returns the predictions of the clips that are True in rows_N."""
    probabilities = predictions.probabilities
    return Predictions(
        predictions.score[rows_N],
        {name: loss_N[rows_N] for name, loss_N in predictions.losses.items()},
        None if probabilities is None else probabilities[rows_N],
    )


def _only(subset: Subset) -> Callable[[Batch], Batch]:
    def change(batch: Batch) -> Batch:
        absent_M = torch.tensor([name not in subset for name in batch.streams], device=batch.present.device)
        remains_B = (batch.present & ~absent_M).any(dim=1)
        return batch.without(absent_M & remains_B[:, None])

    return change
