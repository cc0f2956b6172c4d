"""Judges how a job ended, by its run's directory."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from trivium.runs.directory import RunDirectory
from trivium.runs.status import status_of


@dataclass(frozen=True)
class Outcome:
    """Tells how a job ended.

    state: "running" if another process still works on the run. text: for a reader. value: of the metric, if complete.
    seconds: duration of the training.
    """

    state: Literal["complete", "pruned", "fail", "running"]
    text: str
    value: float | None = None
    seconds: float | None = None


def outcome_of(run: RunDirectory, metric: str, error: str | None) -> Outcome:
    """Returns how a job ended.

    metric: of the validation split, such as loss; "" if no value is asked for. error: what the job died of, if it did.
    """
    if run.finished:
        result = run.result()
        value, seconds = _value(result, metric), result.get("seconds")
        if not metric:
            return Outcome("complete", "", None, seconds)
        if not is_number(value):
            return Outcome("fail", f"val/{metric} is {value} in {run.result_file}", None, seconds)
        return Outcome("complete", f"val/{metric} {value:.5g}", float(value), seconds)
    if (status := status_of(run)).startswith("pruned"):
        return Outcome("pruned", status)
    if run.in_use:
        text = f"{run.path} is in use by another process; start the search again when that has ended"
        return Outcome("running", text)
    return Outcome("fail", error or f"it ended without {run.result_file}")


def _value(result: Mapping[str, Any], metric: str) -> Any:
    """Returns a validation metric of the selected epoch; one that only training has (val/total), where it selected."""
    selection = result.get("selection", {})
    monitored = selection.get("value") if selection.get("monitor") == f"val/{metric}" else None
    return result.get("val", {}).get(metric, monitored)


def is_number(value: Any) -> bool:
    """Returns whether a trial can have this as its value."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
