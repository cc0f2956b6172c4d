"""Computes mean and standard deviation over seeds."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Spread:
    """Holds the mean and the standard deviation (n - 1; NaN for one value) of n values.

    Both are NaN if a value is, as Corr of a constant prediction.
    """

    mean: float
    std: float
    n: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        mean = statistics.fmean(values) if values else math.nan
        known = len(values) > 1 and not math.isnan(mean)
        return cls(mean, statistics.stdev(values) if known else math.nan, len(values))
