"""Finished runs are found wherever they lie, if config, seed and store are the same."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from planned_cases import begin

from trivium.config.compose import compose_config
from trivium.config.store_path import find_store
from trivium.data.store import open_store
from trivium.data.synthetic import ensure_fixture
from trivium.runs.config_hash import config_hash
from trivium.runs.resume import open_run
from trivium.tables.definition import Row, Table
from trivium.tables.finished import FinishedRuns
from trivium.tables.measures import Measure
from trivium.tables.plan import Planned, merged, plan

OVERRIDES = ("data=fixture", "trainer.max_epochs=2")
TABLE = Table("own", "T", OVERRIDES, 1, (Row("A", ("method=tcmax",)),), (Measure("x", metric="mae"),), {"x": ("x",)})
PLACES = ["runs/a", "sweeps/2026/0", "sweeps/study/trials/3", "tables/other/runs/b"]


@pytest.fixture(autouse=True)
def _own_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRIVIUM_DATA", str(tmp_path / "data"))


def finish(path: Path, overrides: Sequence[str], checksum: str = "") -> None:
    path.mkdir(parents=True)
    (path / "config.yaml").write_text("{}")
    result = {"config_hash": config_hash(compose_config(list(overrides))), "store_checksum": checksum, "seconds": 1}
    (path / "result.json").write_text(json.dumps(result))


def planned(outputs: Path) -> Planned:
    (run,) = plan(TABLE, 1, outputs / "tables" / "own" / "runs", FinishedRuns(outputs))
    return run


@pytest.mark.parametrize("place", PLACES)
def test_a_run_is_found_by_config_and_seed_wherever_it_is(tmp_path: Path, place: str) -> None:
    finish(tmp_path / place, [*OVERRIDES, "method=tcmax", "seed=1", "paths.outputs=elsewhere", "trainer.devices=1"])
    run = planned(tmp_path)
    assert (run.status, run.directory.path) == ("done", tmp_path / place)


@pytest.mark.parametrize("other", ["seed=2", "trainer.max_epochs=3", "method=supervised"])
def test_a_run_of_another_seed_or_config_is_none(tmp_path: Path, other: str) -> None:
    finish(tmp_path / "runs" / "a", merged(OVERRIDES, ["method=tcmax", "seed=1", other]))
    assert planned(tmp_path).status == "to do"


def test_a_run_on_another_store_is_none(tmp_path: Path) -> None:
    """Else old numbers would stand in a table of data that were prepared anew."""
    store = find_store(compose_config(list(OVERRIDES)))
    ensure_fixture(store, name="fixture", label_range=(-3.0, 3.0))
    finish(tmp_path / "runs" / "a", [*OVERRIDES, "method=tcmax", "seed=1"], "another")
    assert planned(tmp_path).status == "to do"
    finish(
        tmp_path / "runs" / "b", [*OVERRIDES, "method=tcmax", "seed=1"], str(open_store(store).provenance["checksum"])
    )
    assert planned(tmp_path).directory.path == tmp_path / "runs" / "b"


def test_the_tables_own_run_comes_first_and_one_that_is_not_finished_is_none(tmp_path: Path) -> None:
    finish(tmp_path / "runs" / "a", [*OVERRIDES, "method=tcmax", "seed=1"])
    own = plan(TABLE, 1, tmp_path / "tables" / "own" / "runs")[0].directory.path
    shutil.copytree(tmp_path / "runs" / "a", own)
    assert planned(tmp_path).directory.path == own
    (own / "result.json").unlink()
    assert planned(tmp_path).directory.path == tmp_path / "runs" / "a"
    (tmp_path / "runs" / "a" / "result.json").unlink()
    assert (planned(tmp_path).directory.path, planned(tmp_path).status) == (own, "interrupted")


def test_an_own_run_on_another_store_makes_room_for_a_new_one(tmp_path: Path) -> None:
    """Finished or interrupted: else its numbers would stand beside those of data prepared anew, or it would fail."""
    own = plan(TABLE, 1, tmp_path / "tables" / "own" / "runs")[0].directory.path
    finish(own, [*OVERRIDES, "method=tcmax", "seed=1"], "another")
    assert planned(tmp_path).directory.path == own  # no store is there, so which one is meant cannot be told
    store = find_store(compose_config(list(OVERRIDES)))
    ensure_fixture(store, name="fixture", label_range=(-3.0, 3.0))
    other = planned(tmp_path)
    assert other.status == "to do"
    assert re.fullmatch(r"a_s1_[0-9a-f]{6}", other.directory.path.name)
    assert other.directory.path != own
    (own / "result.json").unlink()
    (own / "run.json").write_text('{"store_checksum": "another"}')
    assert planned(tmp_path).directory.path == other.directory.path
    (own / "run.json").write_text("{}")  # it had not opened its store yet
    assert planned(tmp_path).directory.path == own


def test_a_result_that_is_damaged_elsewhere_is_left_out_and_told(tmp_path: Path) -> None:
    for name, text in (("a", '{"con'), ("b", "[]")):
        finish(tmp_path / "runs" / name, [*OVERRIDES, "method=tcmax", "seed=1"])
        (tmp_path / "runs" / name / "result.json").write_text(text)
    finish(tmp_path / "runs" / "c", [*OVERRIDES, "method=tcmax", "seed=1"])
    found = FinishedRuns(tmp_path)
    assert [note.partition(": ")[0] for note in found.notes] == [
        str(tmp_path / "runs" / name / "result.json") for name in "ab"
    ]
    assert all(note.endswith("; left out") for note in found.notes)
    assert planned(tmp_path).directory.path == tmp_path / "runs" / "c"


def test_an_own_result_that_is_damaged_is_an_error_that_names_it(tmp_path: Path) -> None:
    own = plan(TABLE, 1, tmp_path / "tables" / "own" / "runs")[0].directory
    finish(own.path, [*OVERRIDES, "method=tcmax", "seed=1"])
    own.result_file.write_text("")
    with pytest.raises(ValueError, match=rf"^{own.result_file}: cannot be read .*delete {own.path} and repeat the run"):
        planned(tmp_path)


BEGUN = replace(TABLE, rows=(*TABLE.rows, Row("Tuned", ("optimizer.lr=0.5",), start="A")))


def begun(outputs: Path) -> list[Planned]:
    return plan(BEGUN, 1, outputs / "tables" / "own" / "runs", FinishedRuns(outputs))


@pytest.mark.parametrize("gone", [False, True])
def test_a_run_that_began_from_another_is_found_when_both_have_been_moved(tmp_path: Path, gone: bool) -> None:
    """Its config's hash has the other's path; what counts is which run that was."""
    first = plan(BEGUN, 1, tmp_path / "there" / "tables" / "own" / "runs")
    for run in first:
        made(run)
    assert [run.status for run in begun(tmp_path / "there")] == ["done", "done"]
    shutil.copytree(tmp_path / "there", tmp_path / "here")
    if gone:
        shutil.rmtree(tmp_path / "there")
    runs = begun(tmp_path / "here")
    assert [run.status for run in runs] == ["done", "done"]
    assert runs[1].directory.path == tmp_path / "here" / "tables" / "own" / "runs" / first[1].directory.path.name
    other = replace(BEGUN, rows=(Row("A", ("method=tcmax", "optimizer.lr=0.1")), BEGUN.rows[1]))
    tuned = plan(other, 1, tmp_path / "here" / "tables" / "own" / "runs", FinishedRuns(tmp_path / "here"))[1]
    assert tuned.status == "to do"  # it begins from another run


def test_a_run_that_began_from_another_goes_on_when_both_have_been_moved(tmp_path: Path) -> None:
    """Interrupted, it is resumed where it lies now: train.py takes it for the same run, and for no other's."""
    first, tuned = plan(BEGUN, 1, tmp_path / "there" / "tables" / "own" / "runs")
    made(first)
    begin(tuned, 1)
    (tmp_path / "there").rename(tmp_path / "here")
    again = begun(tmp_path / "here")[1]
    assert (again.status, again.directory.path.name) == ("interrupted", tuned.directory.path.name)
    assert again.directory.path.is_relative_to(tmp_path / "here")
    run = open_run(compose_config(again.arguments), again.arguments)
    assert run.config()["start_from"] == str(tmp_path / "here" / "tables" / "own" / "runs" / first.directory.path.name)
    run.release()
    other = [word.replace("/a_s1_", "/b_s1_") for word in again.arguments]
    with pytest.raises(ValueError, match=r"it differs in start_from \('a_s1_\w+' there, 'b_s1_\w+' now\)"):
        open_run(compose_config(other), other)


