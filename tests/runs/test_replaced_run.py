"""A run's folder that is removed or replaced while something works on it or reads it: said, and nothing mixed."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from driver import here
from trivium.methods.base import Method
from trivium.results.folders import gather
from trivium.results.run_list import run_list
from trivium.runs import load
from trivium.runs.directory import RunDirectory
from trivium.tables.finished import FinishedRuns

QUICK = ["encoder=identity", "trainer.progress=off", "trainer.threads=1", "data.batch_size=96"]
OLD = Path(__file__).parent / "version_0_1_0"


def content(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


@pytest.mark.parametrize("what", ["removed", "replaced"])
@pytest.mark.parametrize("step", [2, 6])  # in the first epoch of 4 steps, and in the second
def test_a_run_whose_folder_is_another_one_stops_and_writes_nothing_there(
    what: str, step: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, steps, training_step = tmp_path / "run", iter(range(100)), Method.training_step

    def replace_then_train(*arguments: Any) -> Any:
        if next(steps) == step:
            os.rename(run, tmp_path / "moved")
            if what == "replaced":
                shutil.copytree(OLD / "runs" / "selfmi_unfinished", run)
        return training_step(*arguments)

    monkeypatch.setattr(Method, "training_step", replace_then_train)
    settings = [*QUICK, "trainer.max_epochs=2", "run.checkpoint_every=1", f"run.dir={run}"]
    with pytest.raises(ValueError, match=rf"^{run}: the run's folder was removed or replaced while it trained; "):
        here(tmp_path, *settings)
    if what == "removed":
        assert not run.exists()
    else:
        assert content(run) == content(OLD / "runs" / "selfmi_unfinished")
        shutil.rmtree(run)
    # What it was is whole, and goes on from its last checkpoint.
    monkeypatch.undo()
    os.rename(tmp_path / "moved", run)
    result = here(tmp_path, *settings, "resume=auto")
    assert result["resumed_at"] == [step]


def test_a_run_that_is_exchanged_while_it_is_loaded_is_no_mixture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, build = tmp_path / "run", load.build_method
    shutil.copytree(OLD / "runs" / "supervised", run)

    def exchange_then_build(*arguments: Any) -> Any:
        shutil.copy(OLD / "runs" / "selfmi" / "result.json", run)
        return build(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(load, "build_method", exchange_then_build)
        with pytest.raises(ValueError, match=rf"^{run}: result.json changed while the run was read; read it again"):
            load.load_run(run)
    assert load.load_run(run).result["method"] == "selfmi"


@contextmanager
def coming_and_going(runs: Path) -> Iterator[None]:
    """Lets two of three runs vanish and come back all the time."""
    over = threading.Event()

    def move() -> None:
        while not over.is_set():
            for name in ("a", "c"):
                os.rename(runs / name, runs.parent / name)
                os.rename(runs.parent / name, runs / name)

    thread = threading.Thread(target=move)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def test_runs_that_come_and_go_cost_no_list_report_or_table_its_others(tmp_path: Path) -> None:
    runs = tmp_path / "outputs" / "tables" / "t" / "runs"
    for name in ("a", "b", "c"):
        shutil.copytree(OLD / "runs" / "supervised", runs / name)
    with coming_and_going(runs):
        for _ in range(40):
            assert "tables/t/runs/b" in set(run_list(tmp_path / "outputs")["name"])
            assert runs / "b" in {record.path for record in gather([runs]).records}
            FinishedRuns(tmp_path / "outputs")


def test_a_folder_that_vanishes_is_no_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(OLD / "runs" / "supervised", tmp_path / "a")
    record = RunDirectory.record

    def vanish(run: RunDirectory) -> Any:
        shutil.rmtree(run.path)
        return record(run)

    monkeypatch.setattr(RunDirectory, "record", vanish)
    assert run_list(tmp_path).empty
