"""Computes TCMax's bound on the total correlation of modalities and label, and defines its two baselines.

TC(Z_1, ..., Z_M, Y) >= E_matched[F] - log E_product[exp F] for any function F: the bound of Donsker and Varadhan (1983)
for M + 1 variables. "Matched" draws all of them from one clip, "product" each from a clip of its own. TCMax (OpenReview
MbQhdzAhSl) takes the classifier's score for F, and draws the class of the product uniformly:

    L = -mean_i F(i, ..., i)_{y_i} + log sum_{j_1, ..., j_M, y} exp F(j_1, ..., j_M)_y - M log N - log C

-L bounds TC + log C - H(Y) from below. L is 0 for constant scores, and at least -log(N^(M-1) C). At the optimum
F = log p(y | z) + terms without y, so the softmax of F is the posterior, and needs no correction by the prior.

Closed form. Where F is a sum of one score a modality, F(j_1, ..., j_M)_y = sum_m s_m(j_m)_y + b_y, the sum over N^M
tuples is a product of M sums over clips, and costs M N C instead of N^M C:

    log sum_{j_1, ..., j_M, y} exp F = log sum_y exp [b_y + sum_m log sum_j exp s_m(j)_y]

A fusion's blocks say how far F is such a sum (trivium.fusions.base). The log-sums of a block, (C,), come from
`closed_form` if it has one modality, and else from `log_sums`. They and the bias add up, and the last sum is over y.
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

from trivium.core.choices import check_choice
from trivium.core.distributed import sum_over_ranks
from trivium.core.precision import at_least_float32
from trivium.core.seeding import generator
from trivium.data.batch import Batch
from trivium.data.target import Target
from trivium.objectives.factored import Factor, FactoredObjective, FactoredScores, in_full_precision, merged
from trivium.objectives.log_sums import LogSums, log_sum_over_ranks, log_sums, sampled_log_sums
from trivium.objectives.task import CrossEntropy

Form = Literal["bound", "zero_min"]


@dataclass(frozen=True)
class Evaluation:
    """Holds how the sum over tuples is evaluated.

    chunk: number of tuples that are scored at once where modalities mix. Memory grows with it; values stay the same.
    negatives: 0 sums over all N^M tuples, n > 0 over n random ones, and -1 over N random ones that take the first
    modality from each clip once, in order.
    form: "bound" is L. "zero_min" is L + log(N^(M-1) C), which with all tuples is never below 0. Gradients are equal.
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
        check_choice("objective.form", self.form, get_args(Form))


def tcmax_terms(
    scores: FactoredScores, labels_b: Tensor, batch: Batch, key: int, evaluation: Evaluation, *, readings: bool = True
) -> dict[str, Tensor]:
    """Returns the scalar terms of a step, in nats; only "loss" has a gradient.

    "tc_estimate": -L. "zero_min": L + log(N^(M-1) C). "loss": one of the two, as `evaluation.form` says.
    "reading_MODALITY": what the modality alone tells about the class, with the others taken from any clip. It is the
    mean over clips i of -log P_i - log N, where P_i is the softmax over all tuples and classes, summed over the tuples
    that take this modality from clip i, at class y_i. Readings are recorded, not trained on, and need all tuples.

    scores: F of this rank's clips, and its blocks. A block of one modality costs N C, one of k modalities N^k C.
    labels_b: int64 classes. key: seed of the drawn tuples, the same on every rank. readings: False leaves them out.
    """
    if batch.global_size == 1:
        warnings.warn("TCMax on a batch of one clip has no negatives: it is cross-entropy - log C", stacklevel=2)
    clips, classes = batch.global_size, scores.matched.shape[-1]
    modalities = sum(len(factor.parts) for factor in scores.factors)
    sums = _sums(scores, labels_b if readings else None, batch, key, evaluation)
    # log sum over all tuples of exp F, at each class y. Blocks have no modality in common, so that the sum over tuples
    # is a product of sums over the blocks' tuples, and its log a sum.
    table_C = functools.reduce(torch.add, (block.total for block in sums))
    if scores.bias is not None:
        table_C = table_C + at_least_float32(scores.bias)
    log_z = table_C.logsumexp(dim=0)
    matched_b = at_least_float32(scores.matched).gather(1, labels_b[:, None]).squeeze(1)
    log_tuples = (
        modalities * math.log(clips) if evaluation.negatives == 0 else math.log(_count(evaluation.negatives, clips))
    )
    bound = log_z - log_tuples - math.log(classes) - batch.mean(matched_b)
    zero_min = bound + ((modalities - 1) * math.log(clips) + math.log(classes))
    return {
        "tc_estimate": -bound.detach(),
        "zero_min": zero_min.detach(),
        **_readings(sums, (table_C - log_z).detach(), labels_b, batch),
        "loss": zero_min if evaluation.form == "zero_min" else bound,
    }


def draw_tuples(modalities: int, clips: int, negatives: int, key: int) -> Tensor:
    """Draws tuples of clips, uniformly with replacement and for each modality by itself: (M, n) int64 on the CPU.

    negatives: n, or -1 for n = clips, with the first modality in order. Matched tuples are not excluded.
    """
    count = _count(negatives, clips)
    index_Mn = torch.randint(clips, (modalities, count), generator=generator(key, "negatives"))
    if negatives == -1:
        index_Mn[0] = torch.arange(clips)
    return index_Mn


