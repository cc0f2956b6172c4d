"""In which order jobs run, what a failed one takes with it, and what other processes have. Nothing is trained here."""

from __future__ import annotations

import fcntl
import io
import json
import time
from collections.abc import Callable
from pathlib import Path
from threading import Thread

import pytest
from rich.console import Console

from trivium.config.compose import compose_config
from trivium.runs.directory import RunDirectory
from trivium.runs.resume import open_run
from trivium.search import scheduler
from trivium.search.outcome import Outcome, outcome_of
from trivium.search.reporter import Reporter
from trivium.search.scheduler import LOCKED, Job, run_jobs

Train = Callable[[Job], str | None]


class Workers:
    """Ends the started jobs one by one, the last one first, as `train` says: with an error, or finished."""

    waits_for_all = False

    def __init__(self, train: Train, at_once: int = 1) -> None:
        self.train, self.at_once = train, at_once
        self.started: list[str] = []
        self.jobs: list[Job] = []
        self.stopped = False

    def start(self, job: Job) -> None:
        self.started.append(job.name)
        self.jobs.append(job)

    def wait(self, seconds: float) -> dict[str, str | None]:
        if not self.jobs:
            time.sleep(0.01)
            return {}
        job = self.jobs.pop()
        error = self.train(job)
        if error is None:
            finish(job.run)
        return {job.name: error}

    def stop(self) -> None:
        self.stopped = True


def finish(run: RunDirectory) -> None:
    run.path.mkdir(exist_ok=True)
    run.result_file.write_text(json.dumps({"val": {"loss": 0.5}, "seconds": 2.0}))


@pytest.fixture
def jobs(tmp_path: Path) -> list[Job]:
    """Of three jobs the second begins from the first."""
    first = Job("first", RunDirectory(tmp_path / "1"), ())
    second = Job("second", RunDirectory(tmp_path / "2"), (), start=first.run.path)
    return [first, second, Job("other", RunDirectory(tmp_path / "3"), ())]


def made(jobs: list[Job], workers: Workers, *, shared: bool = True) -> tuple[dict[str, Outcome], str]:
    """The outcomes, and what was printed."""
    out = io.StringIO()
    with Reporter(len(jobs), console=Console(file=out)) as reporter:
        outcomes = run_jobs(
            jobs, workers, reporter, lambda job, error: outcome_of(job.run, "loss", error), shared=shared
        )
    assert workers.stopped
    return outcomes, out.getvalue()


def states(outcomes: dict[str, Outcome]) -> dict[str, str]:
    return {name: outcome.state for name, outcome in outcomes.items()}


@pytest.mark.parametrize(
    ("at_once", "order"), [(1, ["first", "second", "other"]), (2, ["first", "other", "second"]), (9, None)]
)
def test_a_job_waits_for_the_one_that_it_begins_from_and_takes_no_place(
    jobs: list[Job], at_once: int, order: list[str] | None
) -> None:
    running: list[set[str]] = []

    def train(job: Job) -> None:
        running.append({job.name, *(other.name for other in workers.jobs)})

    workers = Workers(train, at_once)
    outcomes, _ = made(jobs, workers)
    assert states(outcomes) == dict.fromkeys(["first", "second", "other"], "complete")
    assert workers.started == (order or ["first", "other", "second"])
    assert not any({"first", "second"} <= names for names in running)
    assert max(map(len, running)) == min(at_once, 2)


def test_what_begins_from_a_failed_run_fails_and_names_it(jobs: list[Job]) -> None:
    workers = Workers(lambda job: "broken" if job.name == "first" else None)
    outcomes, printed = made(jobs, workers)
    reason = f"the run that it begins from, {jobs[0].run.path}, failed"
    assert workers.started == ["first", "other"]
    assert outcomes["first"] == Outcome("fail", "broken")
    assert outcomes["second"] == Outcome("fail", reason)
    assert states(outcomes)["other"] == "complete"
    assert "[1/3] first: FAILED: broken" in printed
    assert f"second: FAILED: {reason}" in printed


def test_a_job_that_cannot_be_started_fails_alone(jobs: list[Job], monkeypatch: pytest.MonkeyPatch) -> None:
    workers = Workers(lambda job: None)
    start = workers.start

    def refused(job: Job) -> None:
        if job.name == "other":
            raise ValueError("its config is damaged")
        start(job)

    monkeypatch.setattr(workers, "start", refused)
    outcomes, _ = made(jobs, workers)
    assert outcomes["other"] == Outcome("fail", "its config is damaged")
    assert states(outcomes)["second"] == "complete"


