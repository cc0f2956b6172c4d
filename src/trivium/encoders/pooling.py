"""Pools a clip's valid steps to one vector. Legend: B clips, T steps, E embedding."""

from __future__ import annotations

import torch
from torch import Tensor


def pool_steps(how: str, tokens_BTE: Tensor, mask_BT: Tensor) -> Tensor:
    """Returns one vector a clip, pooled over the steps where the mask is True: (B, E), or (B, 2E) for "meanmax".

    how: first, last, mean, max or meanmax (mean and max, side by side).
    In each clip the valid steps come first, and there is at least one (trivium.data.batch.Stream). The content of
    padded steps, NaN included, reaches neither the result nor a gradient.
    """
    if how == "first":
        return tokens_BTE[:, 0]
    if how == "last":
        last_B = mask_BT.sum(dim=1) - 1
        return tokens_BTE.take_along_dim(last_B[:, None, None], dim=1)[:, 0]
    if how == "meanmax":
        return torch.cat([pool_steps(part, tokens_BTE, mask_BT) for part in ("mean", "max")], dim=1)
    if how == "mean":
        count_B1 = mask_BT.sum(dim=1, keepdim=True).to(tokens_BTE.dtype)
        return tokens_BTE.masked_fill(~mask_BT[..., None], 0.0).sum(dim=1) / count_B1
    assert how == "max", how
    return tokens_BTE.masked_fill(~mask_BT[..., None], -torch.inf).amax(dim=1)


def check_least(key: str, value: int, least: int) -> int:
    """Returns `value`. Raises ValueError, naming the key, if it is below `least`."""
    if value < least:
        raise ValueError(f"{key}: expected at least {least}, found {value}")
    return value
