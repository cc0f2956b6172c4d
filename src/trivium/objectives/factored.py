"""Splits a score into blocks of modalities, for objectives that score modalities of different clips together.

F(j_1, ..., j_M)_y = bias_y + the sum over blocks of s(the j_m of the block's modalities)_y, where j_m is the clip that
modality m is taken from.
Legend: b clips on this rank, M modalities, Q_m size of a modality's part, C classes.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor, nn

from trivium.core.precision import at_least_float32
from trivium.core.wording import undefined
from trivium.data.batch import Batch
from trivium.data.target import Target

Score = Callable[[Mapping[str, Tensor], Mapping[str, Tensor]], Tensor]


@dataclass(frozen=True)
class Factor:
    """Holds one block of a score.

    parts: modality -> (b, Q_m), its part of the score's input. present: modality -> (b,) bool.
    score: maps parts (..., Q_m) and present (...), whose leading dimensions broadcast, to (..., C). It must not be
    random, because it is evaluated for values and again for gradients.
    parameters: those that `score` uses.
    """

    parts: dict[str, Tensor]
    present: dict[str, Tensor]
    score: Score
    parameters: tuple[nn.Parameter, ...]

    @property
    def modalities(self) -> tuple[str, ...]:
        """Returns the modalities of the block."""
        return tuple(self.parts)


@dataclass(frozen=True)
class FactoredScores:
    """Holds a score F and the blocks that it is a sum of.

    matched: (b, C), F of each clip's own modalities. unimodal: modality -> (b, C), F with every other modality absent.
    factors: the blocks. bias: (C,), added once to their sum, or None.
    """

    matched: Tensor
    unimodal: dict[str, Tensor]
    factors: tuple[Factor, ...]
    bias: Tensor | None


class FactoredObjective:
    """Adds to a TaskObjective a loss on a score's factors, which method=tcmax trains on.

    The TaskObjective's `forward` and `decode` take the matched scores.
    wants_unimodal: True if `losses` reads FactoredScores.unimodal, which is left empty otherwise.
    needs: why it is not defined for other targets, for messages.
    """

    factored: ClassVar[bool] = True
    wants_unimodal: ClassVar[bool] = False
    needs: ClassVar[str] = "it scores pairings of modalities for the one class of a clip"

    @classmethod
    def refusal(cls, target: Target) -> str:
        """Returns the message for a target that the objective is not defined for (TaskObjective.refusal)."""
        others = {"scores": "objective=tcmax_regression, or ", "classes": "objective=tcmax, or "}
        what = f"objective: {cls.__name__}, for method=tcmax,"
        return undefined(what, target.words, cls.needs, f"take {others.get(target.task, '')}method=supervised")

    def losses(self, scores: FactoredScores, batch: Batch, key: int) -> dict[str, Tensor]:
        """Returns named scalar terms, "loss" last. key: seed of draws for the global batch, the same on every rank."""
        raise TypeError(f"{type(self).__name__} defines no losses")


def in_full_precision(factor: Factor) -> Factor:
    """Returns the same block with scores in float32 at least, whatever the autocast, and each parameter listed once.

    If the parameters themselves are in half precision (a model held in bfloat16), the score is computed in theirs and
    then converted.
    """
    trained = tuple(dict.fromkeys(p for p in factor.parameters if p.requires_grad))
    dtypes = [parameter.dtype for parameter in factor.parameters]
    parameter_dtype = functools.reduce(torch.promote_types, dtypes) if dtypes else None

    def score(parts: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> Tensor:
        device = next(iter(parts.values())).device.type
        with torch.autocast(device, enabled=False):
            if parameter_dtype is not None:
                parts = {name: part.to(parameter_dtype) for name, part in parts.items()}
            return at_least_float32(factor.score(parts, present))

    parts = {name: at_least_float32(part) for name, part in factor.parts.items()}
    return replace(factor, parts=parts, score=score, parameters=trained)


def merged(factors: Sequence[Factor]) -> Factor:
    """Returns one block with all modalities of the factors, whose score is the sum of theirs, in full precision."""
    blocks = [in_full_precision(factor) for factor in factors]

    def score(parts: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> Tensor:
        terms = (
            block.score({m: parts[m] for m in block.modalities}, {m: present[m] for m in block.modalities})
            for block in blocks
        )
        return functools.reduce(torch.add, terms)

    return Factor(
        parts={m: part for block in blocks for m, part in block.parts.items()},
        present={m: present_b for block in blocks for m, present_b in block.present.items()},
        score=score,
        parameters=tuple(p for block in blocks for p in block.parameters),
    )
