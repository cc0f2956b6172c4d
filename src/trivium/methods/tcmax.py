"""TCMax (OpenReview MbQhdzAhSl, whose code is hubaak/TCMax): the classifier's own score bounds the total correlation
of modalities and label. docs/methods/tcmax.md says what is published and which reading was taken.

Encoders -> fusion -> one head -> objective. Beyond the outputs an objective may need the score of modalities that are
taken from different clips; it gets that as factors (trivium.objectives.factored), which the fusion's blocks give.
An absent modality is what the fusion makes of it. Legend: b clips on this rank, M modalities, E joint, C outputs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trivium.data.batch import Batch
from trivium.distributed import most_over_ranks
from trivium.encoders.base import Encoded
from trivium.fusions.base import Fusion
from trivium.methods.base import Method, Parts, Prediction
from trivium.methods.heads import Head
from trivium.objectives.factored import Factor, FactoredObjective, FactoredScores

Named = dict[str, Tensor]


class TCMax(Method):
    """objective=tcmax, joint, unimodal or tcmax_regression; any other one is ordinary supervised training.

    The head is the fusion's own (Fusion.make_head) or a Linear. head_hidden: sizes of hidden layers before it; the
    score is then no sum over the fusion's blocks but one block of all modalities.
    Raises ValueError for hidden layers before a fusion's own head, and for dropout in what mixes the modalities. A
    fusion of tokens has all of itself in that: N^M passes a step, or objective.negatives of them.
    """

    factored = True

    def __init__(
        self, parts: Parts, *, name: str = "tcmax", head_hidden: Sequence[int] = (), modality_dropout: float = 0.0
    ) -> None:
        super().__init__(parts, modality_dropout=modality_dropout)
        self.name, self.linear = name, not head_hidden
        outputs, dim = parts.objective.outputs, parts.fusion.dim
        own = parts.fusion.make_head(outputs)
        _check(parts, own, head_hidden)
        self.head: nn.Module = own or (
            nn.Linear(dim, outputs) if self.linear else Head(dim, outputs, hidden=head_hidden)
        )

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        if isinstance(self.objective, FactoredObjective):
            return self.objective.losses(self.scores(batch), batch, self.step_key("negatives"))
        return {"loss": batch.mean(self.objective(self.predict(batch).outputs, batch.targets["multimodal"]))}

    def predict(self, batch: Batch) -> Prediction:
        parts, present = self._parts(batch)
        joint_bE, outputs_bC = self._matched(parts, present)
        return self.decode(outputs_bC, joint_bE)

    def scores(self, batch: Batch) -> FactoredScores:
        """Of the matched clips, of each modality read alone where the objective asks, and of the blocks.

        Encoders run once.
        """
        parts, present = self._parts(batch)
        blocks = self.fusion.blocks if self.linear else (tuple(parts),)
        factors = tuple(self._factor(block, parts, present) for block in blocks)
        wanted = parts if getattr(self.objective, "wants_unimodal", True) else ()
        unimodal = {name: self._alone(name, parts, present) for name in wanted}
        return FactoredScores(self._matched(parts, present)[1], unimodal, factors, self._bias)

    # What a score is made of

    def _parts(self, batch: Batch) -> tuple[Named, Named]:
        """What the fusion makes of each modality by itself, (b, Q_m), and who is present, (b,)."""
        parts = self.fusion.separate(self._alike(self.encode(batch), batch), batch.present)
        dtype = next(self.head.parameters()).dtype  # the products from here on are not autocast's
        present = dict(zip(parts, batch.present.unbind(dim=1), strict=True))
        return {name: part.to(dtype) for name, part in parts.items()}, present

    def _alike(self, encoded: dict[str, Encoded], batch: Batch) -> dict[str, Encoded]:
        """For fusions of tokens: as many steps on every rank, so that their clips can be paired."""
        if self.fusion.reads != "tokens" or len(batch.shares) == 1:
            return encoded
        alike = {}
        for name, one in encoded.items():
            missing = most_over_ranks(one.mask.shape[1], one.mask.device) - one.mask.shape[1]
            alike[name] = Encoded(F.pad(one.tokens, (0, 0, 0, missing)), F.pad(one.mask, (0, missing)), one.pooled)
        return alike

    def _matched(self, parts: Named, present: Named) -> tuple[Tensor, Tensor]:
        """(b, E) joint vectors and (b, C) outputs: the diagonal of the factors' table, with the bias."""
        with torch.autocast(self.device.type, enabled=False):
            joint_bE = self.fusion.join(parts, present)
            return joint_bE, self.head(joint_bE)

    def _alone(self, name: str, parts: Named, present: Named) -> Tensor:
        """(b, C) with every other modality absent. Where scores add up, this modality's share of them instead, with
        1/M of the head's bias, as the public code reads its concat head: the shares' sum is the matched score.
        """
        if self.linear and self.fusion.additive:
            with torch.autocast(self.device.type, enabled=False):
                share_bC = self._score((name,), {name: parts[name]}, {name: present[name]})
                return share_bC if self._bias is None else share_bC + self._bias / len(parts)
        alone = {other: here if other == name else torch.zeros_like(here) for other, here in present.items()}
        return self._matched(parts, alone)[1]

    def _factor(self, block: tuple[str, ...], parts: Named, present: Named) -> Factor:
        return Factor(
            parts={name: parts[name] for name in block},
            present={name: present[name] for name in block},
            score=lambda parts, present: self._score(block, parts, present),
            parameters=(*self.fusion.parameters(), *self.head.parameters()),
        )

    def _score(self, block: tuple[str, ...], parts: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> Tensor:
        """(..., C): what a block adds to the score, without the bias; with a non-linear head, the whole score."""
        if not self.linear:
            scores: Tensor = self.head(self.fusion.join(parts, present))
            return scores
        weight = self.head.weight
        assert isinstance(weight, Tensor)
        return F.linear(self.fusion.combine(block, parts, present), weight)

    @property
    def _bias(self) -> Tensor | None:
        bias = self.head.bias if self.linear else None
        assert bias is None or isinstance(bias, Tensor)
        return bias


def _check(parts: Parts, own: nn.Module | None, head_hidden: Sequence[int]) -> None:
    fusion: Fusion = parts.fusion
    kind = type(fusion).__name__
    if own is not None and head_hidden:
        raise ValueError(
            f"method.head_hidden: expected [], as {kind} has a head of its own, found {list(head_hidden)}; empty it, "
            "or take another fusion"
        )
    if parts.objective.factored and fusion.random_combine:
        raise ValueError(
            f"fusion.dropout: {kind} drops what it has mixed, so that a pair of clips would get another score each "
            "time it is asked; every dropout of it at 0, such as fusion.dropout=0 (encoders may have dropout), or "
            "another fusion"
        )
