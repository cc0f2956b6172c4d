"""TCMax: a bound on the total correlation of the modalities and the label, over pairings of modalities of different
clips; and its baselines joint and unimodal cross-entropy.

TC(Z_1, ..., Z_M, Y) >= E_matched[F] - log E_product[exp F] for any F (Donsker and Varadhan's bound, for M + 1
variables). TCMax (OpenReview MbQhdzAhSl) takes the classifier's own score for F and a uniform class in the product:

    L = -mean_i F(i, ..., i)_{y_i} + log sum_{j_1, ..., j_M, y} exp F(j_1, ..., j_M)_y - M log N - log C

-L bounds TC + log C - H(Y) from below. L is 0 for constant scores and at least -log(N^(M-1) C). At the optimum
F = log p(y | z) + terms free of y, so the softmax of F is the posterior and needs no correction by the prior.
Legend: b clips on this rank, N of the global batch, M modalities, n tuples, C classes.
"""

from __future__ import annotations

import functools
import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from trivium.data.batch import Batch
from trivium.distributed import sum_over_ranks
from trivium.objectives.factored import FactoredObjective, FactoredScores, merged
from trivium.objectives.log_sums import LogSums, log_sums, sampled_log_sums
from trivium.objectives.task import CrossEntropy
from trivium.precision import at_least_float32
from trivium.seeding import generator

Form = Literal["bound", "zero_min"]


@dataclass(frozen=True)
class Evaluation:
    """How the sum over tuples is evaluated. Raises ValueError for settings out of range.

    chunk: tuples scored at once where modalities mix; memory is proportional to it, values do not depend on it.
    negatives: 0 for all N^M tuples; n > 0 for n random ones; -1 for N, the first modality in order.
    form: the constant, at equal gradients: "bound" is L, "zero_min" is L + log(N^(M-1) C), which with all tuples is
    never below 0.
    """

    chunk: int = 16384
    negatives: int = 0
    form: Form = "bound"

    def __post_init__(self) -> None:
        if self.chunk < 1:
            raise ValueError(f"objective.chunk: expected at least 1 tuple at once, found {self.chunk}")
        if self.negatives < -1:
            raise ValueError(
                f"objective.negatives: {self.negatives}; expected 0 (all tuples), a number of random tuples, or -1 "
                "(as many as clips, the first modality in order)"
            )
        if self.form not in get_args(Form):
            raise ValueError(f"objective.form: {self.form!r}; expected one of {', '.join(get_args(Form))}")


def tcmax_terms(
    scores: FactoredScores, labels_b: Tensor, batch: Batch, key: int, how: Evaluation, *, readings: bool = True
) -> dict[str, Tensor]:
    """ "tc_estimate" (-L, nats), "zero_min" (L + log(N^(M-1) C)), "reading_MODALITY" and, with gradient, "loss".

    scores: F of this rank's clips and its blocks; the blocks decide the cost. All of one modality: O(M N C). Otherwise
    a block of k modalities is evaluated for N^k tuples, or all of them for the drawn ones.
    labels_b: int64 classes. key: seed of the drawn tuples, alike on every rank.
    A reading is what one modality says of the class when the others are anybody's: -mean_i log of the softmax over all
    tuples and classes, summed over the others at (i, y_i), minus log N. Only with all tuples; not trained on.
    """
    if batch.global_size == 1:
        warnings.warn("TCMax on a batch of one clip has no negatives: it is cross-entropy - log C", stacklevel=2)
    clips, classes = batch.global_size, scores.matched.shape[-1]
    modalities = sum(len(factor.parts) for factor in scores.factors)
    sums = _sums(scores, labels_b if readings else None, batch, key, how)
    table_C = functools.reduce(torch.add, (part.total for part in sums))
    if scores.bias is not None:
        table_C = table_C + at_least_float32(scores.bias)
    log_z = table_C.logsumexp(dim=0)
    matched_b = at_least_float32(scores.matched).gather(1, labels_b[:, None]).squeeze(1)
    tuples = modalities * math.log(clips) if how.negatives == 0 else math.log(_count(how.negatives, clips))
    bound = log_z - tuples - math.log(classes) - batch.mean(matched_b)
    zero_min = bound + ((modalities - 1) * math.log(clips) + math.log(classes))
    return {
        "tc_estimate": -bound.detach(),
        "zero_min": zero_min.detach(),
        **_readings(sums, (table_C - log_z).detach(), labels_b, batch),
        "loss": zero_min if how.form == "zero_min" else bound,
    }