def test_a_run_that_a_setting_has_begin_from_another_is_found_too(tmp_path: Path) -> None:
    first = plan(TABLE, 1, tmp_path / "runs")[0]
    made(first)
    own = replace(TABLE, rows=(Row("Tuned", (f"start_from={first.directory.path}",)),))
    (before,) = plan(own, 1, tmp_path / "runs", FinishedRuns(tmp_path))
    made(before)
    (after,) = plan(own, 1, tmp_path / "tables" / "own" / "runs", FinishedRuns(tmp_path))
    assert (after.status, after.directory.path) == ("done", before.directory.path)


def test_a_run_whose_config_is_damaged_is_found_unless_it_began_from_another(tmp_path: Path) -> None:
    runs = plan(BEGUN, 1, tmp_path / "runs")
    for run in runs:
        made(run)
    assert [run.status for run in begun(tmp_path)] == ["done", "done"]
    runs[0].directory.config_file.write_text('{"a: [')
    runs[1].directory.config_file.write_text(runs[1].directory.config_file.read_text() + '\n"')
    assert [run.status for run in begun(tmp_path)] == ["done", "to do"]
    (note,) = FinishedRuns(tmp_path).notes
    assert note.startswith(f"{runs[1].directory.config_file}: cannot be read (")


def made(run: Planned) -> None:
    """With the config that was planned, and that one's hash in its result."""
    overrides = list(run.overrides)
    finish(run.directory.path, overrides)
    run.directory.config_file.write_text(yaml.safe_dump(compose_config(overrides), sort_keys=False))
