"""Defines what a method's `predict` returns, and checks at the first step that a method returns what it should.

Legend: B clips, E joint embedding, K outputs of the head, C classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from trivium.data.batch import Batch

if TYPE_CHECKING:
    from trivium.methods.base import Method


@dataclass
class Prediction:
    """Holds what a method predicts of a batch.

    outputs: (B, K), of the head. score: (B,) or (B, K), what the objective's `decode` makes of them: scores in the
    target's unit, class numbers or labels. probabilities: (B, C), of classes or labels; None in a regression.
    features: (B, E), the joint vector.
    """

    outputs: Tensor
    score: Tensor
    probabilities: Tensor | None
    features: Tensor


def check_terms(method: Method, terms: object) -> None:
    """Raises TypeError or ValueError unless `terms`, returned by method.losses, are named scalars with a "loss"."""
    name = f"{type(method).__name__}.losses"
    expected = 'expected a dict of scalar tensors, one of them under "loss"'
    if not isinstance(terms, dict):
        raise TypeError(f"{name} returned a {type(terms).__name__}; {expected}")
    for term, value in terms.items():
        if not isinstance(value, Tensor):
            raise TypeError(f"{name} returned a {type(value).__name__} as {term!r}; {expected}")
        if value.dim():
            raise ValueError(
                f"{name} returned a tensor of shape {tuple(value.shape)} as {term!r}; {expected}. Batch.mean makes "
                "one of a loss a clip"
            )
    if "loss" not in terms:
        raise ValueError(f"{name} returned the terms {', '.join(map(str, terms)) or 'of an empty dict'}; {expected}")


@torch.no_grad()
def check_predict(method: Method, batch: Batch) -> None:
    """Raises TypeError unless method.predict returns a Prediction.

    It is called before the first training step, because the first validation may be hours later. The modules are in
    evaluation mode meanwhile, so that no running statistics change. The step's random numbers are keyed afterwards.
    """
    modes = {module: module.training for module in method.modules()}
    method.eval()
    prediction: object = method.predict(batch)
    for module, mode in modes.items():
        module.training = mode
    if not isinstance(prediction, Prediction):
        raise TypeError(
            f"{type(method).__name__}.predict returned a {type(prediction).__name__}; expected a "
            "trivium.methods.base.Prediction, which Method.decode makes of the head's outputs and the joint vector"
        )
