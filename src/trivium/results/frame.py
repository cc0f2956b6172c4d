"""Reads finished runs as a tidy pandas frame: a row for each run and metric. docs/report.md lists the columns."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from trivium.results.folders import gather
from trivium.results.records import Record
from trivium.results.sections import split_section
from trivium.results.table_folder import TableFolder

COLUMNS = (
    "label",
    "method",
    "data",
    "feature_set",
    "situation",
    "modalities",
    "seed",
    "fold",
    "split",
    "metric",
    "value",
    "config_hash",
    "selected_by",
    "best_epoch",
    "epochs",
    "seconds",
    "parameters",
    "trained_parameters",
    "train_mean_mae",
    "train_guess",
    "git_commit",
    "status",
    "path",
)
# What tells the runs of one setting apart; fold is missing where the data have no folds.
REPEAT = ("seed", "fold")
_AS_WRITTEN = ("method", "config_hash", "best_epoch", "epochs", "seconds", "parameters", "trained_parameters")
_SPLITS = ("val", "test")
_FLOATS = ("value", "seconds", "train_mean_mae", "train_guess")
_INTEGERS = ("seed", "fold", "best_epoch", "epochs", "parameters", "trained_parameters")


def results(folder: str | Path) -> pd.DataFrame:
    """Returns a row for each run and metric of the finished runs in `folder`; nothing of torch is imported.

    folder: one run; a folder with runs anywhere beneath it, such as outputs; a sweep; a search; or a table. Rows of a
    table are what its values.csv holds, with the table's labels and names of measures; facts of runs that are not there
    any more are missing. A run that is not finished or damaged is left out with a warning that names the file.
    Raises ValueError for a folder that holds none of these.
    """
    sources = gather([Path(folder).expanduser()], whole=False)
    for line in sources.left_out:
        warnings.warn(line, stacklevel=3)
    by_path = {record.path.resolve(): record for record in sources.records}
    lines = [
        {**_facts_of(table, line, by_path), **table_score(line)} for table in sources.tables for line in table.values
    ]
    return as_frame(lines or [line for record in sources.records for line in record_lines(record)])


def as_frame(lines: list[dict[str, Any]]) -> pd.DataFrame:
    """Returns the lines with all of COLUMNS in their order; whole numbers stay whole where some are missing."""
    kinds = dict.fromkeys(COLUMNS, "object") | dict.fromkeys(_INTEGERS, "Int64") | dict.fromkeys(_FLOATS, "float64")
    return pd.DataFrame(lines, columns=list(COLUMNS)).astype(kinds)


def record_lines(record: Record) -> list[dict[str, Any]]:
    """Returns a line for each split and metric of a run."""
    return [
        {
            **run_facts(record, split),
            "metric": metric,
            "value": math.nan if value is None else float(value),
            "train_guess": guess_value(record.result, split, metric),
        }
        for split in _SPLITS
        for metric, value in record.result.get(split, {}).items()
    ]


def guess_value(result: Mapping[str, Any], split: str, metric: str) -> float:
    """Returns the metric of a constant prediction from the train split; NaN where that is not known.

    It is known of the MAE of a score, and of all metrics of other targets.
    """
    known = result.get("train_guess", {}).get(split, {}).get(metric)
    if known is None and metric == "mae":
        known = result.get("train_mean_mae", {}).get(split)
    return math.nan if known is None else float(known)


def run_facts(record: Record, split: str = "test") -> dict[str, Any]:
    """Returns what all metrics of a run's split share."""
    result = record.result
    return {
        "label": record.label or result["method"],
        **{key: result[key] for key in _AS_WRITTEN if key in result},
        "data": record.data.partition("/")[0],
        "feature_set": record.data,
        "situation": "",
        "modalities": "+".join(result.get("modalities", [])),
        "seed": record.seed,
        "fold": record.fold,
        "split": split,
        "selected_by": record.selected_by,
        "train_mean_mae": result.get("train_mean_mae", {}).get(split, math.nan),
        "git_commit": result.get("git_commit") or record.record.get("git_commit"),
        "status": record.record.get("status", "finished"),
        "path": str(record.path),
    }


def _facts_of(table: TableFolder, line: Mapping[str, str], records: Mapping[Path, Record]) -> dict[str, Any]:
    """Returns the facts of the run that a line of values.csv is of, where that is there."""
    path = table.run_of(line)
    record = None if path is None else records.get(path)
    data, situation = split_section(line.get("data") or "")
    if record is None:
        return {"data": data.partition("/")[0], "feature_set": data, "situation": situation, "path": line.get("run")}
    return {**run_facts(record), "situation": situation}


def table_score(line: Mapping[str, str]) -> dict[str, Any]:
    """Returns a line of values.csv under the names of the frame."""
    seed, value = int(line["seed"]), float(line["value"] or "nan")
    fold = int(line["fold"]) if line.get("fold") else None
    return {
        "label": line["row"],
        "seed": seed,
        "fold": fold,
        "split": "test",
        "metric": line["measure"],
        "value": value,
    }
