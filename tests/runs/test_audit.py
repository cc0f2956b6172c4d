"""run.audit=true: the test metrics of every epoch, made when training is over, and not one number changed by it."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from driver import here
from trivium.config.check import problems_of
from trivium.config.compose import compose_config
from trivium.data.datamodule import DataModule
from trivium.runs.config_hash import config_hash
from trivium.runs.directory import RunDirectory

QUICK = ["encoder=identity", "trainer.progress=off", "optimizer.lr=0.02", "trainer.max_epochs=4", "seed=3"]


def trained(folder: Path, *words: str) -> RunDirectory:
    here(folder, *QUICK, *words, f"run.dir={folder / 'run'}")
    return RunDirectory(folder / "run")


def audit_of(run: RunDirectory) -> list[dict[str, str]]:
    with run.audit_file.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module", params=["supervised", pytest.param("comm", marks=pytest.mark.slow)])
def both(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[RunDirectory, RunDirectory]:
    """A run without and one with audit; comm's score is that of a probe."""
    words = [f"method={request.param}"]
    return (
        trained(tmp_path_factory.mktemp("without"), *words),
        trained(tmp_path_factory.mktemp("with"), *words, "run.audit=true"),
    )


def test_no_number_and_no_hash_is_changed(both: tuple[RunDirectory, RunDirectory]) -> None:
    without, audited = both
    for key in ("test", "val", "best_epoch", "selection", "config_hash", "epochs"):
        assert without.result()[key] == audited.result()[key], key
    assert without.weights.read_bytes() == audited.weights.read_bytes()
    predictions = [(run.path / "predictions.csv").read_bytes() for run in both]
    assert predictions[0] == predictions[1]


def test_the_tested_epoch_has_the_runs_own_test_metrics(both: tuple[RunDirectory, RunDirectory]) -> None:
    without, audited = both
    result, rows = audited.result(), audit_of(audited)
    assert [int(row["epoch"]) for row in rows] == list(range(1, result["epochs"] + 1))
    tested = rows[result["best_epoch"] - 1]
    assert {key: float(value) for key, value in tested.items() if key != "epoch"} == result["test"]
    assert len({row["mae"] for row in rows}) > 1
    assert not audited.epoch_weights(1).parent.exists()
    assert not without.audit_file.exists()


def test_the_test_split_is_opened_after_the_last_epoch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    epochs_behind: list[int] = []
    loader = DataModule.loader

    def noted(data: DataModule, split: str, *args: Any, **kwargs: Any) -> Any:
        if split == "test":
            with (tmp_path / "run" / "metrics.csv").open() as file:
                epochs_behind.append(len(list(csv.DictReader(file))))
        return loader(data, split, *args, **kwargs)

    monkeypatch.setattr(DataModule, "loader", noted)
    run = trained(tmp_path, "run.audit=true")
    assert epochs_behind == [run.result()["epochs"]] * 2


def test_a_kill_between_audit_and_result_is_mended(tmp_path: Path) -> None:
    run = trained(tmp_path, "run.audit=true")
    before, rows = run.result(), audit_of(run)
    run.result_file.unlink()
    here(tmp_path, *QUICK, "run.audit=true", f"run.dir={run.path}", "resume=auto")
    assert (run.result()["test"], audit_of(run)) == (before["test"], rows)


@pytest.mark.parametrize("finished", [True, False])
def test_a_run_that_kept_no_weights_is_not_audited_later(tmp_path: Path, finished: bool) -> None:
    run = trained(tmp_path)
    if not finished:
        run.result_file.unlink()
    with pytest.raises(ValueError, match="begun without it"):
        here(tmp_path, *QUICK, "run.audit=true", f"run.dir={run.path}", "resume=auto")


def test_an_extension_has_no_audit_of_fewer_epochs(tmp_path: Path) -> None:
    run = trained(tmp_path, "run.audit=true", "trainer.patience=0")
    longer = [*QUICK, "trainer.patience=0", "trainer.max_epochs=5", f"resume={run.path}"]
    longer.remove("trainer.max_epochs=4")
    with pytest.raises(ValueError, match="cannot be extended with run"):
        here(tmp_path, *longer, "run.audit=true")
    here(tmp_path, *longer)
    assert run.result()["epochs"] == 5
    assert not run.audit_file.exists()


def test_a_search_refuses_it() -> None:
    (told,) = problems_of(["-m", "sweep=selfmi", "run.audit=true"])
    assert "shows no test scores" in told


def test_a_config_of_before_has_the_hash_that_it_had() -> None:
    config = compose_config(["run.audit=true"])
    older = json.loads(json.dumps(config))
    del older["run"]["audit"]
    assert config_hash(config) == config_hash(older)
