"""Computes TCMax for scores instead of classes. The formula is ours: the paper's for regression is not public.

The label is one more variable of the total correlation, which comes from a clip k of its own in the product:

    F(j_1, ..., j_M, k) = -|y_k - yhat(j_1, ..., j_M)|^2 / (2 s^2)
    L = -mean_i F(i, ..., i, i) + log sum_{j_1, ..., j_M, k} exp F(j_1, ..., j_M, k) - (M + 1) log N

Legend: b clips on this rank, N of the global batch, M modalities, K scores.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from trivium.core.precision import at_least_float32
from trivium.data.batch import Batch
from trivium.data.target import Target
from trivium.objectives.factored import Factor, FactoredObjective, FactoredScores, merged
from trivium.objectives.task import MSE
from trivium.objectives.tcmax import Evaluation, Form, tcmax_terms

# The label's name among those of the modalities, none of which can have parentheses.
LABEL = "(label)"


class TCMaxRegression(FactoredObjective, MSE):
    """Trains on L, for one score or several; validates and decodes as MSE does.

    The square mixes all modalities with the label, so that N^(M+1) tuples are scored whatever the fusion.
    scale: s, above 0, in the labels' unit, the same for all scores. chunk, negatives, form: as in
    trivium.objectives.tcmax.Evaluation.
    Raises ValueError for a scale that is not above 0, and as Evaluation does.
    """

    needs = "it measures how far scores lie from each other"

    def __init__(
        self,
        target: Target | Sequence[float] | None = None,
        *,
        scale: float = 1.0,
        chunk: int = 16384,
        negatives: int = 0,
        form: Form = "bound",
    ) -> None:
        super().__init__(target)
        if not scale > 0:
            raise ValueError(f"objective.scale: expected a number above 0, in the labels' unit; found {scale}")
        self.scale = scale
        self.evaluation = Evaluation(chunk, negatives, form)

    def losses(self, scores: FactoredScores, batch: Batch, key: int) -> dict[str, Tensor]:
        """Returns "tc_estimate", "zero_min" and "loss", in nats."""
        target_bK = at_least_float32(batch.target).view(len(batch), -1)
        error_bK = self.error(scores.matched, batch.target).view_as(target_bK)
        matched_b1 = -_squared_length(error_bK) / (2 * self.scale**2)
        whole = FactoredScores(matched_b1, {}, (self._with_label(scores, target_bK),), None)
        # With the label among the variables no class is left to sum over: there is one, and every clip is of it.
        only_class_b = torch.zeros_like(target_bK[:, 0], dtype=torch.long)
        return tcmax_terms(whole, only_class_b, batch, key, self.evaluation, readings=False)

    def _with_label(self, scores: FactoredScores, target_bK: Tensor) -> Factor:
        """Returns one block of all modalities and the label.

        The label's part is y - bias: the bias is in no block, and so takes part in the tuples and gets its gradient.
        """
        predicted = merged(scores.factors)
        label_bK = target_bK if scores.bias is None else target_bK - at_least_float32(scores.bias)

        def score(parts: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> Tensor:
            return -_squared_length(parts[LABEL] - predicted.score(parts, present)) / (2 * self.scale**2)

        return Factor(
            parts={**predicted.parts, LABEL: label_bK},
            present={**predicted.present, LABEL: torch.ones_like(target_bK[:, 0], dtype=torch.bool)},
            score=score,
            parameters=predicted.parameters,
        )


def _squared_length(error: Tensor) -> Tensor:
    """Returns the squared length over the last axis, (..., K) -> (..., 1)."""
    return error.square().sum(dim=-1, keepdim=True)
