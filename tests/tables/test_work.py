"""In which order a table's runs are trained, and what a failed one takes with it. Nothing is trained here."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from threading import Event

import pytest
from planned_cases import begin, finish
from rich.console import Console

from trivium.tables.definition import Measure, Row, Table
from trivium.tables.estimate import Estimate
from trivium.tables.plan import Planned, plan
from trivium.tables.processes import RunFailedError, Trainings
from trivium.tables.progress import Progress
from trivium.tables.work import LOCKED, Failure, complete

ROWS = (Row("First", ("method=comm",)), Row("Second", ("method=supcon",), start="First"), Row("Other", ()))
MEASURE = Measure("x", metric="mae")
TABLE = Table("own", "T", ("data=fixture", "trainer.max_epochs=2"), 1, ROWS, (MEASURE,), {"x": ("x",)})
Train = Callable[[str, Path], None]


@pytest.fixture
def runs(tmp_path: Path) -> list[Planned]:
    return plan(TABLE, 1, tmp_path)


def made(
    runs: Sequence[Planned], folder: Path, monkeypatch: pytest.MonkeyPatch, train: Train, jobs: int = 1
) -> tuple[list[Failure], str]:
    """complete() with `train`, which gets a run's row and log, in the place of train.py, and what was printed. A run of
    which `train` raises nothing is finished.
    """

    def stand_in(self: Trainings, arguments: Sequence[str], log: Path) -> None:
        row = log.name.split("_")[0]
        train(row, log)
        finish(next(run for run in runs if run.row.slug == row), 200.0)

    monkeypatch.setattr(Trainings, "train", stand_in)
    printed = io.StringIO()
    console = Console(file=printed, soft_wrap=True)
    progress = Progress(runs, jobs, Estimate(), console)
    return complete(runs, jobs=jobs, logs=folder / "logs", progress=progress), printed.getvalue()


def test_a_run_waits_for_the_one_that_it_begins_from(
    runs: list[Planned], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without taking a place of those at once: with two, First and Other run together."""
    ended, other = [], Event()

    def train(row: str, log: Path) -> None:
        if row == "first":
            assert other.wait(30)
        ended.append(row)
        if row == "other":
            other.set()

    assert made(runs, tmp_path, monkeypatch, train, jobs=2)[0] == []
    assert ended == ["other", "first", "second"]


def test_what_begins_from_a_failed_run_fails_and_names_it(
    runs: list[Planned], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def train(row: str, log: Path) -> None:
        assert row != "second"
        if row == "first":
            log.write_text("error: broken\n")
            raise RunFailedError

    failures, printed = made(runs, tmp_path, monkeypatch, train)
    told = f"the run that it begins from, {runs[0].directory.path}, failed"
    assert {f.run.row.label: f.reason for f in failures} == {"First": "error: broken", "Second": told}
    assert "[1/3] First, seed 1: FAILED: error: broken" in printed
    assert f"[2/3] Second, seed 1: FAILED: {told}" in printed


def test_a_run_that_another_process_took_first_is_tried_again(
    runs: list[Planned], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[str] = []

    def train(row: str, log: Path) -> None:
        tried.append(row)
        if tried == ["first"]:
            log.write_text(f"error: /x {LOCKED}; wait for it\n")
            raise RunFailedError

    assert made(runs, tmp_path, monkeypatch, train)[0] == []
    assert tried == ["first", "other", "first", "second"]


def test_a_run_that_another_process_finished_meanwhile_is_not_trained(
    runs: list[Planned], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def train(row: str, log: Path) -> None:
        assert row != "second"
        if row == "first":
            finish(runs[1])

    failures, printed = made(runs, tmp_path, monkeypatch, train)
    assert failures == []
    assert "Second, seed 1: made by another process" in printed


def test_an_interrupted_run_whose_config_is_damaged_is_told_with_its_file(
    runs: list[Planned], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin(runs[2], 1)
    runs[2].directory.config_file.write_text('{"a: [')
    (failure,), _ = made(runs, tmp_path, monkeypatch, lambda row, log: None)
    assert failure.reason.startswith(f"{runs[2].directory.config_file}: cannot be read (while scanning")
    assert failure.reason.endswith(f"; copy it again, or delete {runs[2].directory.path} and repeat the run")


def test_an_evaluation_that_fails_is_that_runs_failure_alone(
    runs: list[Planned], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as of a run whose weights are gone."""
    subsets = replace(TABLE, measures=(Measure("x", metric="mae", subset="text"),))
    asked = [*runs[:2], replace(runs[2], table=subsets)]
    (failure,), _ = made(asked, tmp_path, monkeypatch, lambda row, log: None)
    assert failure.run.row.label == "Other"
    assert failure.reason.startswith("evaluating it: ")
    assert "Traceback" in failure.log.read_text()


def test_a_run_that_ends_well_without_a_result_has_failed(
    runs: list[Planned], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Trainings, "train", lambda self, arguments, log: None)
    failures = complete(runs, jobs=1, logs=tmp_path / "logs", progress=Progress(runs, 1, Estimate()))
    assert [failure.reason for failure in failures[:1]] == [f"it ended without {runs[0].directory.result_file}"]


def test_an_error_of_ours_ends_the_table_and_not_a_run(
    runs: list[Planned], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk, say: no run is told to have failed by it, and none is left running."""
    stopped: list[bool] = []
    monkeypatch.setattr(Trainings, "stop", lambda self: stopped.append(True))

    def train(row: str, log: Path) -> None:
        raise OSError("no space left")

    with pytest.raises(OSError, match="no space left"):
        made(runs, tmp_path, monkeypatch, train)
    assert stopped == [True]


def test_what_begins_and_how_far_it_is_is_told(
    runs: list[Planned], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin(runs[2], 1)
    _, printed = made(runs, tmp_path, monkeypatch, lambda row, log: None)
    lines = re.sub(r"\d+ s\b", "0 s", printed).splitlines()
    assert lines[0].startswith("0 of 3 runs are done; time left: not known")
    assert lines[1] == "[0/3] First, seed 1: begins"
    assert lines[2] == "[1/3] First, seed 1: 0 s; time left: 7 min, guessed for 2 runs"
    assert "[2/3] Other, seed 1: goes on" in lines
    assert lines[-1] == "[3/3] Other, seed 1: 0 s"
