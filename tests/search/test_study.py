"""Who works on which trial, and what becomes of it: with run directories made up, without a training."""

import fcntl
import json
import os
import signal
import time
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

from trivium.config.monitor import read_monitor
from trivium.config.space import Dimension
from trivium.search import storage as storage_module
from trivium.search import study as study_module
from trivium.search.journal import JournalLock
from trivium.search.naming import shared_settings, study_name
from trivium.search.storage import Database, without_password
from trivium.search.study import OpenStudy, open_study
from trivium.search.study_settings import StudySettings
from trivium.search.summary import print_summary, write_summary

SPACE = {"optimizer.lr": Dimension("optimizer.lr", low=1e-4, high=1e-2, log=True)}
SETTINGS: dict[str, Any] = {
    "sampler": "random",
    "n_trials": 3,
    "objective": "val/loss",
    "pruner": "none",
    "startup": 0,
    "warmup": 0,
    "seed": 1,
    "storage": "",
    "hosts": (),
    "lower_is_better": True,
    "max_epochs": 2,
}


def opened(folder: Path, shared: dict[str, Any] | None = None, **changed: Any) -> OpenStudy:
    return open_study(folder / "mine", StudySettings(**{**SETTINGS, **changed}), SPACE, shared or {"seed": 1.0})


def finish(search: OpenStudy, number: int, **metrics: Any) -> None:
    """A run directory as a finished run leaves it."""
    path = search.run(number).path
    path.mkdir(parents=True, exist_ok=True)
    (path / "run.json").write_text(json.dumps({"status": "finished"}))
    (path / "result.json").write_text(json.dumps({"val": metrics, "seconds": 1.0}))


def states(search: OpenStudy) -> list[str]:
    return [trial.state.name for trial in search.trials()]


def test_a_trial_that_somebody_works_on_is_not_run_twice(tmp_path: Path) -> None:
    first, second = opened(tmp_path), opened(tmp_path)
    (work,) = first.next(1)
    assert [one.number for one in second.next(5)] == [1, 2]  # n_trials counts all of them
    assert second.next(1) == []
    finish(first, 0, loss=0.5)
    assert first.worked_on(0)
    assert second.worked_on(0)
    assert first.settle(work, None).text == "val/loss 0.5"
    assert not second.worked_on(0)
    assert states(second) == ["COMPLETE", "RUNNING", "RUNNING"]
    assert first.next(1) == []
    assert opened(tmp_path, n_trials=1).next(1) == []
    assert [one.number for one in opened(tmp_path, n_trials=4).next(2)] == [3]


def test_a_trial_whose_process_is_gone_is_taken_up_with_its_parameters(tmp_path: Path) -> None:
    gone = opened(tmp_path)
    (before,) = gone.next(1)
    gone._locks.pop(0).close()  # as the system does for a process that was killed
    (after,) = opened(tmp_path).next(1)
    assert (after.number, after.overrides) == (0, before.overrides)


@pytest.mark.parametrize("ended", [0, 1])
def test_trials_that_were_asked_for_together_are_known_together_also_after_a_kill(tmp_path: Path, ended: int) -> None:
    tpe = {"sampler": "tpe", "n_trials": 40}
    drawn = []
    for name in ("whole", "killed"):
        search = opened(tmp_path / name, **tpe)
        for pair in range(20):
            trials = search.next(2)
            assert [trial.number for trial in trials] == [2 * pair, 2 * pair + 1]
            if name == "killed":  # one of the two has ended
                finish(search, trials[ended].number, loss=0.1 * trials[ended].number)
                for trial in trials:
                    search._locks.pop(trial.number).close()
                search = opened(tmp_path / name, **tpe)
                trials = search.next(2)
                assert [trial.number for trial in trials] == [2 * pair + 1 - ended]
                assert states(search)[2 * pair :] == ["RUNNING"] * 2
            for trial in trials:
                finish(search, trial.number, loss=0.1 * trial.number)
                search.settle(trial, None)
        assert search.next(2) == []
        assert states(search) == ["COMPLETE"] * 40
        drawn.append([trial.params for trial in search.trials()])
    assert drawn[0] == drawn[1]


def test_a_kill_right_after_a_trial_is_asked_for_leaves_none_that_belongs_to_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class KilledError(Exception):
        pass

    def killed(*_: object) -> None:
        raise KilledError

    for place in ("_lock", "_claim"):
        gone = opened(tmp_path)
        monkeypatch.setattr(gone, place, killed)
        with pytest.raises(KilledError):
            gone.next(1)
        for file in gone._locks.values():
            file.close()
    (work,) = opened(tmp_path).next(1)
    assert work.number == 0
    assert work.overrides == opened(tmp_path / "other").next(1)[0].overrides  # drawn as if nothing had happened


