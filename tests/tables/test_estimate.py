"""How long what is left of a table takes, by the runs that tell the most."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from planned_cases import begin, finish

from trivium.tables.definition import Row, Table
from trivium.tables.estimate import Estimate, Left
from trivium.tables.finished import FinishedRuns, Took
from trivium.tables.measures import Measure
from trivium.tables.plan import Planned, plan

ROWS = (Row("Self-MI", ("method=selfmi",)), Row("Long", ("trainer.max_epochs=20",)))
TABLE = Table("own", "T", ("data=fixture", "trainer.max_epochs=2"), 2, ROWS, (Measure("x", metric="mae"),), {})


@pytest.fixture
def runs(tmp_path: Path) -> list[Planned]:
    """Self-MI and Long of seed 1, then of 2, then of 3."""
    return plan(TABLE, 3, tmp_path)


def test_nothing_is_known_before_a_run_has_ended(runs: list[Planned]) -> None:
    left = Estimate().left(runs, 1)
    assert left == Left(None)
    assert "not known before a run of this table, or one of its methods, has ended" in str(left)


def test_a_row_takes_what_its_own_runs_took_else_what_an_epoch_of_any_did(runs: list[Planned]) -> None:
    finish(runs[0], 10.0)
    # two more of Self-MI, and three of Long with ten times the epochs, with two jobs
    assert Estimate().left(runs, 2) == Left((2 * 10 + 3 * 100) / 2, guessed=3)
    finish(runs[1], 50.0)
    finish(runs[2], 20.0)
    assert Estimate().left(runs, 1) == Left(15 + 2 * 50, guessed=0)
    for run in runs:
        finish(run, 1.0)
    assert Estimate().left(runs, 1) == Left(0.0)


def test_runs_elsewhere_tell_of_their_method_first_of_those_on_the_same_data(runs: list[Planned]) -> None:
    took = [Took("selfmi", "fixture", 4.0), Took("selfmi", "mosi", 100.0), Took("gmc", "fixture", 1000.0)]
    assert Estimate(took).of(runs[0]) == (2 * 4.0, False)
    assert Estimate(took[1:]).of(runs[0]) == (2 * 100.0, False)
    assert Estimate(took[2:]).of(runs[0]) == (None, False)
    finish(runs[0], 3.0)
    known = Estimate(took)
    known.learn(runs)
    assert known.of(runs[2]) == (3.0, True)


def test_a_row_on_other_features_tells_before_other_rows_of_its_method(runs: list[Planned]) -> None:
    other = replace(runs[0], table=replace(TABLE, data="fixture/b"), directory=runs[4].directory)
    finish(replace(runs[0], table=replace(TABLE, data="fixture/a")), 7.0)
    known = Estimate([Took("selfmi", "fixture", 4.0)])
    known.learn([replace(runs[0], table=replace(TABLE, data="fixture/a"))])
    assert known.of(other) == (7.0, False)


def test_what_a_run_has_done_already_is_taken_off(runs: list[Planned]) -> None:
    finish(runs[0], 10.0)
    begin(runs[2], 2)  # 6 s
    assert Estimate().left(runs[:1] + runs[2:3], 1) == Left(4.0)
    assert Estimate().left(runs[:1] + runs[2:3], 1, {runs[2].directory.path: 9.0}) == Left(1.0)
    assert Estimate().left(runs[:1] + runs[2:3], 1, {runs[2].directory.path: 90.0}) == Left(0.0)


def test_runs_without_data_take_no_time(runs: list[Planned]) -> None:
    assert Estimate().left([replace(run, lacking="prepare it") for run in runs], 1) == Left(0.0)


def test_finished_runs_of_a_folder_are_read_with_their_epochs(tmp_path: Path) -> None:
    run = plan(TABLE, 1, tmp_path / "outputs" / "runs")[0]
    finish(run, 10.0)
    assert FinishedRuns(tmp_path / "outputs").epoch_times == [Took("selfmi", "fixture", 5.0)]
