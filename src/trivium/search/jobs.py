"""Writes jobs as commands to copy, and lists how they ended."""

from __future__ import annotations

import os
import re
import sys
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trivium.core.wording import counted, duration, shortened
from trivium.search.outcome import Outcome
from trivium.search.scheduler import Job
from trivium.search.titles import title_of


@dataclass(frozen=True)
class FailedJob:
    """Holds a job that failed. name: such as "trial 3". log: the file of what it printed, if it has one."""

    name: str
    command: str
    error: str
    log: Path | None = None


def in_words(error: BaseException) -> str:
    """Returns an exception as one line."""
    text = shortened(re.sub(r"\s*\n\s*", " | ", str(error).strip()), 600) or "no message"
    return text if isinstance(error, ValueError) else f"{type(error).__name__}: {text}"


def print_failures(failures: Sequence[FailedJob], total: int, what: str) -> None:
    """Lists failed jobs on stderr, each with its error, its command and its log. what: job, trial, run."""
    if not failures:
        return
    print(f"\n{len(failures)} of {counted(total, what)} failed", file=sys.stderr)
    for failure in failures:
        print(f"{failure.name}: {shortened(failure.error, 300)}\n  {failure.command}", file=sys.stderr)
        if failure.log is not None:
            print(f"  log {failure.log}", file=sys.stderr)
    sys.stderr.flush()


def print_jobs(folder: Path, jobs: Sequence[Job], outcomes: Mapping[str, Outcome]) -> None:
    """Prints a line a job at the end of a grid of several."""
    if len(jobs) < 2:
        return
    failed = sum(outcome.state == "fail" for outcome in outcomes.values())
    ends = f"{len(jobs) - failed} finished{f', {failed} failed' if failed else ''}"
    print(f"\n{counted(len(jobs), 'job')} in {folder}: {ends}")
    for job in jobs:
        outcome = outcomes[job.name]
        text = "failed" if outcome.state == "fail" else outcome.text
        seconds = "" if outcome.seconds is None else duration(outcome.seconds)
        print(f"  {job.name:<8} {text:<18} {seconds:>6}  {title_of(job.varied)}")
    sys.stdout.flush()


def print_traceback(error: Exception) -> None:
    """Prints the traceback of a job's error, unless it is a user's mistake (ValueError, OSError).

    TRIVIUM_TRACEBACK=1 asks for those too.
    """
    if not isinstance(error, ValueError | OSError) or os.environ.get("TRIVIUM_TRACEBACK") == "1":
        traceback.print_exception(error)


def as_restarted(config: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Returns the config of a job in `folder`, set to resume there if SLURM has put the job back into its queue."""
    if int(os.environ.get("SLURM_RESTART_COUNT") or 0) == 0 or config["resume"] != "off" or config["run"]["dir"]:
        return config
    return {**config, "resume": "auto", "run": {**config["run"], "dir": str(folder)}}
