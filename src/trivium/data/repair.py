"""Replaces values that are not finite by 0, and counts them. COVAREP writes -inf for the pitch of silence."""

from __future__ import annotations

from collections import Counter

import numpy as np

from trivium.data.clips import Array


def no_repairs() -> Counter[str]:
    """Returns counts of 0, to be added to by `update`."""
    return Counter(neg_inf=0, pos_inf=0, nan=0)


def repair(values: Array) -> tuple[Array, Counter[str]]:
    """Returns the values as float32, with 0 for -inf, +inf and NaN, and how many there were of each."""
    # A value beyond float32 becomes infinite, and is counted as that.
    with np.errstate(over="ignore"):
        values = np.asarray(values, dtype=np.float32)
    finite, counts = np.isfinite(values), no_repairs()
    if finite.all():
        return values, counts
    counts.update(
        neg_inf=int(np.isneginf(values).sum()),
        pos_inf=int(np.isposinf(values).sum()),
        nan=int(np.isnan(values).sum()),
    )
    return np.where(finite, values, np.float32(0)), counts
