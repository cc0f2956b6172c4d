"""Predicts from every non-empty subset of modalities with one trained method.

A clip's prediction from a subset depends on no other clip. So the predictions from all subsets hold those for any
pattern of missing modalities.
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
# Yields items, and shows how many of them are done. The text says what they are.
Track = Callable[[Sequence[Any], str], Iterable[Any]]


def untracked(items: Sequence[Any], what: str) -> Iterable[Any]:
    """Returns the items, and shows no progress."""
    return items


def all_subsets(modalities: Sequence[str]) -> list[Subset]:
    """Returns the 2^M - 1 subsets that are not empty, small ones first, each in the order of `modalities`."""
    return [subset for size in range(1, len(modalities) + 1) for subset in combinations(modalities, size)]


def natural_presence(loader: BatchLoader) -> Tensor:
    """Marks the modalities that the split's clips have, (N, M) bool on the CPU."""
    return torch.stack([stream.lengths > 0 for stream in loader.split.streams.values()], dim=1)


@dataclass
class SubsetPredictions:
    """Holds the predictions of a split from each subset of modalities.

    present: (N, M) bool, the modalities that the clips have. by_subset: subset -> predictions. If a clip has no
    modality of a subset, its prediction there is from all that it has, and `at` never reads it.
    """

    modalities: Subset
    present: Tensor
    by_subset: dict[Subset, Predictions]

    @property
    def whole(self) -> Predictions:
        """Returns the predictions from all modalities."""
        return self.by_subset[self.modalities]

    def at(self, keep_NM: Tensor) -> Predictions:
        """Returns the predictions from the modalities that each clip has and keeps.

        keep_NM: bool; at least one modality must remain of each clip.
        """
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
    """Predicts the split once from each subset of modalities. track: shows progress."""
    modalities = tuple(loader.split.streams)
    subsets = all_subsets(modalities)
    by_subset = {s: predict_split(method, loader, change=_only(s)) for s in track(subsets, "subsets")}
    return SubsetPredictions(modalities, natural_presence(loader), by_subset)


def choose_clips(predictions: Predictions, rows_N: Tensor) -> Predictions:
    """Returns the predictions of the clips where rows_N, bool, is True."""
    probabilities = predictions.probabilities
    return Predictions(
        predictions.score[rows_N],
        {name: loss_N[rows_N] for name, loss_N in predictions.losses.items()},
        None if probabilities is None else probabilities[rows_N],
    )


def _only(subset: Subset) -> Callable[[Batch], Batch]:
    """Returns the change that leaves a batch's clips the modalities of a subset, or all if none would remain."""

    def change(batch: Batch) -> Batch:
        absent_M = torch.tensor([name not in subset for name in batch.streams], device=batch.present.device)
        remains_B = (batch.present & ~absent_M).any(dim=1)
        return batch.without(absent_M & remains_B[:, None])

    return change
