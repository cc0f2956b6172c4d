"""Which row is best, by how much, and whether that is more than chance: scores of a table or of runs, compared.

Legend: n seeds. Shares are in [0, 1].
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from trivium.evaluation.significance import LEVEL, Paired, corrected, paired_by_seed, seed_interval
from trivium.metric_names import DIRECTION, LABELS, is_share, metric_text
from trivium.reports.spread import Spread


@dataclass(frozen=True)
class Kind:
    """share: whether a measure is in [0, 1] and written in %. lower: whether lower is better; None: not known."""

    share: bool
    lower: bool | None


@dataclass(frozen=True)
class Published:
    """A number from a paper, in the measure's unit. same: whether ours is on the same features."""

    value: float
    same: bool


@dataclass(frozen=True)
class Board:
    """What is compared: rows on one data set. values: measure -> row -> seed -> value, rows in the order to show.

    baseline: the row that others are compared with, "" without one. published: measure -> row -> what a paper says.
    nothing: measure -> what predicting the train mean gives, where it is known.
    """

    name: str
    values: Mapping[str, Mapping[str, Mapping[int, float]]] = field(repr=False)
    baseline: str = ""
    published: Mapping[str, Mapping[str, Published]] = field(default_factory=dict)
    nothing: Mapping[str, float] = field(default_factory=dict)

    @property
    def rows(self) -> list[str]:
        return list(dict.fromkeys(row for rows in self.values.values() for row in rows))

    @cached_property
    def to_baseline(self) -> dict[str, dict[str, tuple[Paired, float]]]:
        """Row -> measure -> difference from the baseline and its p, corrected (Holm) over the row's measures."""
        found: dict[str, dict[str, tuple[Paired, float]]] = {}
        for row in self.rows if self.baseline else ():
            if row != self.baseline:
                pairs = {m: paired_by_seed(of.get(row, {}), of.get(self.baseline, {})) for m, of in self.values.items()}
                found[row] = _tested(pairs)
        return found


@dataclass(frozen=True)
class Standing:
    """A row's place in one measure. n, mean, std as Spread; low, high: 95 % interval of the mean over seeds.

    to_best, to_baseline: paired differences (row minus the other) and p corrected, None where there is none.
    """

    row: str
    values: Mapping[int, float]
    spread: Spread
    low: float
    high: float
    to_best: tuple[Paired, float] | None = None
    to_baseline: tuple[Paired, float] | None = None


def kind_of(measure: str) -> Kind:
    """By the metric that the name begins with: "MAE T" is an MAE. Of any other nothing is known."""
    fitting = (key for key, label in LABELS.items() if f"{measure} ".startswith(f"{label} "))
    metric = next(fitting, None)  # another that fits, as Acc-2 beside Acc-2 Non0, is of the same kind
    if metric is None:
        return Kind(share=False, lower=None)
    return Kind(share=is_share(metric), lower=DIRECTION[metric] == "min")


def first_measure(board: Board) -> str:
    """What is looked at first: the first metric, of several subsets of modalities that with the most of them."""
    names = list(board.values)
    fitting = [key for key in LABELS.values() if names[0] == key or names[0].startswith(f"{key} ")]
    metric = max(fitting, key=len, default=names[0])
    alike = [name for name in names if name.startswith(f"{metric} ")]
    return metric if metric in names else max(alike, key=len, default=names[0])


def standings(board: Board, measure: str) -> list[Standing]:
    """The best first; in the board's order where it is not known what is better. Rows without a value come last.

    p against the baseline is corrected (Holm) over the row's measures, as in table.md; p against another row that is
    the best over the other rows.
    """
    found = [_standing(row, seeds) for row, seeds in board.values[measure].items()]
    lower = kind_of(measure).lower
    known = [one for one in found if not math.isnan(one.spread.mean)]
    if lower is not None:
        known.sort(key=lambda one: one.spread.mean if lower else -one.spread.mean)
    to_baseline = [board.to_baseline.get(one.row, {}).get(measure) for one in known]
    to_best: list[tuple[Paired, float] | None] = [None] * len(known)
    if lower is not None and known:
        # one question has one answer: where the baseline is the best, its differences are table.md's
        to_best = to_baseline if known[0].row == board.baseline else _to_first(known)
    ranked = zip(known, to_best, to_baseline, strict=True)
    return [replace(one, to_best=best, to_baseline=baseline) for one, best, baseline in ranked] + [
        one for one in found if math.isnan(one.spread.mean)
    ]


