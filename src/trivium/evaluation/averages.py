"""Averages metrics over rates or subsets, and takes areas under them, as papers on missing data print both."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

# The rates of protocol=erased. Without 1, at which nothing is left; the published averages have rate 0 among them.
ERASED_RATES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
Row = Mapping[str, Any]
# Name -> which rows it is an average of, for each protocol.
Groups = Mapping[str, Callable[[Row], bool]]
# Group -> metric -> "mean" over the draws and, of several, "std" of the draws (n - 1).
Averages = dict[str, dict[str, dict[str, float]]]


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


def average(rows: Sequence[Row], groups: Groups, metrics: Sequence[str]) -> Averages:
    """Returns group -> metric -> "mean" over its rows and, of several draws, "std" of the draws' means (n - 1).

    An average is a mean of metrics, not the metric of pooled predictions. It is NaN if a metric is.
    """
    return {
        group: _over_draws(list(filter(belongs, rows)), metrics, statistics.fmean) for group, belongs in groups.items()
    }


def areas(rows: Sequence[Row], metrics: Sequence[str]) -> Averages:
    """Returns the area under each metric over the rates, AUILC, as one group in the form of `average`.

    AUILC = sum over i of (x_i + x_(i+1)) / 2 (r_(i+1) - r_i), x_i being the metric at the rate r_i, for each draw (Yuan
    et al., 2021, TFR-Net). rows: with "rate" and "draw"; each draw has each rate once. It is NaN if a metric is.
    """
    rates = sorted({row["rate"] for row in rows})

    def area(values: Iterable[float]) -> float:
        points = zip(rates, values, strict=True)
        return math.fsum((x + y) / 2 * (upper - lower) for (lower, x), (upper, y) in pairwise(points))

    in_order = sorted(rows, key=lambda row: float(row["rate"]))
    return {f"AUILC {rates[0]:g} to {rates[-1]:g}": _over_draws(in_order, metrics, area)}


def _over_draws(
    rows: Sequence[Row], metrics: Sequence[str], number: Callable[[Iterable[float]], float]
) -> dict[str, dict[str, float]]:
    """Returns metric -> mean and deviation over the draws of `number`, which gets a metric in a draw's rows."""
    by_draw: dict[int, list[Row]] = {}
    for row in rows:
        by_draw.setdefault(row.get("draw", 1), []).append(row)
    cells: dict[str, dict[str, float]] = {}
    for metric in metrics:
        numbers = [number([row[metric] for row in part]) for part in by_draw.values()]
        cells[metric] = {"mean": statistics.fmean(numbers)}
        if len(numbers) > 1 and all(map(math.isfinite, numbers)):
            cells[metric]["std"] = statistics.stdev(numbers)
    return cells
