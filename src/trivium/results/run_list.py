"""Lists the runs of a folder, finished or not: what each is, how far it is, and what it reached."""

from __future__ import annotations

import math
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd

from trivium.core.metric_names import LABELS, METRICS
from trivium.core.wording import counted
from trivium.runs.directory import RunDirectory, run_folders
from trivium.runs.run_files import require_identified, require_whole
from trivium.runs.status import epochs_done, status_of

COLUMNS = ("name", "method", "data", "seed", "status", "epoch", "metric", "value", "when", "path")


def run_list(folder: str | Path) -> pd.DataFrame:
    """Returns a line for each run anywhere beneath a folder, or for the run that it is; the newest first.

    name: the directory's, beneath `folder`. data: the feature set of a finished run, else the data set. status: see
    `status_text`. epoch: the one that was tested. metric, value: the first test metric of the data set's protocol.
    when: time at which the run began, in this machine's zone. A file that is damaged is named as the run's status.
    Raises ValueError for a folder that is not there.
    """
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        raise ValueError(f"{folder}: no such folder; expected one with runs in it, such as outputs")
    lines = [_line(RunDirectory(path), folder) for path in run_folders(folder)]
    frame = pd.DataFrame([line for line in lines if line], columns=list(COLUMNS))
    kinds = {"seed": "Int64", "epoch": "Int64", "value": "float64", "when": "datetime64[us]"}
    return sorted_runs(frame.astype(kinds), "when")


def sorted_runs(frame: pd.DataFrame, column: str) -> pd.DataFrame:
    """Returns the lines by a column: the newest first, otherwise from small to large, those without a value last."""
    return frame.sort_values(column, ascending=column != "when", kind="stable", na_position="last", ignore_index=True)


def _line(run: RunDirectory, folder: Path) -> dict[str, Any]:
    """Returns the line of a run, an empty one if it was removed meanwhile."""
    if not run.config_file.is_file():
        return {}
    name = str(run.path.relative_to(folder)) if run.path != folder else run.path.resolve().name
    line: dict[str, Any] = {"name": name, "path": str(run.path)}
    try:
        line["when"] = datetime.fromtimestamp(run.config_file.stat().st_mtime)
        if run.record_file.is_file() and (began_at := run.record().get("created")):
            created = datetime.fromisoformat(began_at)
            line["when"] = created.astimezone().replace(tzinfo=None)
        return line | (_of_result(run) if run.finished else _of_config(run)) | {"status": status_text(run)}
    except (ValueError, OverflowError, OSError) as error:
        # One damaged run costs itself, not the list; one that was just removed is none.
        if not run.config_file.is_file():
            return {}
        return line | {"status": f"damaged: {error}"}


def _of_result(run: RunDirectory) -> dict[str, Any]:
    result = run.result()
    require_whole(run.result_file, result)
    metric = METRICS[result["metrics"]][0]
    # A store without a test split is trained on too.
    value = result.get("test", {}).get(metric)
    return {
        "method": result["method"],
        "data": result["feature_set"],
        "seed": result["seed"],
        "epoch": result["best_epoch"],
        "metric": LABELS[metric],
        "value": math.nan if value is None else float(value),
    }


def _of_config(run: RunDirectory) -> dict[str, Any]:
    config = run.config()
    require_identified(run.config_file, config)
    return {"method": config["method"]["name"], "data": config["data"]["name"], "seed": config["seed"]}


def status_text(run: RunDirectory) -> str:
    """Returns finished; pruned or failed with the reason; else how far it is, and whether a process works on it."""
    if run.finished:
        return "finished"
    # A run that failed and was started again says "failed" until its first step.
    if run.in_use:
        return f"running, {_epochs(run)}"
    status = status_of(run)
    return status if status.startswith(("pruned", "failed")) else f"unfinished, {_epochs(run)}"


def _epochs(run: RunDirectory) -> str:
    return f"{counted(epochs_done(run), 'epoch')} done"
