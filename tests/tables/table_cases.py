"""Measured tables: of two rows, two accuracies and three seeds; and of MAE and Corr with a baseline."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from trivium.results.frame import as_frame
from trivium.tables.collect import Bounds, Measured
from trivium.tables.definition import Row, Table
from trivium.tables.measures import Measure

ROWS, NAMES = ("A", "B"), ("x", "y")
VALUES = np.array([[[0.5, 0.6, 0.9], [0.25, 0.3, 0.2]], [[0.7, 0.8, 0.75], [0.4, 0.45, 0.5]]])  # row, measure, seed

Values = dict[str, dict[str, dict[int, float]]]


def measured_of(
    table: Table,
    values: Values,
    bounds: Mapping[str, Bounds] | None = None,
    facts: Mapping[str, Mapping[str, Any]] | None = None,
    **common: Any,
) -> Measured:
    """values: row -> measure -> seed -> value. facts: row -> columns of its runs; common: of all runs."""
    lines = [
        {"label": row, "metric": measure, "seed": seed, "value": value, **common, **(facts or {}).get(row, {})}
        for row, measures in values.items()
        for measure, seeds in measures.items()
        for seed, value in seeds.items()
    ]
    return Measured(table, as_frame(lines), bounds or {})


def measured(missing: bool = False) -> Measured:
    """missing: row B has nothing at all."""
    measures = tuple(Measure(name, probe=name, of="joint", factor=name, modalities="text") for name in NAMES)
    rows = tuple(Row(label, ()) for label in ROWS)
    table = Table("own", "A title", (), 3, rows, measures, {"first": ("x",), "both": ("x", "y")})
    values = {
        row: {
            name: {} if missing and row == "B" else {seed + 1: float(v) for seed, v in enumerate(VALUES[r, m])}
            for m, name in enumerate(NAMES)
        }
        for r, row in enumerate(ROWS)
    }
    return measured_of(table, values, {"x": Bounds(0.5, 0.95), "y": Bounds(0.25, 0.75)})


SEEDS = 5
ERRORS = np.random.default_rng(0).normal([[[0.9], [0.5], [0.4]], [[0.8], [0.55], [0.4]]], 0.03, size=(2, 3, SEEDS))
LABELS = ("MAE text", "MAE text+audio", "Corr text")


def compared_values() -> Values:
    """ERRORS (row, measure, seed) as rows GMC and Mix, whose first measure lacks seed 5; and a row that has no run."""
    values: Values = {
        row: {label: {seed + 1: float(v) for seed, v in enumerate(ERRORS[r, m])} for m, label in enumerate(LABELS)}
        for r, row in enumerate(("GMC", "Mix"))
    }
    del values["Mix"]["MAE text"][5]
    return values


def compared_table(baseline: str = "GMC") -> Table:
    subsets = ("text", "text+audio", "text")
    measures = tuple(
        Measure(label, metric=label.split()[0].lower(), subset=subset)
        for label, subset in zip(LABELS, subsets, strict=True)
    )
    rows = tuple(Row(label, ()) for label in ("GMC", "Mix", "Empty"))
    return Table("own", "Robust", (), SEEDS, rows, measures, {m.name: (m.name,) for m in measures}, baseline)


def compared(baseline: str = "GMC", facts: Mapping[str, Mapping[str, Any]] | None = None, **common: Any) -> Measured:
    return measured_of(compared_table(baseline), compared_values(), facts=facts, **common)
