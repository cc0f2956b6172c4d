"""Compares every two rows of a table other than its baseline: pairs.csv, and a square of verdicts on the page."""

from __future__ import annotations

import math
from itertools import combinations
from typing import Any

import pandas as pd

from trivium.evaluation.significance import (
    equivalence_test,
    holm,
    paired_by_seed,
    smallest_difference,
    verdict,
)
from trivium.results.frame import REPEAT
from trivium.tables.collect import Measured
from trivium.tables.measures import Measure

# (seed, fold) -> value; the fold is -1 for data without folds.
Repeats = dict[tuple[int, int], float]
COLUMNS = (
    *("data", "row", "other", "measure", "difference", "difference_std", "difference_n"),
    *("p", "p_holm", "margin", "p_same", "smallest", "verdict"),
)
# Verdict on a row against a column of the square -> its sign, and the verdict the other way round.
SIGNS = {"better": "▲", "worse": "▼", "higher": "↑", "lower": "↓", "same": "=", "not told": "?"}
_REVERSED = {"better": "worse", "worse": "better", "higher": "lower", "lower": "higher"}


def pair_lines(measured: Measured) -> list[dict[str, Any]]:
    """Returns a line for each measure and two rows, the first minus the other, in the columns COLUMNS.

    Pairs with the baseline are left out, as `Measured.compared` has them. p values are corrected (Holm) over the pairs
    of a measure.
    """
    return [line for measure in measured.table.measures for line in _of_measure(measured, measure)]


def square(measured: Measured) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
    """Returns heads and lines of the first measure's verdicts, row against column; no lines for fewer than two rows."""
    measure = measured.table.measures[0]
    verdicts: dict[tuple[str, str], str] = {}
    for line in _of_measure(measured, measure):
        verdicts[line["row"], line["other"]] = line["verdict"]
        verdicts[line["other"], line["row"]] = _REVERSED.get(line["verdict"], line["verdict"])
    rows = [row.label for row in measured.table.rows if any(row.label in pair for pair in verdicts)]
    lines = tuple(
        (f"{number} {row}", *(SIGNS[verdicts[row, other]] if (row, other) in verdicts else "" for other in rows))
        for number, row in enumerate(rows, 1)
    )
    return (f"against each other, {measure.name}", *(str(number) for number in range(1, len(rows) + 1))), lines


def _of_measure(measured: Measured, measure: Measure) -> list[dict[str, Any]]:
    """Returns the lines of one measure, of pairs with two seeds or more in common."""
    table = measured.table
    frame = measured.frame[measured.frame["metric"] == measure.name]
    values = {label: _by_repeat(lines) for label, lines in frame.groupby("label", sort=False)}
    rows = [row.label for row in table.rows if row.label in values and row.label != table.baseline]
    tests = {pair: paired_by_seed(*(values[row] for row in pair)) for pair in combinations(rows, 2)}
    known = {pair: test for pair, test in tests.items() if test is not None and test.n > 1}
    margin = table.margin(measure)
    p_values = holm([test.t_p for test in known.values()])
    p_same = holm([_same(values[row], values[other], margin) for row, other in known])
    return [
        {
            "data": table.section,
            "row": pair[0],
            "other": pair[1],
            "measure": measure.name,
            "difference": test.mean,
            "difference_std": test.std,
            "difference_n": test.n,
            "p": test.t_p,
            "p_holm": p_holm,
            "margin": margin,
            "p_same": p_within,
            "smallest": smallest_difference(test.std, test.n),
            "verdict": verdict(test.mean, p_holm, p_within, measure.lower_is_better),
        }
        for (pair, test), p_holm, p_within in zip(known.items(), p_values, p_same, strict=True)
    ]


def _same(values: Repeats, others: Repeats, margin: float | None) -> float:
    """Returns the p of the equivalence test over common seeds and folds; NaN without a margin."""
    if margin is None:
        return math.nan
    return equivalence_test([values[repeat] - others[repeat] for repeat in sorted(set(values) & set(others))], margin)


def _by_repeat(lines: pd.DataFrame) -> Repeats:
    columns = (lines[name] for name in (*REPEAT, "value"))
    return {
        (int(seed), -1 if pd.isna(fold) else int(fold)): float(value)
        for seed, fold, value in zip(*columns, strict=True)
    }
