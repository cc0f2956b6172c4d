"""What a table makes of its runs' ends: evaluations, failures, what is told. Nothing is trained here."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from planned_cases import begin, finish
from rich.console import Console

from trivium.search.scheduler import Job
from trivium.search.train_processes import TrainProcesses
from trivium.tables.definition import Row, Table
from trivium.tables.estimate import Estimate
from trivium.tables.measures import Measure
from trivium.tables.plan import Planned, plan
from trivium.tables.work import Failure, complete

ROWS = (Row("First", ("method=comm",)), Row("Second", ("method=supcon",), start="First"), Row("Other", ()))
MEASURE = Measure("x", metric="mae")
TABLE = Table("own", "T", ("data=fixture", "trainer.max_epochs=2"), 1, ROWS, (MEASURE,), {"x": ("x",)})
Train = Callable[[Planned], str | None]


@pytest.fixture
def runs(tmp_path: Path) -> list[Planned]:
    return plan(TABLE, 1, tmp_path)


@pytest.fixture
def started(runs: Sequence[Planned], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of runs that were started, each of which ends at once, finished."""
    started: list[str] = []
    train_processes(runs, monkeypatch, lambda run: finish(run, 200.0), started)
    return started


def train_processes(
    runs: Sequence[Planned], monkeypatch: pytest.MonkeyPatch, train: Train, started: list[str] | None = None
) -> None:
    """Has `train`, which returns an error or None, in the place of train.py."""
    by_name = {run.name: run for run in runs}
    names: list[str] = [] if started is None else started
    start = TrainProcesses.start

    def start_without_process(self: TrainProcesses, job: Job) -> None:
        try:
            start(self, job)
        except pytest.fail.Exception:  # all that comes before the process has been done
            names.append(job.name)

    def wait(self: TrainProcesses, seconds: float) -> dict[str, str | None]:
        return {names[-1]: train(by_name[names[-1]])}

    monkeypatch.setattr("trivium.search.train_processes._context", lambda: pytest.fail("a process"))
    monkeypatch.setattr(TrainProcesses, "start", start_without_process)
    monkeypatch.setattr(TrainProcesses, "wait", wait)


def made(runs: Sequence[Planned], folder: Path) -> tuple[list[Failure], str]:
    """The failures, and what was printed."""
    out = io.StringIO()
    failures = complete(runs, jobs=1, logs=folder / "logs", estimate=Estimate(), console=Console(file=out))
    return failures, out.getvalue()


def test_a_failed_run_and_what_begins_from_it_are_failures_with_their_logs(
    runs: list[Planned], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train_processes(runs, monkeypatch, lambda run: "error: broken" if run.row.label == "First" else finish(run))
    failures, printed = made(runs, tmp_path)
    reason = f"the run that it begins from, {runs[0].directory.path}, failed"
    assert {f.run.row.label: f.reason for f in failures} == {"First": "error: broken", "Second": reason}
    assert failures[0].log.read_text() == f"{runs[0].command}\n"
    assert "[1/3] First, seed 1: FAILED: error: broken" in printed


def test_an_interrupted_run_whose_config_is_damaged_is_told_with_its_file(
    runs: list[Planned], started: list[str], tmp_path: Path
) -> None:
    begin(runs[2], 1)
    runs[2].directory.config_file.write_text('{"a: [')
    (failure,), _ = made(runs, tmp_path)
    assert failure.reason.startswith(f"{runs[2].directory.config_file}: cannot be read (while scanning")
    assert failure.reason.endswith(f"; copy it again, or delete {runs[2].directory.path} and repeat the run")
    assert started == [runs[0].name, runs[1].name]


def test_an_evaluation_that_fails_is_that_runs_failure_alone(
    runs: list[Planned], started: list[str], tmp_path: Path
) -> None:
    """Such as of a run whose weights are gone."""
    subsets = replace(TABLE, measures=(Measure("x", metric="mae", subset="text"),))
    asked = [*runs[:2], replace(runs[2], table=subsets)]
    (failure,), _ = made(asked, tmp_path)
    assert failure.run.row.label == "Other"
    assert failure.reason.startswith("evaluating it: ")
    assert "Traceback" in failure.log.read_text()
    (again,), _ = made(asked, tmp_path)  # it is finished by now, and is evaluated again
    assert again.reason == failure.reason
    assert len(started) == 3


def test_a_run_that_ends_well_without_a_result_has_failed(
    runs: list[Planned], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train_processes(runs, monkeypatch, lambda run: None)
    failures, _ = made(runs, tmp_path)
    assert failures[0].reason == f"it ended without {runs[0].directory.result_file}"


def test_what_begins_and_how_far_it_is_is_told(runs: list[Planned], started: list[str], tmp_path: Path) -> None:
    begin(runs[2], 1)
    _, printed = made(runs, tmp_path)
    lines = re.sub(r"\d+ s\b", "0 s", printed).splitlines()
    assert lines[0].startswith("0 of 3 runs are done; time left: not known")
    assert lines[1] == "[0/3] First, seed 1 begins"
    assert lines[2] == "[1/3] First, seed 1: 3 min; time left: 7 min, guessed for 2 runs"
    assert "[2/3] Other, seed 1 goes on" in lines
    assert lines[-1] == "[3/3] Other, seed 1: 3 min"


def test_nothing_to_do_is_one_line(runs: list[Planned], started: list[str], tmp_path: Path) -> None:
    for run in runs:
        finish(run)
    assert made(runs, tmp_path) == ([], "3 of 3 runs are done\n")
    assert started == []
