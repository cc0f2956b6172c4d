"""Trains TCMax (OpenReview MbQhdzAhSl, code hubaak/TCMax): the score bounds the total correlation with the label.

docs/methods/tcmax.md says what is published and which reading was taken.
Encoders -> fusion -> one head -> objective. Beside the outputs, an objective may need the score of modalities that are
taken from different clips. It gets that score as factors (trivium.objectives.factored), which come from the fusion's
blocks. The bound and its closed form are in trivium.objectives.tcmax. Absent modalities are treated as the fusion does.
Legend: b clips on this rank, M modalities, E joint, C outputs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trivium.core.distributed import most_over_ranks
from trivium.data.batch import Batch
from trivium.encoders.base import Encoded
from trivium.fusions.base import Fusion
from trivium.methods.base import Method, Parts, Prediction
from trivium.methods.heads import Head, unimodal_share
from trivium.objectives.factored import Factor, FactoredObjective, FactoredScores

Named = dict[str, Tensor]


class TCMax(Method):
    """Trains on objective=tcmax, joint, unimodal or tcmax_regression; with any other it is supervised training.

    The head is that of the fusion (Fusion.make_head), or else a Linear.
    head_hidden: sizes of hidden layers before the head. With these the score is no sum over the fusion's blocks, and
    all modalities form one block.
    A fusion of tokens mixes the modalities in all that it does, and so runs N^M times a step, or objective.negatives
    times.
    Raises ValueError for hidden layers before a fusion's own head, and for dropout where modalities are mixed.
    """

    factored = True

    def __init__(self, parts: Parts, *, name: str = "tcmax", head_hidden: Sequence[int] = ()) -> None:
        super().__init__(parts)
        self.name, self.linear = name, not head_hidden
        outputs, dim = parts.objective.outputs, parts.fusion.dim
        fusion_head = parts.fusion.make_head(outputs)
        _check(parts, fusion_head, head_hidden)
        self.head: nn.Module = fusion_head or (
            nn.Linear(dim, outputs) if self.linear else Head(dim, outputs, hidden=head_hidden)
        )

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        if isinstance(self.objective, FactoredObjective):
            return self.objective.losses(self.scores(batch), batch, self.step_key("negatives"))
        return {"loss": batch.mean(self.objective(self.predict(batch).outputs, batch.target))}

    def predict(self, batch: Batch) -> Prediction:
        parts, present = self._parts(batch)
        joint_bE, outputs_bC = self._matched(parts, present)
        return self.decode(outputs_bC, joint_bE)

    def scores(self, batch: Batch) -> FactoredScores:
        """Returns the scores of a batch: of its clips, of each modality alone if the objective needs it, and by block.

        Encoders run once.
        """
        parts, present = self._parts(batch)
        blocks = self.fusion.blocks if self.linear else (tuple(parts),)
        factors = tuple(self._factor(block, parts, present) for block in blocks)
        alone = parts if getattr(self.objective, "wants_unimodal", True) else ()
        unimodal = {name: self._alone(name, parts, present) for name in alone}
        return FactoredScores(self._matched(parts, present)[1], unimodal, factors, self._bias)

    # What a score is made of

    def _parts(self, batch: Batch) -> tuple[Named, Named]:
        """Returns modality -> its part in the fusion, (b, Q_m), and modality -> the clips that have it, (b,) bool."""
        parts = self.fusion.separate(self._pad_alike(self.encode(batch), batch), batch.present)
        # Scores are computed without autocast, so the parts take the type of the head's weights.
        dtype = next(self.head.parameters()).dtype
        present = dict(zip(parts, batch.present.unbind(dim=1), strict=True))
        return {name: part.to(dtype) for name, part in parts.items()}, present

    def _pad_alike(self, encoded: dict[str, Encoded], batch: Batch) -> dict[str, Encoded]:
        """Returns tokens padded to the same number of steps on every rank, so that clips of all ranks can be paired."""
        if self.fusion.reads != "tokens" or len(batch.shares) == 1:
            return encoded
        padded = {}
        for name, out in encoded.items():
            missing = most_over_ranks(out.mask.shape[1], out.mask.device) - out.mask.shape[1]
            padded[name] = Encoded(F.pad(out.tokens, (0, 0, 0, missing)), F.pad(out.mask, (0, missing)), out.pooled)
        return padded

    def _matched(self, parts: Named, present: Named) -> tuple[Tensor, Tensor]:
        """Returns joint vectors (b, E) and outputs (b, C): the score of each clip's own modalities, with the bias."""
        with torch.autocast(self.device.type, enabled=False):
            joint_bE = self.fusion.join(parts, present)
            return joint_bE, self.head(joint_bE)

    def _alone(self, name: str, parts: Named, present: Named) -> Tensor:
        """Returns the score with every other modality absent, (b, C), or this modality's share if scores add up."""
        if self.linear and self.fusion.additive:
            with torch.autocast(self.device.type, enabled=False):
                return unimodal_share(self.fusion, name, parts[name], present[name], self._weight, self._bias)
        alone = {other: has_b if other == name else torch.zeros_like(has_b) for other, has_b in present.items()}
        return self._matched(parts, alone)[1]

    def _factor(self, block: tuple[str, ...], parts: Named, present: Named) -> Factor:
        """Returns a block of the score, as objectives take it."""
        return Factor(
            parts={name: parts[name] for name in block},
            present={name: present[name] for name in block},
            score=lambda parts, present: self._score(block, parts, present),
            parameters=(*self.fusion.parameters(), *self.head.parameters()),
        )

    def _score(self, block: tuple[str, ...], parts: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> Tensor:
        """Returns what a block adds to the score, (..., C), without the bias; with hidden layers the whole score."""
        if not self.linear:
            scores: Tensor = self.head(self.fusion.join(parts, present))
            return scores
        return F.linear(self.fusion.combine(block, parts, present), self._weight)

    @property
    def _weight(self) -> Tensor:
        weight = self.head.weight
        assert isinstance(weight, Tensor)
        return weight

    @property
    def _bias(self) -> Tensor | None:
        bias = self.head.bias if self.linear else None
        assert bias is None or isinstance(bias, Tensor)
        return bias


def _check(parts: Parts, fusion_head: nn.Module | None, head_hidden: Sequence[int]) -> None:
    """Raises ValueError for a fusion that does not go with the head's hidden layers or with the objective."""
    fusion: Fusion = parts.fusion
    kind = type(fusion).__name__
    if fusion_head is not None and head_hidden:
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