def test_a_run_that_outlives_its_search_is_left_alone(tmp_path: Path) -> None:
    """As a job of SLURM does: the search is gone, and the run's own lock is held."""
    gone = opened(tmp_path)
    (work,) = gone.next(1)
    run = gone.run(0)
    assert run.try_lock()
    gone._locks.pop(0).close()
    later, told = opened(tmp_path), []
    assert [one.number for one in later.next(3)] == [1, 2]
    run.release()
    finish(later, 0, loss=0.25)
    last = opened(tmp_path)
    last.on_end = lambda name, outcome: told.append((name, outcome.value))
    assert last.next(1) == []  # it has only to be told
    assert told == [("trial 0", 0.25)]
    assert states(later)[0] == "COMPLETE"
    assert later.trials()[0].value == 0.25
    assert work.number == 0


def test_a_job_refused_because_the_run_is_in_use_leaves_its_trial_running(tmp_path: Path) -> None:
    search = opened(tmp_path)
    (work,) = search.next(1)
    other = search.run(0)
    assert other.try_lock()
    assert "in use by another process" in search.settle(work, "ValueError: in use").text
    assert states(search) == ["RUNNING"]
    other.release()


def test_another_machine_s_trial_is_never_taken_unless_it_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(study_module.socket, "gethostname", lambda: "there")
    there = opened(tmp_path)
    there.next(1)
    there._locks.pop(0).close()
    monkeypatch.setattr(study_module.socket, "gethostname", lambda: "here")
    here = opened(tmp_path)
    assert [one.number for one in here.next(5)] == [1, 2]
    assert [one.number for one in opened(tmp_path, hosts=("there",)).next(5)] == [0]


def test_how_a_run_ended_is_read_from_its_directory(tmp_path: Path) -> None:
    search = opened(tmp_path, n_trials=4)
    works = search.next(4)
    finish(search, 0, loss=0.5)
    finish(search, 1, loss=None)  # NaN is null in JSON
    search.run(2).path.mkdir()
    (search.run(2).path / "run.json").write_text(json.dumps({"status": "pruned: after epoch 1"}))
    told = [search.settle(work, error) for work, error in zip(works, [None, None, None, "out of memory"], strict=True)]
    assert states(search) == ["COMPLETE", "FAIL", "PRUNED", "FAIL"]
    assert "val/loss is None" in told[1].text
    assert told[3].text == "out of memory"
    assert search.trials()[3].user_attrs["error"] == "out of memory"


def test_a_study_of_other_settings_is_refused_with_what_differs(tmp_path: Path) -> None:
    opened(tmp_path).next(1)
    with pytest.raises(ValueError, match=r"other settings: data.name \(None there, 'mosi' now\)"):
        opened(tmp_path, shared={"seed": 1.0, "data.name": "mosi"})
    with pytest.raises(ValueError, match=r"sampler \('random' there, 'tpe' now\)"):
        opened(tmp_path, sampler="tpe")
    assert opened(tmp_path, n_trials=9, pruner="median").settings.n_trials == 9
    narrow = {"optimizer.lr": Dimension("optimizer.lr", low=1e-4, high=1e-3, log=True)}
    told = r"hydra.sweeper.params.optimizer.lr \({'low': 0.0001, 'high': 0.01, .*now\)"
    with pytest.raises(ValueError, match=told):
        open_study(tmp_path / "mine", StudySettings(**SETTINGS), narrow, {"seed": 1.0})


def test_a_grid_that_is_counted_through_otherwise_is_another_study(tmp_path: Path) -> None:
    def grid(*names: str, points: int = 2) -> OpenStudy:
        space = {name: Dimension(name, low=1, high=9, points=points) for name in names}
        return open_study(tmp_path / "grid", StudySettings(**{**SETTINGS, "sampler": "grid"}), space, {})

    grid("a", "b")
    with pytest.raises(ValueError, match=r"hydra.sweeper.params.a.points \(2 there, 3 now\)"):
        grid("a", "b", points=3)
    with pytest.raises(ValueError, match=r"order of the grid \(\['a', 'b'\] there, \['b', 'a'\] now\)"):
        grid("b", "a")
    assert grid("a", "b").planned == 3  # n_trials; the grid has 4 points


