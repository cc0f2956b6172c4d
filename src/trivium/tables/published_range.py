"""Says what the published results of a row and measure are together: their range, and whether ours lies in it.

Ranges are over sources, never means of them, as features, selection and seeds differ.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trivium.core.wording import counted
from trivium.tables.collect import Measured
from trivium.tables.definition import Row
from trivium.tables.measures import Measure
from trivium.tables.published_results import Cell

WITHIN, BETTER, WORSE = "within", "better", "worse"
# The row of published results has all three.
_MODALITIES = frozenset(("text", "audio", "vision"))


@dataclass(frozen=True)
class Range:
    """Holds the lowest and highest of several sources' numbers; NaN of none."""

    low: float
    high: float
    n: int


def cells_of_measure(row: Row, measure: Measure) -> tuple[Cell, ...]:
    """Returns the cells that a measure may stand beside: the metric of whole clips."""
    return tuple(cell for cell in row.cells if cell.metric == measure.metric and measure.of_whole_clips)


def sound(cells: Sequence[Cell]) -> list[Cell]:
    """Returns the cells without a flaw."""
    return [cell for cell in cells if not cell.flaw]


def is_same(measured: Measured, row: str, cell: Cell) -> bool:
    """Returns whether all of the row's runs were on the cell's features: its file, its kind of text, all modalities.

    False where the source does not say all of that, and where the row has no run.
    """
    used = measured.frame.loc[measured.frame["label"] == row, ["feature_set", "modalities"]].drop_duplicates()
    return bool(cell.text and len(used)) and all(
        features.partition("/")[2] == cell.feature_set
        and frozenset(names.split("+")) == _MODALITIES
        and measured.text.get(row) == cell.text
        for features, names in used.itertuples(index=False)
    )


def comparable(measured: Measured, row: Row, measure: Measure) -> list[Cell]:
    """Returns the cells that ours can be judged by: on our features, selected on validation as ours, without a flaw."""
    cells = sound(cells_of_measure(row, measure))
    return [cell for cell in cells if cell.selection == "validation" and is_same(measured, row.label, cell)]


def range_of(cells: Sequence[Cell], *, spread: bool = False) -> Range:
    """Returns the range of the values; spread: each source's standard deviation over its seeds included."""
    if not cells:
        return Range(math.nan, math.nan, 0)
    around = [0.0 if math.isnan(cell.std) or not spread else cell.std for cell in cells]
    values = [cell.value for cell in cells]
    return Range(
        min(value - std for value, std in zip(values, around, strict=True)),
        max(value + std for value, std in zip(values, around, strict=True)),
        len({cell.source for cell in cells}),
    )


def selections(cells: Sequence[Cell]) -> str:
    """Counts the sources by the split that chose their checkpoints: "validation 3, test 1, not said 9"."""
    chosen = {cell.source: cell.selection or "not said" for cell in cells}
    counts = Counter(chosen.values())
    return ", ".join(f"{word} {counts[word]}" for word in ("validation", "test", "not said") if counts[word])


def verdict(measured: Measured, row: Row, measure: Measure) -> str:
    """Returns within, better or worse; "" where nothing is comparable, or there is no value of ours.

    Ours is the interval of the mean over seeds (of one seed its value), theirs the range over comparable sources with
    their standard deviations. Ours is within where the two meet, and otherwise beyond the range's better or worse end.
    """
    theirs, line = range_of(comparable(measured, row, measure), spread=True), measured.compared[row.label, measure.name]
    if not theirs.n or math.isnan(line["mean"]):
        return ""
    low, high = _interval(line)
    if low <= theirs.high and high >= theirs.low:
        return WITHIN
    return BETTER if (high < theirs.low) == measure.lower_is_better else WORSE


def _interval(line: Mapping[str, Any]) -> tuple[float, float]:
    """Returns the ends of the mean's interval, which one seed does not have."""
    return (line["mean"],) * 2 if math.isnan(line["mean_low"]) else (line["mean_low"], line["mean_high"])


def verdict_of_row(measured: Measured, row: Row) -> str:
    """Returns the row's verdict over its measures, or why it was not run."""
    if reason := measured.unrun.get(row.label):
        return f"not run: {reason}"
    named: dict[str, list[str]] = {}
    for measure in measured.table.measures:
        if word := verdict(measured, row, measure):
            named.setdefault(word, []).append(measure.name)
    if not named:
        return "nothing published on these features"
    if set(named) == {WITHIN}:
        return "within the published spread"
    beyond = [f"{word} in {', '.join(named[word])}" for word in (BETTER, WORSE) if word in named]
    return "; ".join([*beyond, *([f"within in {counted(len(named[WITHIN]), 'other')}"] if WITHIN in named else [])])
