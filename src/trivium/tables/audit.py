"""Collects what rows would have reported if the test split had chosen their epochs (audit=true). It chooses nothing.

Each run's audit.csv has the test metrics of every epoch, made when its training was over (trivium.runs.audit).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trivium.core.metric_names import DIRECTION, LOSSES, UNDIRECTED
from trivium.results.spread import Spread
from trivium.runs.run_files import numbers_of, read_rows
from trivium.tables.measures import Measure
from trivium.tables.plan import Planned

COLUMNS = (
    *("data", "row", "measure", "seed", "fold", "selected", "monitor_best", "metric_best"),
    *("epoch", "monitor_best_epoch", "metric_best_epoch"),
)


@dataclass(frozen=True)
class Audited:
    """Holds one run's test values of a measure, by what chose the epoch, and these epochs.

    selected: validation, as every other number of the table. monitor_best: at the epoch of the monitor's
    best test value, one for all measures. metric_best: the measure's own best test value.
    """

    row: str
    measure: str
    seed: int
    selected: float
    monitor_best: float
    metric_best: float
    epoch: int
    monitor_best_epoch: int
    metric_best_epoch: int
    fold: int | None = None


def audit_of(runs: Sequence[Planned], measures: Sequence[Measure]) -> list[Audited]:
    """Returns a line for each finished run with an audit and each metric from all modalities."""
    lines = []
    for run in runs:
        if run.directory.finished and run.directory.audit_file.is_file():
            result = run.result()
            epochs = _epochs(run.directory.audit_file, int(result["epochs"]))
            shown = [m for m in measures if _has_audit(m, epochs[0])]
            lines += [_audited(run, result, measure, epochs) for measure in shown]
    return lines


def _has_audit(measure: Measure, known: Mapping[str, float]) -> bool:
    of_test = measure.split == "test" and measure.of_whole_clips
    return of_test and measure.metric in known and measure.metric not in UNDIRECTED


def _epochs(file: Path, number: int) -> list[dict[str, float]]:
    """Returns the metrics of each epoch. Raises ValueError naming the file if it is damaged."""
    rows = read_rows(file, ("epoch", "loss"))
    columns = numbers_of(file, rows, list(rows[0]) if rows else ["epoch"])
    if columns["epoch"] != list(range(1, number + 1)):
        raise ValueError(
            f"{file}: expected epochs 1 to {number}, found {len(rows)} lines; copy it again, or delete the run"
        )
    return [{name: values[line] for name, values in columns.items()} for line in range(number)]


def _audited(
    run: Planned, result: Mapping[str, Any], measure: Measure, epochs: Sequence[Mapping[str, float]]
) -> Audited:
    monitor = str(result["selection"]["monitor"]).removeprefix("val/")
    # val/total, a sum of all terms, has no counterpart on test.
    monitor = monitor if monitor in epochs[0] else "loss"
    # A metric of one's own is in no list, and the rule says which way the run went by it.
    lower = monitor in LOSSES or DIRECTION.get(monitor, "") == "min" or result["selection"]["rule"].startswith("lowest")
    monitor_epoch = _best(epochs, monitor, lower=lower)
    metric_epoch = _best(epochs, measure.metric, lower=bool(measure.lower_is_better))
    selected = int(result["best_epoch"])
    at_selected, at_monitor, at_metric = (
        epochs[epoch - 1][measure.metric] for epoch in (selected, monitor_epoch, metric_epoch)
    )
    return Audited(
        *(run.row.label, measure.name, run.seed),
        *(at_selected, at_monitor, at_metric),
        *(selected, monitor_epoch, metric_epoch),
        fold=run.fold,
    )


def _best(epochs: Sequence[Mapping[str, float]], metric: str, *, lower: bool) -> int:
    """Returns the number of the first epoch of the best value; the first epoch where none is defined."""
    known = [
        (row[metric] if lower else -row[metric], int(row["epoch"])) for row in epochs if not math.isnan(row[metric])
    ]
    return min(known)[1] if known else 1


def spreads(lines: Sequence[Audited], row: str, measure: Measure) -> dict[str, Spread] | None:
    """Returns the spread over seeds of each choice, and of how much it flatters.

    The latter are under "monitor_best gain" and "metric_best gain". A gain is positive where test's choice looks better
    than validation's. None if no run has an audit.
    """
    fit = [line for line in lines if (line.row, line.measure) == (row, measure.name)]
    if not fit:
        return None
    better = -1.0 if measure.lower_is_better else 1.0
    columns: dict[str, list[float]] = {
        name: [getattr(line, name) for line in fit] for name in ("selected", "monitor_best", "metric_best")
    }
    for name in ("monitor_best", "metric_best"):
        pairs = zip(columns[name], columns["selected"], strict=True)
        columns[f"{name} gain"] = [better * (chosen - honest) for chosen, honest in pairs]
    return {name: Spread.of(values) for name, values in columns.items()}