def _to_first(known: Sequence[Standing]) -> list[tuple[Paired, float] | None]:
    """Differences from the first and p, corrected (Holm) over the others."""
    found = _tested({one.row: paired_by_seed(one.values, known[0].values) for one in known[1:]})
    return [found.get(one.row) for one in known]


def _tested(found: Mapping[str, Paired | None]) -> dict[str, tuple[Paired, float]]:
    """Each difference with its p, corrected over all of them; without those that there are not."""
    p_values = corrected(found)
    return {name: (one, p_values[name]) for name, one in found.items() if one is not None}


def _standing(row: str, seeds: Mapping[int, float]) -> Standing:
    values = list(seeds.values())
    return Standing(row, seeds, Spread.of(values), *seed_interval(values))


def verdict(board: Board, measure: str, found: Sequence[Standing]) -> list[str]:
    """Sentences: the best row, its distance from the baseline, and the rows that it is not told apart from."""
    kind, known = kind_of(measure), [one for one in found if not math.isnan(one.spread.mean)]
    if kind.lower is None or not known:
        return [] if known else ["No row has a value yet."]
    best, others = known[0], known[1:]
    told = [f"{best.row} has the {'lowest' if kind.lower else 'highest'} {measure}: {spread_text(best.spread, kind)}."]
    if best.to_baseline is not None:
        told.append(_against(best, board.baseline, kind))
    elif best.row == board.baseline and others:
        told.append("It is the baseline.")
    if others and all(one.spread.n < 2 for one in known):
        return [*told, "One seed each: nothing says whether a difference is more than chance."]
    near = [one.row for one in others if one.to_best is None or not one.to_best[1] < LEVEL]
    if near:
        listed = "; ".join(near[:4]) + (f" and {len(near) - 4} more" if len(near) > 4 else "")
        told.append(f"Not told apart from it by these seeds: {listed}.")
    elif others:
        told.append("Every other row is further away than seeds explain.")
    return told


def _against(best: Standing, baseline: str, kind: Kind) -> str:
    assert best.to_baseline is not None
    difference, p = best.to_baseline
    way = "below" if difference.mean < 0 else "above"
    size = number_text(abs(difference.mean), kind)
    if math.isnan(p):
        return f"That is {size} {way} {baseline}, the baseline; too few seeds for a test."
    said = "more than seeds explain" if p < LEVEL else "which seeds may explain"
    return f"That is {size} {way} {baseline}, the baseline (p = {p:.3f}), {said}."


def number_text(value: float, kind: Kind) -> str:
    """34.1 % of a share; "-" for NaN."""
    return metric_text(value, kind.share) + " %" * (kind.share and not math.isnan(value))


def spread_text(spread: Spread, kind: Kind) -> str:
    """As 34.1 ± 0.8 % (n = 5)."""
    if math.isnan(spread.std):
        return number_text(spread.mean, kind)
    mean, std = (metric_text(value, kind.share) for value in (spread.mean, spread.std))
    return f"{mean} ± {std}{' %' if kind.share else ''} (n = {spread.n})"


def board_data(board: Board) -> dict[str, Any]:
    """What page.js draws of a board; null for what is not known."""
    return {
        "name": board.name,
        "baseline": board.baseline,
        "first": first_measure(board),
        "measures": [_measure_data(board, measure) for measure in board.values],
    }


def _measure_data(board: Board, measure: str) -> dict[str, Any]:
    found, kind = standings(board, measure), kind_of(measure)
    return {
        "name": measure,
        "share": kind.share,
        "lower": kind.lower,
        "verdict": verdict(board, measure, found),
        "nothing": board.nothing.get(measure),
        "rows": [_row_data(board, measure, one) for one in found],
    }


def _row_data(board: Board, measure: str, one: Standing) -> dict[str, Any]:
    published = board.published.get(measure, {}).get(one.row)
    return {
        "row": one.row,
        "values": [[seed, _known(value)] for seed, value in sorted(one.values.items())],
        **{key: _known(getattr(one.spread, key)) for key in ("mean", "std", "n")},
        "low": _known(one.low),
        "high": _known(one.high),
        "best": _difference(one.to_best),
        "baseline": _difference(one.to_baseline),
        "published": None if published is None else [published.value, published.same],
    }


def _difference(found: tuple[Paired, float] | None) -> list[float | None] | None:
    """mean, low, high, p."""
    return None if found is None else [_known(v) for v in (found[0].mean, found[0].low, found[0].high, found[1])]


def _known(value: float) -> float | None:
    return None if math.isnan(value) else round(value, 6)
