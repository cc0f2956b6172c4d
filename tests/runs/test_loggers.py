"""wandb and TensorBoard get the same of a finished run: its metrics, settings, facts and figures; once, or told."""

import csv
import io
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from matplotlib.image import imread

from driver import command, here, in_folder, run, spawn
from logged import QUIET, READERS, Logged
from trivium.loggers.final_metrics import final_metrics

QUICK = ["encoder=identity", "trainer.max_epochs=2", "optimizer.lr=0.01", "trainer.progress=off"]
SELFMI = [*QUICK, "method=selfmi", "seed=3"]


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Logger -> the directory of one and the same run with it."""
    runs = {}
    for name in READERS:
        folder = tmp_path_factory.mktemp(name)
        runs[name] = folder / "run"
        code, printed = command(folder, *in_folder(folder, *SELFMI, f"logger={name}", f"run.dir={runs[name]}"), **QUIET)
        assert code == 0, printed
    return runs


@pytest.fixture(params=list(READERS))
def sent(request: pytest.FixtureRequest, both: dict[str, Path]) -> tuple[Path, Logged]:
    return both[request.param], READERS[request.param](both[request.param])


def result_of(folder: Path) -> dict[str, Any]:
    result: dict[str, Any] = json.loads((folder / "result.json").read_text())
    return result


def test_final_metrics_are_those_of_the_result(sent: tuple[Path, Logged]) -> None:
    folder, logged = sent
    result = result_of(folder)
    expected = {f"test/{name}": value for name, value in result["test"].items()}
    expected |= {f"selected/val/{name}": value for name, value in result["val"].items()}
    expected |= {f"train_mean_mae/{split}": result["train_mean_mae"][split] for split in ("val", "test")}
    assert len(expected) == 20
    assert {name: logged.scalars[name] for name in expected} == {n: [pytest.approx(v)] for n, v in expected.items()}


def test_curves_are_the_columns_of_the_epochs_file(sent: tuple[Path, Logged]) -> None:
    folder, logged = sent
    with (folder / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    columns = {name: [float(row[name]) for row in rows] for name in rows[0] if name != "step"}
    assert columns["epoch"] == [1, 2]
    assert {name: logged.scalars[name] for name in columns} == {n: pytest.approx(v) for n, v in columns.items()}


def test_both_have_the_same_names(both: dict[str, Path]) -> None:
    wandb, tensorboard = (READERS[name](folder) for name, folder in both.items())
    assert wandb.scalars.keys() == tensorboard.scalars.keys()
    assert wandb.images.keys() == tensorboard.images.keys()
    assert wandb.facts.keys() == tensorboard.facts.keys()


def test_settings_are_the_resolved_config(sent: tuple[Path, Logged]) -> None:
    folder, logged = sent
    assert logged.config == yaml.safe_load((folder / "config.yaml").read_text())
    assert logged.config["method"]["name"] == "selfmi"


def test_facts_say_what_the_run_is(sent: tuple[Path, Logged]) -> None:
    folder, logged = sent
    result = result_of(folder)
    for name in ("seed", "config_hash", "git_commit", "feature_set", "parameters", "trained_parameters", "best_epoch"):
        assert logged.facts[name] == str(result[name])
    assert logged.facts["run"] == str(folder)


def test_figures_are_images_with_something_on_them(sent: tuple[Path, Logged]) -> None:
    _, logged = sent
    names = ("curves", "terms", "labels", "predictions", "confusion")
    assert set(logged.images) == {f"figures/{name}" for name in names}
    seen = set()
    for (png,) in logged.images.values():
        assert png.startswith(b"\x89PNG\r\n\x1a\n")
        shades = imread(io.BytesIO(png))[..., :3]
        assert shades.shape[1] == 680  # pixels of a column's width
        assert 0.02 < float((shades.min(axis=2) < 0.9).mean()) < 0.7  # ink, and paper
        seen.add(png)
    assert len(seen) == len(names)


def test_wandb_says_method_and_data_beside_the_run_s_name(both: dict[str, Path]) -> None:
    shown = READERS["wandb"](both["wandb"]).shown
    assert shown == {"name": "run", "group": "", "job_type": "selfmi", "tags": ["selfmi", "fixture"], "exit": 0}


@pytest.mark.parametrize("name", list(READERS))
def test_a_finished_run_is_not_sent_again(name: str, both: dict[str, Path]) -> None:
    folder = both[name].parent
    before = READERS[name](both[name])
    code, printed = command(folder, *in_folder(folder, *SELFMI, f"logger={name}", f"resume={both[name]}"), **QUIET)
    assert code == 0, printed
    assert "is finished; this is its result" in printed
    assert READERS[name](both[name]) == before


def test_killed_between_its_last_epoch_and_its_result_it_is_sent_once(tmp_path: Path) -> None:
    settings = [*QUICK, "logger=tensorboard", f"run.dir={tmp_path / 'run'}"]
    assert run(tmp_path, *settings, "logger.title=first", kill=("finish", 0)) == -9
    assert "test/mae" not in READERS["tensorboard"](tmp_path / "run").scalars
    assert run(tmp_path, *settings, "resume=auto") == 0
    logged = READERS["tensorboard"](tmp_path / "run")
    assert logged.shown == {"folder": "tb/first"}  # it goes on where it began
    assert {len(values) for name, values in logged.scalars.items() if name.startswith(("test/", "selected/"))} == {1}
    assert [len(pngs) for pngs in logged.images.values()] == [1, 1, 1]
    assert len(logged.scalars["val/loss"]) == 2


@pytest.mark.slow
def test_of_two_processes_the_first_alone_logs(tmp_path: Path) -> None:
    two = ["trainer=ddp", "trainer.devices=2", "trainer.accelerator=cpu"]
    here(tmp_path, *QUICK, "logger=tensorboard", *two, f"run.dir={tmp_path / 'run'}")
    logged = READERS["tensorboard"](tmp_path / "run")
    assert {len(values) for name, values in logged.scalars.items() if name.startswith("test/")} == {1}
    assert logged.scalars["epoch"] == [1, 2]
    assert [len(pngs) for pngs in logged.images.values()] == [1, 1, 1]


def _train_and_look(folder: Path, *settings: str) -> None:
    """Lightning has imported matplotlib by then, through torchmetrics; but nothing that draws."""
    here(folder, *QUICK, *settings)
    allowed = {"tensorboard"} if settings else set()
    assert not {name.partition(".")[0] for name in sys.modules} & {"wandb", "tensorboard"} - allowed
    assert not sys.modules.keys() & {"trivium.loggers.figures", "trivium.report.figure_style"}


def test_neither_is_imported_unasked(tmp_path: Path) -> None:
    assert spawn(_train_and_look, tmp_path) == 0


def test_without_figures_nothing_is_drawn(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    assert spawn(_train_and_look, tmp_path, "logger=tensorboard", "logger.figures=false", f"run.dir={folder}") == 0
    logged = READERS["tensorboard"](folder)
    assert logged.images == {}
    assert "test/mae" in logged.scalars


def test_metrics_of_a_probe_have_their_path_and_undefined_ones_are_left_out() -> None:
    result = {
        "val": {"loss": 1.0, "corr": None},
        "probe": {"kind": "ridge", "alpha": 10, "sign": {"c": 0.5, "test": {"balanced_accuracy": 0.75}}},
        "seed": 1,
    }
    probe = {"probe/alpha": 10.0, "probe/sign/c": 0.5, "probe/sign/test/balanced_accuracy": 0.75}
    assert final_metrics(result) == {"selected/val/loss": 1.0, **probe}
    assert all(isinstance(value, float) for value in final_metrics(result).values())
    assert np.isfinite(list(final_metrics(result).values())).all()