def test_a_run_that_another_process_took_first_is_tried_again(jobs: list[Job]) -> None:
    refused = iter([f"error: /x {LOCKED}; wait for it"])
    workers = Workers(lambda job: next(refused, None))
    outcomes, _ = made(jobs, workers)
    assert workers.started == ["first", "other", "first", "second"]
    assert set(states(outcomes).values()) == {"complete"}


def test_a_run_that_another_process_finished_meanwhile_is_not_run(jobs: list[Job]) -> None:
    workers = Workers(lambda job: finish(jobs[1].run) if job.name == "first" else None)
    outcomes, printed = made(jobs, workers)
    assert workers.started == ["first", "other"]
    assert outcomes["second"].state == "complete"
    assert "second: made by another process" in printed


def test_a_run_of_another_process_is_waited_for_and_run_when_that_has_ended(jobs: list[Job]) -> None:
    jobs[0].run.path.mkdir()
    with (jobs[0].run.path / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        Thread(target=lambda: (time.sleep(0.3), lock.close())).start()
        workers = Workers(lambda job: None)
        _, printed = made(jobs, workers)
    assert workers.started == ["other", "first", "second"]
    assert printed.count("first: another process has it; waiting for that") == 1


def test_jobs_that_are_not_shared_are_left_to_the_run_s_own_lock(jobs: list[Job]) -> None:
    """As a grid's: a run in use is refused by train.py, and a finished one is told again."""
    finish(jobs[0].run)
    workers = Workers(lambda job: None)
    made(jobs, workers, shared=False)
    assert workers.started == ["first", "second", "other"]


def test_an_error_of_ours_ends_all_jobs_and_is_no_job_s(jobs: list[Job]) -> None:
    """A full disk, say."""

    def train(job: Job) -> str | None:
        raise OSError("no space left")

    workers = Workers(train)
    with pytest.raises(OSError, match="no space left"):
        made(jobs, workers)
    assert workers.stopped


def test_what_train_says_of_a_locked_run_is_what_is_looked_for(tmp_path: Path) -> None:
    overrides = ["data=fixture", f"run.dir={tmp_path / 'run'}", "resume=auto"]
    config = compose_config(overrides)
    run = open_run(config, overrides)
    with pytest.raises(ValueError, match=LOCKED):
        open_run(config, overrides)
    run.release()


def test_runs_that_end_in_other_processes_are_told_while_the_workers_wait_for_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As under joblib and submitit, whose launchers return when the last job has ended."""
    monkeypatch.setattr(scheduler, "LOOK_EVERY", 0.01)
    jobs = [Job(f"job {number}", RunDirectory(tmp_path / str(number)), ()) for number in range(5)]
    lines: list[str] = []

    def write(number: int, status: str) -> None:
        jobs[number].run.path.mkdir(exist_ok=True)
        jobs[number].run.record_file.write_text(json.dumps({"status": status}))

    def wait_for(count: int) -> None:
        until = time.monotonic() + 10
        while len(lines) < count and time.monotonic() < until:
            time.sleep(0.01)

    class Batch(Workers):
        waits_for_all = True

        def wait(self, seconds: float) -> dict[str, str | None]:
            write(1, "running")
            write(2, "finished")
            finish(jobs[2].run)
            wait_for(1)
            write(0, "failed: OSError: disk full")
            write(3, "pruned: after epoch 2, val/loss 0.7")
            wait_for(3)
            return {job.name: "no result" for job in jobs}

    write(4, "failed: in an earlier start")
    reporter = Reporter(len(jobs))
    monkeypatch.setattr(reporter, "say", lambda line: lines.append(line) if ": " in line else None)
    run_jobs(jobs, Batch(lambda job: None, 9), reporter, lambda job, error: outcome_of(job.run, "loss", error))
    assert lines[0].startswith("[1/5] job 2: val/loss 0.5, 2 s")
    assert {line.partition("] ")[2].split(";")[0] for line in lines[1:3]} == {
        "job 0: FAILED: OSError: disk full",
        "job 3: pruned after epoch 2, val/loss 0.7",
    }
    assert len(lines) == 5


def test_a_job_that_follows_another_runs_after_that_was_judged(jobs: list[Job]) -> None:
    first, second = jobs[0], jobs[1]
    workers, order = Workers(lambda job: None), []

    def judge(job: Job, error: str | None) -> Outcome:
        order.append(job.name)
        return outcome_of(job.run, "", error)

    def follow(job: Job) -> list[Job]:
        assert order[-1] == job.name
        return [second] if job is first else []

    outcomes = run_jobs([first], workers, Reporter(2, console=Console(file=io.StringIO())), judge, follow=follow)
    assert workers.started == order == [first.name, second.name] == list(outcomes)