def draw_tuples(modalities: int, clips: int, negatives: int, key: int) -> Tensor:
    """(M, n) int64 on the CPU: clips drawn uniformly with replacement, for each modality by itself. negatives: n, or -1
    for n = clips with the first modality in order. Matched tuples are not excluded.
    """
    count = _count(negatives, clips)
    index_Mn = torch.randint(clips, (modalities, count), generator=generator(key, "negatives"))
    if negatives == -1:
        index_Mn[0] = torch.arange(clips)
    return index_Mn


def _count(negatives: int, clips: int) -> int:
    return clips if negatives == -1 else negatives


def _sums(scores: FactoredScores, labels_b: Tensor | None, batch: Batch, key: int, how: Evaluation) -> list[LogSums]:
    """Of each block over all tuples; or of all blocks together over drawn ones, which pair all modalities."""
    classes = scores.matched.shape[-1]
    if how.negatives == 0:
        return [log_sums(f, batch, labels_b, classes=classes, chunk=how.chunk) for f in scores.factors]
    whole = merged(scores.factors)
    index_Mn = draw_tuples(len(whole.parts), batch.global_size, how.negatives, key)
    return [sampled_log_sums(whole, batch, index_Mn, classes=classes, chunk=how.chunk)]


def _readings(sums: Sequence[LogSums], log_share_C: Tensor, labels_b: Tensor, batch: Batch) -> dict[str, Tensor]:
    """log_share_C: log of the softmax's mass at each class. A clip of one block stands for that block's whole sum."""
    return {
        f"reading_{m}": -batch.mean((log_share_C - part.total.detach()).index_select(0, labels_b) + own_b)
        - math.log(batch.global_size)
        for part in sums
        for m, own_b in part.own.items()
    }


class TCMax(FactoredObjective, CrossEntropy):
    """Trains on `tcmax_terms`; validates and decodes as CrossEntropy does, whose classes it has: softmax of the matched
    scores is the posterior, and the score for every metric is the expected value of the class.

    Raises ValueError as CrossEntropy and Evaluation do.
    """

    def __init__(
        self,
        label_range: Sequence[float] | None,
        *,
        classes: int = 0,
        chunk: int = 16384,
        negatives: int = 0,
        form: Form = "bound",
    ) -> None:
        super().__init__(label_range, classes=classes)
        self.how = Evaluation(chunk, negatives, form)

    def losses(self, scores: FactoredScores, batch: Batch, key: int) -> dict[str, Tensor]:
        return tcmax_terms(scores, self.classes(batch.targets["multimodal"]), batch, key, self.how)


class Joint(FactoredObjective, CrossEntropy):
    """Cross-entropy of the matched scores: TCMax's baseline with the same encoders, fusion and head."""

    def losses(self, scores: FactoredScores, batch: Batch, key: int) -> dict[str, Tensor]:
        return {"loss": batch.mean(self(scores.matched, batch.targets["multimodal"]))}


class Unimodal(FactoredObjective, CrossEntropy):
    """Sum over modalities of the cross-entropy of each alone; predicted with all of them (a unimodal ensemble).

    A modality's mean is over the global batch's clips that have it, 0 where none has.
    """

    wants_unimodal = True

    def losses(self, scores: FactoredScores, batch: Batch, key: int) -> dict[str, Tensor]:
        present = {m: here for factor in scores.factors for m, here in factor.present.items()}
        here_bM = torch.stack([present[m] for m in scores.unimodal], dim=1) & (batch.weight > 0)[:, None]
        clips_M = sum_over_ranks(here_bM.sum(dim=0)).clamp_min(1)
        terms = {}
        for column, (m, outputs_bC) in enumerate(scores.unimodal.items()):
            per_clip_b = torch.where(here_bM[:, column], self(outputs_bC, batch.targets["multimodal"]), 0.0)
            terms[f"unimodal_{m}"] = batch.mean(per_clip_b) * batch.global_size / clips_M[column]
        return {**terms, "loss": torch.stack(list(terms.values())).sum()}
