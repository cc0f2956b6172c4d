"""Averages metrics over rates or subsets, as papers on missing data print them."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

# The rates of protocol=erased. Without 1, at which nothing is left; the published averages have rate 0 among them.
ERASED_RATES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
Row = Mapping[str, Any]
# Name -> which rows it is an average of, for each protocol.
Groups = Mapping[str, Callable[[Row], bool]]


def over_rates(rows: Sequence[Row]) -> Groups:
    """Groups rows with a "rate": LNLN's average has the complete clips in it, others leave them out."""
    rates = sorted({row["rate"] for row in rows})
    return {
        f"rates {rates[0]:g} to {rates[-1]:g}": lambda row: True,
        f"rates {rates[1]:g} to {rates[-1]:g}": lambda row: row["rate"] > 0,
    }


def over_subsets(rows: Sequence[Row]) -> Groups:
    """Groups rows with "modalities", of which the last is that of all of them."""
    whole = rows[-1]["modalities"]
    if len(rows) == 1:
        return {"all subsets": lambda row: True}
    return {"incomplete subsets": lambda row: row["modalities"] != whole, "all subsets": lambda row: True}


def over_kinds(rows: Sequence[Row]) -> Groups:
    """Groups rows by their "kind"."""

    def of_kind(kind: str) -> Callable[[Row], bool]:
        return lambda row: bool(row["kind"] == kind)

    return {kind: of_kind(kind) for kind in dict.fromkeys(row["kind"] for row in rows)}


def average(rows: Sequence[Row], groups: Groups, metrics: Sequence[str]) -> dict[str, dict[str, dict[str, float]]]:
    """Returns group -> metric -> "mean" over its rows and, of several draws, "std" of the draws' means (n - 1).

    An average is a mean of metrics, not the metric of pooled predictions. It is NaN if a metric is.
    """
    averages: dict[str, dict[str, dict[str, float]]] = {}
    for group, belongs in groups.items():
        by_draw: dict[int, list[Row]] = {}
        for row in filter(belongs, rows):
            by_draw.setdefault(row.get("draw", 1), []).append(row)
        averages[group] = {}
        for metric in metrics:
            means = [statistics.fmean(row[metric] for row in part) for part in by_draw.values()]
            averages[group][metric] = {"mean": statistics.fmean(means)}
            if len(means) > 1 and all(map(math.isfinite, means)):
                averages[group][metric]["std"] = statistics.stdev(means)
    return averages
