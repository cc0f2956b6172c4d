"""Doing what a table lacks: each run in a process of train.py, then linear probes and subsets of what it trained."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread

from trivium.tables.agenda import Agenda
from trivium.tables.estimate import trained
from trivium.tables.evaluations import evaluate
from trivium.tables.plan import Planned
from trivium.tables.processes import RunFailedError, Trainings
from trivium.tables.progress import Progress

LOCKED = "is in use by another process"  # train.py, when another process was faster


@dataclass(frozen=True)
class Failure:
    """A run that did not end well. reason: its last words; log: all of them."""

    run: Planned
    reason: str
    log: Path


@dataclass(frozen=True)
class _Event:
    """A run begins, `at` this time on the monotonic clock and having been `trained` before, or ends, with an error or
    without, or by_another process.
    """

    run: Planned
    ended: bool
    at: float
    trained: float = 0.0
    error: Exception | None = None
    by_another: bool = False


def complete(runs: Sequence[Planned], *, jobs: int, logs: Path, progress: Progress) -> list[Failure]:
    """Train what is not finished, `jobs` at once, and evaluate what is not. Tells `progress` how far it is.

    A run that fails ends nothing but itself and those that begin from it; the failures are returned. Each run's output
    is logs/RUN.log. Runs whose data are not there are left alone; those that another process has are waited for.
    On Ctrl-C, or any other error here, the processes are ended first.
    """
    logs.mkdir(parents=True, exist_ok=True)
    todo = [run for run in runs if run.status not in ("done", "no data")]
    agenda, trainings, events = Agenda(todo), Trainings(), SimpleQueue[_Event]()
    failures: list[Failure] = []
    try:
        with progress:
            for _ in range(min(jobs, len(todo))):
                Thread(target=_work, args=(agenda, trainings, events, logs), daemon=True).start()
            ended = 0
            while ended < len(todo):
                event = _next(events, lambda: progress.look(agenda.elsewhere))
                if not event.ended:
                    progress.begins(event.run, event.at, event.trained)
                    continue
                failure = _outcome(event, logs)
                failures += [failure] if failure else []
                ended += 1
                said = f"FAILED: {failure.reason}" if failure else "made by another process" * event.by_another
                progress.ends(event.run, event.at, said, failed=failure is not None)
            failures += _evaluate_rest(runs, [failure.run for failure in failures], logs)
    finally:
        agenda.close()
        trainings.stop()
    return failures


def _next(events: SimpleQueue[_Event], meanwhile: Callable[[], None]) -> _Event:
    while True:
        try:
            return events.get(timeout=1.0)
        except Empty:
            meanwhile()


def _work(agenda: Agenda, trainings: Trainings, events: SimpleQueue[_Event], logs: Path) -> None:
    """A thread: one run after the other."""
    while (run := agenda.take()) is not None:
        error: Exception | None = None
        by_another = run.directory.finished
        if not by_another:
            events.put(_Event(run, ended=False, at=time.monotonic(), trained=trained(run.directory.path)))
            try:
                _train(run, agenda, trainings, log_of(run, logs))
            except Exception as raised:  # told to the main thread, which knows what to make of it
                if isinstance(raised, RunFailedError) and LOCKED in _last_words(log_of(run, logs)):
                    agenda.put_back(run)
                    continue
                error = raised
        agenda.ended(run, failed=error is not None)
        events.put(_Event(run, ended=True, at=time.monotonic(), error=error, by_another=by_another))


def _train(run: Planned, agenda: Agenda, trainings: Trainings, log: Path) -> None:
    """Raises RunFailedError if the run, or the one that it begins from, failed."""
    log.write_text(f"{run.command}\n")
    if agenda.begins_from_failed(run):
        raise RunFailedError(f"the run that it begins from, {run.start and run.start.path}, failed")
    if run.directory.config_file.is_file():
        try:
            run.directory.config()
        except ValueError as error:
            raise RunFailedError(str(error)) from error
    trainings.train(run.arguments, log)


def _outcome(event: _Event, logs: Path) -> Failure | None:
    """Raises what is no fault of the run."""
    log = log_of(event.run, logs)
    if isinstance(event.error, RunFailedError):
        return Failure(event.run, str(event.error) or _last_words(log), log)
    if event.error is not None:
        raise event.error
    if not event.run.directory.finished:
        return Failure(event.run, f"it ended without {event.run.directory.result_file}", log)
    return _evaluated(event.run, logs)


def _evaluate_rest(runs: Sequence[Planned], told: Sequence[Planned], logs: Path) -> list[Failure]:
    """Of runs that were finished before."""
    found = [_evaluated(run, logs) for run in runs if run.directory.finished and run not in told]
    return [failure for failure in found if failure]


def _evaluated(run: Planned, logs: Path) -> Failure | None:
    reason = evaluate(run, log_of(run, logs))
    return Failure(run, reason, log_of(run, logs)) if reason else None


def log_of(run: Planned, logs: Path) -> Path:
    return logs / f"{run.directory.path.name}.log"


def _last_words(log: Path) -> str:
    """The last line that tells of an error, else the last line."""
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    told = [line for line in lines if line.startswith("error:") or "Error:" in line]
    return (told or lines)[-1] if lines else ""
