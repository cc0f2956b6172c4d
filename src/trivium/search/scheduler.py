"""Runs many runs: tables, grids and searches hand their jobs to `run_jobs`, which keeps N of them at work.

The `Workers` are exchangeable: processes of `trivium train` on this machine (train_processes), or one of Hydra's
launchers (hydra_plugins/trivium_sweeper). Nothing is tried twice.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from trivium.runs.directory import RunDirectory
from trivium.runs.status import failure_of, has_ended, trained_seconds
from trivium.search.outcome import Outcome
from trivium.search.reporter import Reporter

# Seconds between looks at runs that train elsewhere.
LOOK_EVERY = 1.0
# `trivium train`'s words for a run that another process took first.
LOCKED = "is in use by another process"


@dataclass(frozen=True)
class Job:
    """Holds one run to make.

    name: unique among the jobs, for a reader: "trial 3". run: the directory that it fills. arguments: those of
    `trivium train`.
    command: a shell's line that repeats it. varied: key -> word of the settings that not all jobs share.
    start: the directory of the run that it begins from. epochs: the most that it trains for, 0 where not known.
    log: the name of the file for what it prints, without .log; "" for that of the directory.
    """

    name: str
    run: RunDirectory
    arguments: tuple[str, ...]
    command: str = ""
    varied: Mapping[str, str] = field(default_factory=dict)
    start: Path | None = None
    epochs: int = 0
    log: str = ""


class Workers(Protocol):
    """Runs jobs. at_once: number of jobs that it takes.

    waits_for_all: `wait` returns only when all started jobs have ended; meanwhile their run directories tell.
    """

    at_once: int
    waits_for_all: bool

    def start(self, job: Job) -> None:
        """Starts a job. Raises ValueError if it cannot begin, which is that job's failure alone."""

    def wait(self, seconds: float) -> dict[str, str | None]:
        """Returns each job that has ended with its error, or None; waits up to `seconds` for the first."""

    def stop(self) -> None:
        """Ends all jobs."""


# A job that has ended and its error -> its outcome.
Judge = Callable[[Job, str | None], Outcome]


def run_jobs(
    jobs: Sequence[Job],
    workers: Workers,
    reporter: Reporter,
    judge: Judge,
    *,
    shared: bool = False,
    follow: Callable[[Job], Sequence[Job]] | None = None,
) -> dict[str, Outcome]:
    """Runs the jobs in their order, workers.at_once of them at a time, and returns the outcome of each by its name.

    A job waits for the run that it begins from, and fails if that failed; a failure ends no other job.
    shared: other processes may have the same jobs. A run that one of them has is waited for, and one that it finished
    is not run again. follow: returns the jobs to run after one that has ended and was judged.
    On Ctrl-C, and on any error that is not a job's, the workers are stopped first.
    """
    schedule = _Schedule(list(jobs), workers, shared)
    outcomes: dict[str, Outcome] = {}
    ended: list[_End] = []
    try:
        while schedule.open or ended:
            # Free places are filled before ended jobs are judged, as that may take seconds.
            started, not_started = schedule.start()
            for end in [*ended, *not_started]:
                outcome = judge(end.job, end.error)
                if end.by_another and outcome.state == "complete":
                    outcome = replace(outcome, text="made by another process", seconds=None)
                outcomes[end.job.name] = outcome
                reporter.ends(end.job.name, outcome)
                schedule.add(follow(end.job) if follow else ())
            for job, before in started:
                reporter.begins(job, before)
            reporter.look(schedule.elsewhere)
            with _watched(schedule.running if workers.waits_for_all else [], reporter, judge):
                ended = schedule.collect()
    finally:
        workers.stop()
    return outcomes


@dataclass(frozen=True)
class _End:
    job: Job
    error: str | None
    by_another: bool = False


class _Schedule:
    """Holds which jobs wait, run and failed."""

    def __init__(self, jobs: list[Job], workers: Workers, shared: bool) -> None:
        self._waiting, self._workers, self._shared = jobs, workers, shared
        self._running: dict[str, Job] = {}
        self._failed: set[Path] = set()

    def add(self, jobs: Sequence[Job]) -> None:
        self._waiting += jobs

    @property
    def open(self) -> bool:
        return bool(self._waiting or self._running)

    @property
    def running(self) -> list[Job]:
        return list(self._running.values())

    @property
    def elsewhere(self) -> list[str]:
        """Returns the jobs that wait because another process has their run."""
        return [job.name for job in self._waiting if job.run.in_use] if self._shared else []

    def start(self) -> tuple[list[tuple[Job, float | None]], list[_End]]:
        """Starts the jobs that may begin now; returns them, and those that ended without being started.

        Beside each started job stand the seconds that it was trained for before, or None if it begins anew.
        """
        started: list[tuple[Job, float | None]] = []
        ends: list[_End] = []
        unfinished = {job.run.path for job in [*self._waiting, *self.running]}
        for job in list(self._waiting):
            if len(self._running) >= self._workers.at_once:
                break
            if job.start in unfinished or (self._shared and job.run.in_use):
                continue
            self._waiting.remove(job)
            if self._shared and job.run.finished:
                ends.append(_End(job, None, by_another=True))
                continue
            try:
                if job.start in self._failed:
                    raise ValueError(f"the run that it begins from, {job.start}, failed")
                before = trained_seconds(job.run) if job.run.record_file.is_file() else None
                self._workers.start(job)
            except ValueError as error:
                ends.append(self._end(job, str(error)))
            else:
                self._running[job.name] = job
                started.append((job, before))
        return started, ends

    def collect(self) -> list[_End]:
        """Returns the jobs that have ended; waits a moment for the first."""
        if not (self._running or self.elsewhere):
            return []
        ends = []
        for name, error in self._workers.wait(LOOK_EVERY).items():
            job = self._running.pop(name)
            if self._shared and error is not None and LOCKED in error:
                self._waiting.append(job)
            else:
                ends.append(self._end(job, error))
        return ends

    def _end(self, job: Job, error: str | None) -> _End:
        if error is not None:
            self._failed.add(job.run.path)
        return _End(job, error)


@contextmanager
def _watched(jobs: Sequence[Job], reporter: Reporter, judge: Judge) -> Iterator[None]:
    """Tells the reporter of jobs whose run directories show that they have ended, while the workers wait for all."""
    # A run that failed in an earlier start says so until it begins anew.
    waiting = [job for job in jobs if job.run.finished or not has_ended(job.run)]
    over = threading.Event()

    def look() -> None:
        while not over.wait(LOOK_EVERY):
            for job in list(waiting):
                # A run that is refused removes its files.
                with contextlib.suppress(FileNotFoundError):
                    if has_ended(job.run):
                        reporter.ends(job.name, judge(job, failure_of(job.run)))
                        waiting.remove(job)
            reporter.look()

    thread = threading.Thread(target=look, daemon=True)
    if waiting:
        thread.start()
    try:
        yield
    finally:
        over.set()
        if thread.ident is not None:
            thread.join()