def test_processes_that_open_a_new_database_at_once_share_one_study(tmp_path: Path) -> None:
    context = get_context("fork")
    together = context.Barrier(4)
    processes = [context.Process(target=_open_and_ask, args=(tmp_path, together)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 4
    assert states(opened(tmp_path, storage=f"sqlite:///{tmp_path}/s.db", n_trials=4)) == ["RUNNING"] * 4


def _open_and_ask(folder: Path, together: Any) -> None:
    together.wait(timeout=60)
    search = opened(folder, storage=f"sqlite:///{folder}/s.db", n_trials=4)
    assert len(search.next(1)) == 1
    together.wait(timeout=60)  # its trial is its own for as long as it lives


def test_a_database_that_has_answered_before_is_waited_for_and_that_of_a_new_study_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, attempts = f"sqlite:///{tmp_path}/s.db", 0

    class Away(Database):
        def __init__(self, url: str) -> None:
            nonlocal attempts
            attempts += 1
            if attempts < 4:
                raise OperationalError(None, None, ConnectionRefusedError("Connection refused"))  # type: ignore[arg-type]
            super().__init__(url)

    monkeypatch.setattr(storage_module, "Database", Away)
    monkeypatch.setattr(storage_module, "PAUSE", 0.0)
    with pytest.raises(ValueError, match=r"cannot be opened: .*Connection refused"):
        opened(tmp_path, storage=url)
    assert attempts == 1
    attempts = 3
    opened(tmp_path, storage=url)
    attempts = 0
    assert opened(tmp_path, storage=url).trials() == []
    assert attempts == 4


def test_the_end_of_a_search_says_who_works_on_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    busy, gone = opened(tmp_path), opened(tmp_path)
    busy.next(1)
    gone.next(1)
    gone._locks.pop(1).close()
    monkeypatch.setattr(study_module.socket, "gethostname", lambda: "here")
    search = opened(tmp_path)
    (work,) = search.next(1)
    finish(search, work.number, loss=0.5)
    search.settle(work, None)
    write_summary(search, " ".join)
    print_summary(search, " ".join)
    told = capsys.readouterr().out
    host = search.trials()[0].user_attrs["host"]
    assert "3 trials (2 running or interrupted, 1 complete)" in told
    assert f"trial 0 is being run by another process ({host})" in told
    assert f"trial 1 belongs to {host}; start this search there to go on with it" in told
    assert f"or add hydra.sweeper.hosts=[{host}]" in told
    assert told.splitlines()[-1] == work.overrides[0]


def test_of_trials_that_are_equally_good_the_first_is_the_best(tmp_path: Path) -> None:
    search = opened(tmp_path, lower_is_better=False, objective="val/corr")
    for work, value in zip(search.next(3), (0.25, 0.5, 0.5), strict=True):
        finish(search, work.number, corr=value)
        search.settle(work, None)
    write_summary(search, " ".join)
    found = json.loads((search.folder / "best.json").read_text())
    assert (found["number"], found["value"]) == (1, 0.5)
    assert found["command"].startswith("optimizer.lr=0.00")


def test_the_name_is_the_settings_and_not_what_is_searched() -> None:
    config: dict[str, Any] = {
        "seed": 1,
        "run": {"dir": "a"},
        "trainer": {"devices": 1, "max_epochs": 2},
        "optimizer": {"lr": 0.1, "betas": [0.9]},
        "fusion": {"out": 3},
        "encoders": {"text": {"out": 1}},
    }
    shared = shared_settings(config, ["optimizer.lr", "fusion", "encoder@encoders.text"])
    assert shared == {"seed": 1.0, "trainer.max_epochs": 2.0, "optimizer.betas": [0.9]}
    other = shared_settings(
        {**config, "optimizer": {"lr": 0.5, "betas": [0.9]}, "run": {"dir": "b"}},
        ["optimizer.lr", "fusion", "encoder@encoders.text"],
    )
    assert study_name(["a", "a", "b/c"], shared) == study_name(["a", "b/c"], other)
    assert study_name(["a"], shared).startswith("a_")
    assert study_name(["a"], shared) != study_name(["a"], {**shared, "seed": 2.0})


def test_objectives() -> None:
    config = {"data": {"metrics": "mosi"}}
    names = ("val/loss", "val/mae", "val/corr", "val/acc7")
    assert [read_monitor(name, config).lower_is_better for name in names] == [True, True, False, False]
    for wrong in ("test/mae", "val/acc3", "loss", "val/"):
        with pytest.raises(ValueError, match=r"hydra\.sweeper\.objective: .* is no metric of the validation split"):
            read_monitor(wrong, config, "hydra.sweeper.objective")


def test_a_line_that_was_torn_by_a_kill_does_not_break_the_journal(tmp_path: Path) -> None:
    search = opened(tmp_path)
    search.next(1)
    with (search.folder / "journal.log").open("ab") as file:
        file.write(b'{"op_code":4,"worker')
    again = opened(tmp_path)
    assert [one.number for one in again.next(2)] == [1, 2]
    assert states(opened(tmp_path)) == ["RUNNING"] * 3


def test_a_killed_writer_leaves_no_lock(tmp_path: Path) -> None:
    journal = tmp_path / "journal.log"
    process = get_context("fork").Process(target=_hold, args=(journal,))
    process.start()
    while not (tmp_path / "held").exists():
        time.sleep(0.01)
    with (tmp_path / ".journal.log.lock").open("ab") as file, pytest.raises(BlockingIOError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    begun = time.monotonic()
    lock = JournalLock(journal)
    assert lock.acquire()
    assert time.monotonic() - begun < 5
    lock.release()


def _hold(journal: Path) -> None:
    lock = JournalLock(journal)
    lock.acquire()
    (journal.parent / "held").touch()
    time.sleep(60)


def test_storages_that_cannot_be_opened_are_told_without_their_password(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"hydra.sweeper.storage: nonsense://me:\*\*\*@host/db cannot be opened"):
        opened(tmp_path, storage="nonsense://me:secret@host/db")
    assert not (tmp_path / "mine").exists()
    assert without_password("sqlite:///a.db") == "sqlite:///a.db"
    search = opened(tmp_path)
    assert (search.folder / "study.yaml").stat().st_mode & 0o077 == 0
    assert search.trials() == []
