"""Gathers rows of all ranks, in the global batch's order, with gradients that add up to the single-process ones.

Legend: b clips on this rank, N in the global batch, D features.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


def world() -> int:
    """Returns the number of ranks, 1 without torch.distributed."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Returns this process's rank, 0 without torch.distributed."""
    return dist.get_rank() if world() > 1 else 0


def gather_rows(rows_bD: Tensor, shares: tuple[int, ...]) -> Tensor:
    """Returns (N, D): every rank's first shares[rank] rows, end to end, with gradients.

    The backward pass sums a row's gradients over the ranks, as each rank's loss may use the row. With a loss that is
    the local sum times world / N (Batch.mean) and DDP's mean over ranks, parameters then get exactly the gradient of
    the loss over the global batch. A term that every rank computes whole from gathered rows (an entropy, say) needs no
    factor either.
    """
    if len(shares) == 1:
        return rows_bD
    gathered: Tensor = _GatherRows.apply(rows_bD, shares)  # type: ignore[no-untyped-call]
    return gathered


class _GatherRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, shares: tuple[int, ...]) -> Tensor:
        ctx.shares, ctx.rows = shares, len(rows)
        longest = max(shares)
        padded = rows.new_zeros((longest, *rows.shape[1:]))
        share = shares[dist.get_rank()]
        padded[:share] = rows[:share]
        parts = [torch.empty_like(padded) for _ in shares]
        dist.all_gather(parts, padded)
        return torch.cat([part[:share] for part, share in zip(parts, shares, strict=True)])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        total = gradient.contiguous().clone()
        dist.all_reduce(total)
        rank = dist.get_rank()
        start, share = sum(ctx.shares[:rank]), ctx.shares[rank]
        # Rows past this rank's share, of a filler clip of weight 0, get no gradient.
        local = gradient.new_zeros((ctx.rows, *gradient.shape[1:]))
        local[:share] = total[start : start + share]
        return local, None


def sum_over_ranks(values: Tensor) -> Tensor:
    """Returns the elementwise sum over ranks; it has no gradient."""
    if world() == 1:
        return values
    total = values.clone()
    dist.all_reduce(total)
    return total


def most_over_ranks(number: int, device: torch.device) -> int:
    """Returns the largest of the ranks' numbers. Waits for the device where there are several ranks."""
    if world() == 1:
        return number
    most = torch.tensor(number, device=device)
    dist.all_reduce(most, op=dist.ReduceOp.MAX)
    return int(most)


def gather_objects(value: Any) -> list[Any]:
    """Returns every rank's value, in the order of ranks. All ranks call it; values must be picklable."""
    if world() == 1:
        return [value]
    values: list[Any] = [None] * world()
    dist.all_gather_object(values, value)
    return values
