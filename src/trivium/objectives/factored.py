"""A score as a sum of blocks of modalities, for objectives that score modalities of different clips together.

F(j_1, ..., j_M)_y = sum over blocks of s(the j of its modalities)_y + bias_y, where j_m says which clip modality m is
taken from. Legend: b clips on this rank, M modalities, Q_m size of a modality's part, C classes.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor, nn

from trivium.data.batch import Batch
from trivium.precision import at_least_float32

Score = Callable[[Mapping[str, Tensor], Mapping[str, Tensor]], Tensor]


@dataclass(frozen=True)
class Factor:
    """One block. parts: modality -> (b, Q_m), what it brings; present: modality -> (b,) bool.

    score: parts (..., Q_m) and present (...), whose leading dimensions broadcast, -> (..., C). Deterministic: it is
    evaluated for values and again for gradients. parameters: those that `score` uses.
    """

    parts: dict[str, Tensor]
    present: dict[str, Tensor]
    score: Score
    parameters: tuple[nn.Parameter, ...]

    @property
    def modalities(self) -> tuple[str, ...]:
        return tuple(self.parts)


@dataclass(frozen=True)
class FactoredScores:
    """matched (b, C): F of each clip's own modalities. unimodal: modality -> (b, C), F with every other one absent.

    bias: (C,), added once to a sum of factors; None where there is none.
    """

    matched: Tensor
    unimodal: dict[str, Tensor]
    factors: tuple[Factor, ...]
    bias: Tensor | None


class FactoredObjective:
    """Mixed into a TaskObjective: what method=tcmax asks of it. forward and decode stay the matched score's."""

    factored: ClassVar[bool] = True
    wants_unimodal: ClassVar[bool] = (
        False  # whether `losses` looks at FactoredScores.unimodal, which is empty otherwise
    )

    def losses(self, scores: FactoredScores, batch: Batch, key: int) -> dict[str, Tensor]:
        """Named terms, "loss" last. key: seed for draws that concern the global batch, alike on every rank."""
        raise TypeError(f"{type(self).__name__} defines no losses")


def in_full_precision(factor: Factor) -> Factor:
    """The same block, its score in float32 at least whatever the autocast, its parameters each once.

    Where parameters are themselves narrower (a model held in bfloat16), the score is computed as they are and widened.
    """
    trained = tuple(dict.fromkeys(p for p in factor.parameters if p.requires_grad))
    own = functools.reduce(torch.promote_types, (p.dtype for p in factor.parameters)) if factor.parameters else None

    def score(parts: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> Tensor:
        device = next(iter(parts.values())).device.type
        with torch.autocast(device, enabled=False):
            cast = parts if own is None else {name: part.to(own) for name, part in parts.items()}
            return at_least_float32(factor.score(cast, present))

    parts = {name: at_least_float32(part) for name, part in factor.parts.items()}
    return replace(factor, parts=parts, score=score, parameters=trained)


def merged(factors: Sequence[Factor]) -> Factor:
    """One block of all their modalities, whose score is their sum (in full precision)."""
    blocks = [in_full_precision(factor) for factor in factors]

    def score(parts: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> Tensor:
        terms = (
            block.score({m: parts[m] for m in block.modalities}, {m: present[m] for m in block.modalities})
            for block in blocks
        )
        return functools.reduce(torch.add, terms)

    return Factor(
        parts={m: part for block in blocks for m, part in block.parts.items()},
        present={m: here for block in blocks for m, here in block.present.items()},
        score=score,
        parameters=tuple(p for block in blocks for p in block.parameters),
    )
