"""TCMax's bound on the total correlation of modalities and label, its closed form, and its two baselines.

TC(Z_1, ..., Z_M, Y) >= E_matched[F] - log E_product[exp F] for any F (Donsker and Varadhan's bound, for M + 1
variables). TCMax (OpenReview MbQhdzAhSl) takes the classifier's own score for F and a uniform class in the product:

    L = -mean_i F(i, ..., i)_{y_i} + log sum_{j_1, ..., j_M, y} exp F(j_1, ..., j_M)_y - M log N - log C

-L bounds TC + log C - H(Y) from below. L is 0 for constant scores and at least -log(N^(M-1) C). At the optimum
F = log p(y | z) + terms free of y, so the softmax of F is the posterior and needs no correction by the prior.

Closed form. Where F is a sum of one score a modality, F(j_1, ..., j_M)_y = sum_m s_m(j_m)_y + b_y, the sum over N^M
tuples is a product of M sums over clips, and costs M N C instead of N^M C:

    log sum_{j_1, ..., j_M, y} exp F = log sum_y exp [b_y + sum_m log sum_j exp s_m(j)_y]

A fusion says by its blocks how far F is such a sum (trivium.fusions.base). Each block gives its log-sums (C,): by
`closed_form` if it has one modality, else by `log_sums`; they and the bias add up, and the last sum is over y.
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

from trivium.core.distributed import sum_over_ranks
from trivium.core.precision import at_least_float32
from trivium.core.seeding import generator
from trivium.data.batch import Batch
from trivium.objectives.factored import Factor, FactoredObjective, FactoredScores, in_full_precision, merged
from trivium.objectives.log_sums import LogSums, log_sum_over_ranks, log_sums, sampled_log_sums
from trivium.objectives.task import CrossEntropy

Form = Literal["bound", "zero_min"]


@dataclass(frozen=True)
class Evaluation:
    """Holds how the sum over tuples is evaluated.

    chunk: tuples scored at once where modalities mix; memory is proportional to it, values do not depend on it.
    negatives: 0 for all N^M tuples; n > 0 for n random ones; -1 for N, the first modality in order.
    form: the constant, at equal gradients: "bound" is L, "zero_min" is L + log(N^(M-1) C), which with all tuples is
    never below 0.
    Raises ValueError for settings out of range.
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
    """Returns "tc_estimate" (-L, nats), "zero_min" (L + log(N^(M-1) C)), "reading_MODALITY" and "loss", in nats.

    Only "loss" has a gradient.
    scores: F of this rank's clips and its blocks; the blocks decide the cost. A block of one modality costs N C, one of
    k modalities N^k C; drawn tuples are scored as they are.
    labels_b: int64 classes. key: seed of the drawn tuples, alike on every rank.
    A reading measures what one modality tells about the class when the others are any clip's: -mean_i log of the
    softmax over all tuples and classes, summed over the others at (i, y_i), minus log N. There are readings with all
    tuples alone, and they are not trained on.
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
    """Draws clips uniformly with replacement, for each modality by itself: (M, n) int64 on the CPU.

    negatives: n, or -1 for n = clips with the first modality in order. Matched tuples are not excluded.
    """
    count = _count(negatives, clips)
    index_Mn = torch.randint(clips, (modalities, count), generator=generator(key, "negatives"))
    if negatives == -1:
        index_Mn[0] = torch.arange(clips)
    return index_Mn


def _count(negatives: int, clips: int) -> int:
    return clips if negatives == -1 else negatives


def _sums(scores: FactoredScores, labels_b: Tensor | None, batch: Batch, key: int, how: Evaluation) -> list[LogSums]:
    """Returns the log-sums of each block over all tuples, or of all blocks together over drawn ones."""
    classes = scores.matched.shape[-1]
    if how.negatives == 0:
        return [
            closed_form(factor, batch, labels_b)
            if len(factor.modalities) == 1
            else log_sums(factor, batch, labels_b, classes=classes, chunk=how.chunk)
            for factor in scores.factors
        ]
    # Drawn tuples pair all modalities, so the blocks are one.
    whole = merged(scores.factors)
    index_Mn = draw_tuples(len(whole.parts), batch.global_size, how.negatives, key)
    return [sampled_log_sums(whole, batch, index_Mn, classes=classes, chunk=how.chunk)]


def closed_form(factor: Factor, batch: Batch, labels_b: Tensor | None) -> LogSums:
    """Returns the log-sums over all clips of a block of one modality, in O(N C); see the top of this file.

    labels_b: int64 classes, for LogSums.own. Between ranks only C sums a rank travel.
    """
    factor = in_full_precision(factor)
    scores_bC = factor.score(factor.parts, factor.present)
    total_C = scores_bC.logsumexp(dim=0)
    if not batch.shares[batch.rank]:
        # A rank's filler clip adds nothing. By where, and not as a new tensor, its rank stays in the backward's
        # collective.
        total_C = torch.where(torch.ones_like(total_C, dtype=torch.bool), -math.inf, total_C)
    own = {}
    if labels_b is not None:
        own = {factor.modalities[0]: scores_bC.detach().gather(1, labels_b[:, None]).squeeze(1)}
    return LogSums(log_sum_over_ranks(total_C, batch), own)


def _readings(sums: Sequence[LogSums], log_share_C: Tensor, labels_b: Tensor, batch: Batch) -> dict[str, Tensor]:
    """Returns "reading_MODALITY" for each modality with sums of its own.

    log_share_C: log of the softmax's mass at each class; a clip's share of it is that of its block's sum.
    """
    return {
        f"reading_{m}": -batch.mean((log_share_C - part.total.detach()).index_select(0, labels_b) + own_b)
        - math.log(batch.global_size)
        for part in sums
        for m, own_b in part.own.items()
    }


class TCMax(FactoredObjective, CrossEntropy):
    """Trains on `tcmax_terms`; validates and decodes as CrossEntropy does, whose classes it has.

    The softmax of the matched scores is the posterior, and the score for every metric is the expected value of the
    class.
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
    """Trains the cross-entropy of the matched scores: TCMax's baseline with the same encoders, fusion and head."""

    def losses(self, scores: FactoredScores, batch: Batch, key: int) -> dict[str, Tensor]:
        return {"loss": batch.mean(self(scores.matched, batch.targets["multimodal"]))}


class Unimodal(FactoredObjective, CrossEntropy):
    """Trains the cross-entropy of each modality alone, and predicts with all of them (a unimodal ensemble).

    A modality's mean is over the global batch's clips that have it, 0 where none has.
    """

    wants_unimodal = True

    def losses(self, scores: FactoredScores, batch: Batch, key: int) -> dict[str, Tensor]:
        present = {m: present_b for factor in scores.factors for m, present_b in factor.present.items()}
        counted_bM = torch.stack([present[m] for m in scores.unimodal], dim=1) & (batch.weight > 0)[:, None]
        clips_M = sum_over_ranks(counted_bM.sum(dim=0)).clamp_min(1)
        terms = {}
        for column, (m, outputs_bC) in enumerate(scores.unimodal.items()):
            per_clip_b = torch.where(counted_bM[:, column], self(outputs_bC, batch.targets["multimodal"]), 0.0)
            terms[f"unimodal_{m}"] = batch.mean(per_clip_b) * batch.global_size / clips_M[column]
        return {**terms, "loss": torch.stack(list(terms.values())).sum()}
