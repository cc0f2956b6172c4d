"""Makes what a table lacks: runs in processes of `trivium train`, then their linear probes and subsets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from trivium.search.outcome import Outcome, outcome_of
from trivium.search.reporter import Reporter
from trivium.search.scheduler import Job, run_jobs
from trivium.search.train_processes import TrainProcesses
from trivium.tables.estimate import Estimate
from trivium.tables.evaluations import evaluate
from trivium.tables.plan import Planned


@dataclass(frozen=True)
class Failure:
    """Holds a run that failed. reason: its last error. log: the file of all that it printed."""

    run: Planned
    reason: str
    log: Path


def complete(
    runs: Sequence[Planned], *, jobs: int, logs: Path, estimate: Estimate, console: Console | None = None
) -> list[Failure]:
    """Trains the runs that are not finished, `jobs` at once, evaluates all, and returns those that failed.

    A run that fails ends only itself and those that begin from it. Each run's output is logs/RUN.log. Runs whose data
    are not there are left alone; those that another process has are waited for. Tells how far it is on `console`.
    On Ctrl-C, or any error that is not a run's, the processes are ended first.
    """
    logs.mkdir(parents=True, exist_ok=True)
    todo = {run.name: run for run in runs if run.status not in ("done", "no data", "to search")}
    processes = TrainProcesses(jobs, logs)

    def judge(job: Job, error: str | None) -> Outcome:
        outcome = outcome_of(job.run, "", error)
        # A run that failed may still be in use, by workers that need a moment to end after their parent was killed.
        complete = outcome.state == "complete"
        reason = evaluate(todo[job.name], processes.log(job)) if complete else error or outcome.text
        return Outcome("fail", reason) if reason else outcome

    def time_left(reporter: Reporter) -> str:
        failed = [name for name, outcome in reporter.outcomes.items() if outcome.state == "fail"]
        left = estimate.left([run for run in runs if run.name not in failed], jobs, reporter.running)
        return "" if left.seconds == 0 else str(left)

    reporter = Reporter(len(todo), time_left=time_left, console=console)
    done = sum(run.directory.finished for run in runs)
    reporter.say(f"{done} of {len(runs)} runs are done{reporter.left()}")
    with reporter:
        outcomes = run_jobs([_job(run) for run in todo.values()], processes, reporter, judge, shared=True)
    failures = []
    for run in runs:
        if run.name in outcomes:
            reason = outcomes[run.name].text if outcomes[run.name].state == "fail" else ""
        else:
            reason = evaluate(run, processes.log(_job(run))) if run.directory.finished else ""
        if reason:
            failures.append(Failure(run, reason, processes.log(_job(run))))
    return failures


def _job(run: Planned) -> Job:
    start = run.start.path if run.start else None
    return Job(run.name, run.directory, tuple(run.arguments), run.command, start=start, epochs=run.epochs)
