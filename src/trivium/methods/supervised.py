"""Supervised joint training: encoders -> fusion -> head -> objective. The baseline of everything.

An absent modality enters the fusion as a zero vector. Legend: B clips, E joint embedding.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from trivium.data.batch import Batch
from trivium.methods.base import Method, Parts, Prediction
from trivium.methods.heads import Head


class Supervised(Method):
    """Any fusion; regression or classification, as the objective asks.

    head_hidden: sizes of the head's hidden layers. head_dropout: after each of them, 0 to 1.
    """

    def __init__(
        self, parts: Parts, *, name: str = "supervised", head_hidden: Sequence[int] = (), head_dropout: float = 0.0
    ) -> None:
        super().__init__(parts)
        self.name = name
        self.head = Head(parts.fusion.dim, parts.objective.outputs, hidden=head_hidden, dropout=head_dropout)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        prediction = self.predict(batch)
        return {"loss": batch.mean(self.objective(prediction.outputs, batch.targets["multimodal"]))}

    def predict(self, batch: Batch) -> Prediction:
        joint_BE = self.fusion(self.encode(batch), batch.present)
        return self.decode(self.head(joint_BE), joint_BE)
