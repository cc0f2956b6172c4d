"""How a job of a sweep ended, as its run directory tells it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from trivium.runs.directory import RunDirectory


@dataclass(frozen=True)
class Outcome:
    """state: "running" if somebody still works on it. value: of the metric, where complete. text: for a reader."""

    state: Literal["complete", "pruned", "fail", "running"]
    text: str
    value: float | None = None
    seconds: float | None = None


def outcome(run: RunDirectory, metric: str, error: str | None) -> Outcome:
    """metric: of the validation split, such as loss. error: what the job died of, if it did."""
    if run.finished:
        result = run.result()
        value, seconds = _value(result, metric), result.get("seconds")
        if not is_number(value):
            return Outcome("fail", f"val/{metric} is {value} in {run.result_file}", None, seconds)
        return Outcome("complete", f"val/{metric} {value:.5g}", float(value), seconds)
    if (status := status_of(run)).startswith("pruned"):
        return Outcome("pruned", status)
    if run.in_use:
        text = f"{run.path} is in use by another process; start the search again when that has ended"
        return Outcome("running", text)
    return Outcome("fail", error or f"{run.path} is unfinished, and its process told no error")


def _value(result: Mapping[str, Any], metric: str) -> Any:
    """A validation metric of the selected epoch; one that only training has (val/total), where it selected."""
    selection = result.get("selection", {})
    monitored = selection.get("value") if selection.get("monitor") == f"val/{metric}" else None
    return result["val"].get(metric, monitored)


def ended(run: RunDirectory) -> bool:
    """Whether a run has come to its end, whichever; not so while it trains, or after a kill."""
    return run.finished or status_of(run).startswith(("pruned", "failed"))


def status_of(run: RunDirectory) -> str:
    """Empty before there is a run."""
    return str(run.record()["status"]) if (run.path / "run.json").is_file() else ""


def is_number(value: Any) -> bool:
    """Whether a trial can have it as its value."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
