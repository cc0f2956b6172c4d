"""Makes the blocks of published results: for each row and measure the range over sources, and a verdict a row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from trivium.core.metric_names import metric_text
from trivium.tables.collect import Measured
from trivium.tables.definition import Row
from trivium.tables.measures import Measure
from trivium.tables.published_range import (
    Range,
    cells_of_measure,
    comparable,
    is_same,
    range_of,
    selections,
    sound,
    verdict,
    verdict_of_row,
)
from trivium.tables.published_results import KINDS, Cell

# Stands behind a range that leaves numbers out for their flaws.
FLAWED = "‡"
HEADS = ("row", "measure", "ours", "authors", "re-run", "quoted", "selected on", "on our features", "verdict")
COLUMNS = (
    *("data", "row", "measure", "metric", "value", "std", "seeds", "kind", "selection"),
    *("features", "same_features", "flaw", "source", "note"),
)


def source_lines(measured: Measured, row: Row, ours: Sequence[str], other: str, note: str) -> list[tuple[str, ...]]:
    """Returns a line for each measure of which something is published of the row.

    ours: the text of our value, by measure. other: the mark of other features. note: the mark of the row's sources.
    """
    lines: list[tuple[str, ...]] = []
    for measure, text in zip(measured.table.measures, ours, strict=True):
        cells = cells_of_measure(row, measure)
        if not cells:
            continue
        kinds = [_kind(measured, row, measure, [c for c in cells if c.kind == kind], other) for kind in KINDS]
        same = range_text(measure, range_of(comparable(measured, row, measure)))
        name = f"{measure.name}{', %' * measure.is_share}"
        judged = verdict(measured, row, measure) or "-"
        label = row.label if lines else row.label + note
        lines.append((label, name, text, *kinds, selections(sound(cells)) or "-", same, judged))
    return lines


def _kind(measured: Measured, row: Row, measure: Measure, cells: Sequence[Cell], other: str) -> str:
    """Returns the range of one kind of source, with marks of other features and of numbers that are left out."""
    fit = sound(cells)
    mark = other if fit and not any(is_same(measured, row.label, cell) for cell in fit) else ""
    left_out = f" {FLAWED}{len(cells) - len(fit)}" * (len(fit) < len(cells))
    on_test = len({cell.source for cell in fit if cell.selection == "test"})
    return range_text(measure, range_of(fit), on_test) + mark + left_out


def range_text(measure: Measure, span: Range, on_test: int = 0) -> str:
    """Returns 0.708 to 0.758 (9, 1 on test), with the number of sources; "-" for none.

    on_test: how many of the sources chose their epochs on the test split.
    """
    if not span.n:
        return "-"
    low, high = (metric_text(end, measure.is_share) for end in (span.low, span.high))
    counts = [str(span.n)] * (span.n > 1) + [f"{on_test} on test"] * bool(on_test)
    return (low if low == high else f"{low} to {high}") + (f" ({', '.join(counts)})" if counts else "")


def sources_text(row: Row, data: str) -> str:
    """Returns the row's sources by kind, for a note."""
    words = {"authors": "authors", "rerun": "re-run", "quoted": "quoted"}
    parts = []
    for kind in KINDS:
        sources = list(dict.fromkeys(cell.source for cell in row.cells if cell.kind == kind))
        parts += [f"{words[kind]}: {'; '.join(sources)}"] if sources else []
    return f"{row.results} on {data}. {'. '.join(parts)}"


def verdict_lines(measured: Measured) -> list[tuple[str, ...]]:
    """Returns a line a row of which something is published."""
    return [(row.label, verdict_of_row(measured, row)) for row in measured.table.rows if row.cells]


def published_lines(measured: Measured) -> list[dict[str, Any]]:
    """Returns a line for each number beside each measure, as published.csv has it."""
    return [
        {
            "row": row.label,
            "measure": measure.name,
            **{key: getattr(cell, key) for key in COLUMNS if key in Cell.__dataclass_fields__},
            "seeds": cell.seeds or None,
            "same_features": is_same(measured, row.label, cell),
        }
        for row in measured.table.rows
        for measure in measured.table.measures
        for cell in cells_of_measure(row, measure)
    ]
