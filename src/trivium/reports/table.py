"""A measured table as files: table.csv and values.csv for machines, table.md for people."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from trivium.files import write_text
from trivium.reports.collect import Measured
from trivium.reports.markdown import markdown
from trivium.reports.plan import Planned
from trivium.reports.work import Failure

COLUMNS = ("row", "measure", "mean", "std", "n")
BOUNDS = ("chance", "bayes")
DIFFERENCES = ("difference", "difference_std", "difference_n", "p", "p_holm", "p_wilcoxon", "low", "high")


def write_tables(folder: Path, measured: Measured, runs: Sequence[Planned], failures: Sequence[Failure]) -> None:
    """table.csv: a line a row and measure. values.csv: a line a run and measure. table.md: with how it came about."""
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "table.csv", _csv(columns(measured), summary(measured)))
    values = [
        {"row": row, "measure": measure, "seed": seed, "value": value}
        for row, measures in measured.values.items()
        for measure, seeds in measures.items()
        for seed, value in sorted(seeds.items())
    ]
    write_text(folder / "values.csv", _csv(("row", "measure", "seed", "value"), values))
    write_text(folder / "table.md", markdown(measured, runs, failures))


def columns(measured: Measured) -> tuple[str, ...]:
    """Those of table.csv: BOUNDS where any are known, DIFFERENCES where there is a baseline."""
    return COLUMNS + BOUNDS * bool(measured.bounds) + DIFFERENCES * bool(measured.table.baseline)


def summary(measured: Measured) -> list[dict[str, Any]]:
    """The lines of table.csv: shares in [0, 1], std with n - 1, p of two-sided tests. Empty where there is no value."""
    lines = []
    for row in measured.table.rows:
        corrected = measured.corrected(row.label)
        for measure in measured.table.measures:
            spread, bounds = measured.spread(row.label, measure.name), measured.bounds.get(measure.name)
            known = {"chance": bounds.chance, "bayes": bounds.bayes} if bounds else {}
            compared = _compared(measured, row.label, measure.name, corrected[measure.name])
            numbers = {"mean": spread.mean, "std": spread.std, "n": spread.n, **known, **compared}
            kept = {key: value for key, value in numbers.items() if not math.isnan(value)}
            lines.append({"row": row.label, "measure": measure.name, **kept})
    return lines


def _compared(measured: Measured, row: str, measure: str, corrected: float) -> dict[str, float]:
    found = measured.difference(row, measure)
    if found is None:
        return {}
    tests = {"p": found.t_p, "p_holm": corrected, "p_wilcoxon": found.wilcoxon_p}
    interval = {"low": found.low, "high": found.high}
    return {"difference": found.mean, "difference_std": found.std, "difference_n": found.n, **tests, **interval}


def _csv(columns: Sequence[str], rows: Sequence[dict[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
