"""Reads from a run's directory how far the run is, and how it ended, while it trains or afterwards; without torch."""

from __future__ import annotations

from trivium.runs.directory import RunDirectory
from trivium.runs.run_files import numbers_of, read_rows


def has_ended(run: RunDirectory) -> bool:
    """Returns whether a run is finished, pruned or failed; not so while it trains, or after a kill."""
    return run.finished or status_of(run).startswith(("pruned", "failed"))


def failure_of(run: RunDirectory) -> str | None:
    """Returns the error that a run's record names, or None."""
    status = status_of(run)
    return status.removeprefix("failed: ") if status.startswith("failed") else None


def status_of(run: RunDirectory) -> str:
    """Returns the status of a run's record, "" before there is one."""
    return str(run.record().get("status", "")) if run.record_file.is_file() else ""


def epochs_done(run: RunDirectory) -> int:
    """Returns the number of whole epochs that a run has trained for."""
    return len(_epochs(run))


def trained_seconds(run: RunDirectory) -> float:
    """Returns the seconds that a run has trained for, up to its last whole epoch."""
    rows = _epochs(run)[-1:]
    if not rows or not rows[0].get("seconds"):
        return 0.0
    return numbers_of(run.path / "metrics.csv", rows, ["seconds"])["seconds"][0]


def _epochs(run: RunDirectory) -> list[dict[str, str]]:
    file = run.path / "metrics.csv"
    return read_rows(file) if file.is_file() else []
