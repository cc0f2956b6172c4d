"""Which run may begin: after the one that it begins from, and not while another process has it."""

from __future__ import annotations

import fcntl
import time
from pathlib import Path
from threading import Thread

import pytest
from planned_cases import begin

import trivium.tables.agenda as module
from trivium.config.compose import compose_config
from trivium.runs.resume import open_run
from trivium.tables.agenda import Agenda
from trivium.tables.definition import Measure, Row, Table
from trivium.tables.plan import Planned, plan
from trivium.tables.work import LOCKED

ROWS = (Row("First", ("method=comm",)), Row("Second", ("method=supcon",), start="First"), Row("Other", ()))
TABLE = Table("own", "T", ("data=fixture",), 1, ROWS, (Measure("x", metric="mae"),), {})


@pytest.fixture
def runs(tmp_path: Path) -> list[Planned]:
    return plan(TABLE, 1, tmp_path)


def test_a_run_waits_for_the_one_that_it_begins_from_and_holds_nobody_up(runs: list[Planned]) -> None:
    agenda = Agenda(runs)
    assert [agenda.take(), agenda.take()] == [runs[0], runs[2]]
    taken: list[Planned | None] = []
    thread = Thread(target=lambda: taken.append(agenda.take()))
    thread.start()
    thread.join(0.1)
    assert taken == []
    agenda.ended(runs[0], failed=True)
    thread.join(10)
    assert taken == [runs[1]]
    assert agenda.begins_from_failed(runs[1])
    assert not agenda.begins_from_failed(runs[2])
    assert agenda.take() is None


def test_a_run_of_another_process_is_left_to_it_and_taken_when_that_has_ended(
    runs: list[Planned], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_LOOK", 0.05)
    begin(runs[0], 1)
    assert runs[0].status == "interrupted"
    agenda = Agenda(runs)
    with (runs[0].directory.path / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert runs[0].status == "running"
        assert agenda.take() == runs[2]
        assert agenda.elsewhere == [runs[0]]
        Thread(target=lambda: (time.sleep(0.2), lock.close())).start()
        assert agenda.take() == runs[0]
    assert agenda.elsewhere == []


def test_closed_it_gives_nothing_more(runs: list[Planned]) -> None:
    agenda = Agenda(runs)
    assert agenda.take() == runs[0]
    agenda.put_back(runs[0])
    assert [agenda.take(), agenda.take()] == [runs[2], runs[0]]
    agenda.close()
    assert agenda.take() is None


def test_a_look_at_the_lock_leaves_no_lock(runs: list[Planned], tmp_path: Path) -> None:
    begin(runs[2], 1, whole=True)
    assert not runs[2].directory.in_use
    assert runs[2].directory.try_lock()
    assert runs[2].directory.in_use
    runs[2].directory.release()
    assert not runs[2].directory.in_use


def test_what_train_says_of_a_locked_run_is_what_is_looked_for(runs: list[Planned]) -> None:
    begin(runs[2], 1, whole=True)
    config = compose_config(runs[2].arguments)
    with (runs[2].directory.path / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(ValueError, match=LOCKED):
            open_run(config, runs[2].arguments)