def _count(negatives: int, clips: int) -> int:
    """Returns the number of drawn tuples."""
    return clips if negatives == -1 else negatives


def _sums(
    scores: FactoredScores, labels_b: Tensor | None, batch: Batch, key: int, evaluation: Evaluation
) -> list[LogSums]:
    """Returns the log-sums of each block over all tuples, or of all blocks together over drawn tuples."""
    classes = scores.matched.shape[-1]
    if evaluation.negatives == 0:
        return [
            closed_form(factor, batch, labels_b)
            if len(factor.modalities) == 1
            else log_sums(factor, batch, labels_b, classes=classes, chunk=evaluation.chunk)
            for factor in scores.factors
        ]
    # Over drawn tuples the sum does not factorise: each tuple is scored as a whole, and all blocks count as one.
    whole = merged(scores.factors)
    index_Mn = draw_tuples(len(whole.parts), batch.global_size, evaluation.negatives, key)
    return [sampled_log_sums(whole, batch, index_Mn, classes=classes, chunk=evaluation.chunk)]


def closed_form(factor: Factor, batch: Batch, labels_b: Tensor | None) -> LogSums:
    """Returns the log-sums of a block of one modality over all clips, in O(N C); see the top of this file.

    labels_b: int64 classes of this rank's clips, for LogSums.per_clip; None leaves it empty.
    Ranks exchange their C sums and nothing else.
    """
    factor = in_full_precision(factor)
    scores_bC = factor.score(factor.parts, factor.present)
    total_C = scores_bC.logsumexp(dim=0)
    if not batch.shares[batch.rank]:
        # A rank without clips runs one of weight 0, which must add nothing. torch.where keeps the graph, so that this
        # rank takes part in the collective operations of the backward; a new tensor would leave the others waiting.
        total_C = torch.where(torch.ones_like(total_C, dtype=torch.bool), -math.inf, total_C)
    per_clip = {}
    if labels_b is not None:
        # A tuple of this block is a single clip, so that a clip's log-sum is its score.
        per_clip = {factor.modalities[0]: scores_bC.detach().gather(1, labels_b[:, None]).squeeze(1)}
    return LogSums(log_sum_over_ranks(total_C, batch), per_clip)


def _readings(sums: Sequence[LogSums], log_share_C: Tensor, labels_b: Tensor, batch: Batch) -> dict[str, Tensor]:
    """Returns "reading_MODALITY" for each modality whose sums per clip are known.

    log_share_C: log of the mass that the softmax over tuples and classes has at each class. The part of that mass on
    tuples with one clip is the clip's part in the sum of its own block, because the other blocks' sums are factors.
    """
    return {
        f"reading_{m}": -batch.mean((log_share_C - block.total.detach()).index_select(0, labels_b) + clip_sums_b)
        - math.log(batch.global_size)
        for block in sums
        for m, clip_sums_b in block.per_clip.items()
    }


class TCMax(FactoredObjective, CrossEntropy):
    """Trains on `tcmax_terms`; validates and decodes as CrossEntropy does, with the same classes.

    The softmax of the matched scores is the posterior, and the score of every metric is the expected value of the
    class. chunk, negatives, form: as in Evaluation.
    Raises ValueError as CrossEntropy and Evaluation do.
    """

    def __init__(
        self,
        target: Target | Sequence[float] | None,
        *,
        classes: int = 0,
        chunk: int = 16384,
        negatives: int = 0,
        form: Form = "bound",
    ) -> None:
        super().__init__(target, classes=classes)
        self.evaluation = Evaluation(chunk, negatives, form)

    def losses(self, scores: FactoredScores, batch: Batch, key: int) -> dict[str, Tensor]:
        return tcmax_terms(scores, self.classes(batch.target), batch, key, self.evaluation)


class Joint(FactoredObjective, CrossEntropy):
    """Trains on the cross-entropy of the matched scores: TCMax's baseline with the same encoders, fusion and head."""

    def losses(self, scores: FactoredScores, batch: Batch, key: int) -> dict[str, Tensor]:
        return {"loss": batch.mean(self(scores.matched, batch.target))}


class Unimodal(FactoredObjective, CrossEntropy):
    """Trains on the cross-entropy of each modality alone, and predicts with all of them: a unimodal ensemble.

    The mean of a modality is over the clips of the global batch that have it, and 0 if none has.
    """

    wants_unimodal = True

    def losses(self, scores: FactoredScores, batch: Batch, key: int) -> dict[str, Tensor]:
        present = {m: present_b for factor in scores.factors for m, present_b in factor.present.items()}
        counted_bM = torch.stack([present[m] for m in scores.unimodal], dim=1) & (batch.weight > 0)[:, None]
        clips_M = sum_over_ranks(counted_bM.sum(dim=0)).clamp_min(1)
        terms = {}
        for column, (m, outputs_bC) in enumerate(scores.unimodal.items()):
            per_clip_b = torch.where(counted_bM[:, column], self(outputs_bC, batch.target), 0.0)
            terms[f"unimodal_{m}"] = batch.mean(per_clip_b) * batch.global_size / clips_M[column]
        return {**terms, "loss": torch.stack(list(terms.values())).sum()}
