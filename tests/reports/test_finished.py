"""Finished runs are found wherever they lie, if config, seed and store are the same."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from trivium.config.compose import compose_config
from trivium.data.locate import find_store
from trivium.data.store import open_store
from trivium.data.synthetic import ensure_fixture
from trivium.reports.definition import Measure, Row, Table
from trivium.reports.finished import FinishedRuns
from trivium.reports.plan import Planned, merged, plan
from trivium.runs.directory import config_hash

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
