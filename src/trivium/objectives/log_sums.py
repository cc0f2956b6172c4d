"""log sum exp of a block's score over tuples of clips of the global batch, exact on any number of ranks.

For blocks of several modalities, whose N^k tuples have to be scored one by one, and for drawn tuples. A block of one
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
    """Holds the log-sums of one block.

    total: (C,), over all tuples of all ranks. With a loss that is a Batch.mean and DDP's mean over ranks, its gradients
    are those of one process that has the global batch.
    own: modality -> (b,), without gradient: the log-sum over the tuples that hold this clip's modality, at this clip's
    class. Empty where it was not asked for.
    """

    total: Tensor
    own: dict[str, Tensor]


def log_sums(factor: Factor, batch: Batch, labels_b: Tensor | None, *, classes: int, chunk: int) -> LogSums:
    """Sums over all N^k tuples. labels_b: int64 classes, for LogSums.own.

    The score is evaluated N^k times, at most `chunk` of them held at once. Parts are gathered, and ranks share the
    tuples by the clip of the first modality.
    """
    factor = _of_all_ranks(in_full_precision(factor), batch)
    first = batch.rows.start
    mine = range(first, first + batch.shares[batch.rank])
    grid = TupleGrid((mine, *(range(batch.global_size) for _ in factor.modalities[1:])))
    labels_N = None if labels_b is None else batch.gather(labels_b)
    total_C, own_kN = ScoreTable(factor, grid, classes, chunk, labels_N).log_sums()
    own = {}
    if labels_N is not None:
        own_kb = log_sum_over_ranks(own_kN, batch)[:, batch.rows]
        own = dict(zip(factor.modalities, own_kb, strict=True))
    return LogSums(log_sum_over_ranks(total_C, batch), own)


def sampled_log_sums(factor: Factor, batch: Batch, index_kn: Tensor, *, classes: int, chunk: int) -> LogSums:
    """Sums over n given tuples; ranks share them, and at most `chunk` are held at once.

    index_kn: int64, alike on every rank, which clip of the global batch each of the block's modalities is taken from.
    """
    factor = _of_all_ranks(in_full_precision(factor), batch)
    count, ranks = index_kn.shape[1], len(batch.shares)
    mine = slice(count * batch.rank // ranks, count * (batch.rank + 1) // ranks)
    index_kn = index_kn[:, mine].to(next(iter(factor.parts.values())).device, non_blocking=True)
    total_C, _ = ScoreTable(factor, Samples(index_kn), classes, chunk).log_sums()
    return LogSums(log_sum_over_ranks(total_C, batch), {})


def log_sum_over_ranks(sums: Tensor, batch: Batch) -> Tensor:
    """Returns the log-sum of every rank's log-sums; its backward adds up the gradients of all ranks."""
    if len(batch.shares) == 1:
        return sums
    return gather_rows(sums[None], (1,) * len(batch.shares)).logsumexp(dim=0)


def _of_all_ranks(factor: Factor, batch: Batch) -> Factor:
    """Returns the block with the global batch's rows; its parts go in one gather, whatever their number."""
    if len(batch.shares) == 1:
        return factor
    names, widths = factor.modalities, [part.shape[-1] for part in factor.parts.values()]
    parts = torch.split(batch.gather(torch.cat(list(factor.parts.values()), dim=-1)), widths, dim=-1)
    present_bk = torch.stack(list(factor.present.values()), dim=1).to(torch.uint8)
    present = batch.gather(present_bk).bool().unbind(dim=1)
    return replace(factor, parts=dict(zip(names, parts, strict=True)), present=dict(zip(names, present, strict=True)))
