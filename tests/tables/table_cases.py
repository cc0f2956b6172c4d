"""Measured tables: of two rows, two accuracies and three seeds; and of MAE and Corr with a baseline."""

import numpy as np

from trivium.tables.collect import Bounds, Measured
from trivium.tables.definition import Measure, Row, Table

ROWS, NAMES = ("A", "B"), ("x", "y")
VALUES = np.array([[[0.5, 0.6, 0.9], [0.25, 0.3, 0.2]], [[0.7, 0.8, 0.75], [0.4, 0.45, 0.5]]])  # row, measure, seed


def measured(missing: bool = False) -> Measured:
    """missing: row B has nothing at all."""
    measures = tuple(Measure(name, probe=name, of="joint", factor=name, given="text") for name in NAMES)
    rows = tuple(Row(label, ()) for label in ROWS)
    table = Table("own", "A title", (), 3, rows, measures, {"first": ("x",), "both": ("x", "y")})
    values = {
        row: {
            name: {} if missing and row == "B" else {seed + 1: float(v) for seed, v in enumerate(VALUES[r, m])}
            for m, name in enumerate(NAMES)
        }
        for r, row in enumerate(ROWS)
    }
    return Measured(table, values, {"x": Bounds(0.5, 0.95), "y": Bounds(0.25, 0.75)})


SEEDS = 5
ERRORS = np.random.default_rng(0).normal([[[0.9], [0.5], [0.4]], [[0.8], [0.55], [0.4]]], 0.03, size=(2, 3, SEEDS))
LABELS = ("MAE text", "MAE text+audio", "Corr text")


def compared(baseline: str = "GMC") -> Measured:
    """ERRORS (row, measure, seed) as rows GMC and Mix, whose first measure lacks seed 5; and a row that has no run."""
    subsets = ("text", "text+audio", "text")
    measures = tuple(
        Measure(label, metric=label.split()[0].lower(), subset=subset)
        for label, subset in zip(LABELS, subsets, strict=True)
    )
    rows = tuple(Row(label, ()) for label in ("GMC", "Mix", "Empty"))
    table = Table("own", "Robust", (), SEEDS, rows, measures, {m.name: (m.name,) for m in measures}, baseline)
    values = {
        row: {label: {seed + 1: float(v) for seed, v in enumerate(ERRORS[r, m])} for m, label in enumerate(LABELS)}
        for r, row in enumerate(("GMC", "Mix"))
    }
    del values["Mix"]["MAE text"][5]
    values["Empty"] = {label: {} for label in LABELS}
    return Measured(table, values, {})
