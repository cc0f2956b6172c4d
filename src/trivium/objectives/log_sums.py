"""Computes the log-sum-exp of a block's scores over tuples of clips, exactly, on any number of ranks.

It serves blocks of several modalities, whose N^k tuples have to be scored one by one, and drawn tuples. A block of one
modality has a closed form, which is in trivium.objectives.tcmax.
Legend: b clips on this rank, N of the global batch, k modalities of a block, n tuples, C classes, W ranks.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from trivium.core.distributed import gather_rows
from trivium.data.batch import Batch
from trivium.objectives.factored import Factor, in_full_precision
from trivium.objectives.tuple_tables import Samples, ScoreTable, TupleGrid


@dataclass(frozen=True)
class LogSums:
    """Holds the log-sums of one block, in nats.

    total: (C,), over all tuples of all ranks, with gradient. In a loss that is a Batch.mean, and with DDP's mean over
    ranks, the gradients are those of a single process that has the global batch.
    per_clip: modality -> (b,), without gradient: the log-sum over the tuples that take the modality from this clip, at
    this clip's class. It is empty if no labels were passed.
    """

    total: Tensor
    per_clip: dict[str, Tensor]


def log_sums(factor: Factor, batch: Batch, labels_b: Tensor | None, *, classes: int, chunk: int) -> LogSums:
    """Returns the log-sums over all N^k tuples.

    labels_b: int64 classes of this rank's clips, for LogSums.per_clip; None leaves it empty.
    classes: C. chunk: the number of tuples whose scores are held at once. All N^k are evaluated.
    Every rank gathers the parts of all clips, and sums the tuples that take the first modality from its own clips.
    """
    factor = _of_all_ranks(in_full_precision(factor), batch)
    first = batch.rows.start
    rank_clips = range(first, first + batch.shares[batch.rank])
    grid = TupleGrid((rank_clips, *(range(batch.global_size) for _ in factor.modalities[1:])))
    labels_N = None if labels_b is None else batch.gather(labels_b)
    total_C, clip_sums_kN = ScoreTable(factor, grid, classes, chunk, labels_N).log_sums()
    per_clip = {}
    if labels_N is not None:
        clip_sums_kb = log_sum_over_ranks(clip_sums_kN, batch)[:, batch.rows]
        per_clip = dict(zip(factor.modalities, clip_sums_kb, strict=True))
    return LogSums(log_sum_over_ranks(total_C, batch), per_clip)


def sampled_log_sums(factor: Factor, batch: Batch, index_kn: Tensor, *, classes: int, chunk: int) -> LogSums:
    """Returns the log-sums over n drawn tuples, which the ranks divide among themselves.

    index_kn: int64, the same on every rank: the clip of the global batch from which a tuple takes each of the block's
    modalities. classes, chunk: as in `log_sums`.
    """
    factor = _of_all_ranks(in_full_precision(factor), batch)
    count, ranks = index_kn.shape[1], len(batch.shares)
    rank_tuples = slice(count * batch.rank // ranks, count * (batch.rank + 1) // ranks)
    index_kn = index_kn[:, rank_tuples].to(next(iter(factor.parts.values())).device, non_blocking=True)
    total_C, _ = ScoreTable(factor, Samples(index_kn), classes, chunk).log_sums()
    return LogSums(log_sum_over_ranks(total_C, batch), {})


def log_sum_over_ranks(sums: Tensor, batch: Batch) -> Tensor:
    """Returns the log-sum-exp of all ranks' log-sums, in the shape of `sums`."""
    if len(batch.shares) == 1:
        return sums
    # The backward of the gather adds up what all ranks want of this rank's sums. Each rank so gets the gradient of W
    # losses, which DDP's mean over W ranks turns into that of one.
    return gather_rows(sums[None], (1,) * len(batch.shares)).logsumexp(dim=0)


def _of_all_ranks(factor: Factor, batch: Batch) -> Factor:
    """Returns the block with the rows of the global batch."""
    if len(batch.shares) == 1:
        return factor
    # All parts travel side by side in one gather, because each gather waits for the slowest rank.
    names, widths = factor.modalities, [part.shape[-1] for part in factor.parts.values()]
    parts = torch.split(batch.gather(torch.cat(list(factor.parts.values()), dim=-1)), widths, dim=-1)
    present_bk = torch.stack(list(factor.present.values()), dim=1).to(torch.uint8)
    present = batch.gather(present_bk).bool().unbind(dim=1)
    return replace(factor, parts=dict(zip(names, parts, strict=True)), present=dict(zip(names, present, strict=True)))
