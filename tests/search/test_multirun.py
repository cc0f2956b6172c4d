"""Grids and searches by each launcher: several runs at once, and a failed one that ends nothing."""

import json
import shlex
import sys
from pathlib import Path

import pytest
from searching import SMALL, alone, status, study_of, trials

import driver
from trivium.search import devices
from trivium.search.jobs import command, in_words

GRID = ["trainer.max_epochs=1", "optimizer.lr=1e30,0.02"]


def grid(folder: Path, *arguments: str) -> tuple[int, str]:
    return driver.command(folder, "-m", *driver.in_folder(folder, *SMALL, *GRID, *arguments))


@pytest.mark.parametrize("launcher", ["basic", "joblib", "submitit_local"])
def test_a_failed_job_ends_nothing_and_is_told_at_the_end(launcher: str, tmp_path: Path) -> None:
    if launcher == "joblib":
        code, printed = alone(tmp_path, "hydra/launcher=joblib", "hydra.launcher.n_jobs=2", *GRID)
    else:
        code, printed = grid(tmp_path, f"hydra/launcher={launcher}")
    assert code == 1, printed
    (sweep,) = (tmp_path / "outputs" / "sweeps").iterdir()
    assert status(sweep / "0")["status"].startswith("failed: NonFiniteLossError")
    assert json.loads((sweep / "1" / "result.json").read_text())["val"]["loss"] > 0
    end = printed[printed.index("1 of 2 jobs failed") :].splitlines()
    assert end[1].startswith("job 0: loss not finite at epoch 1, step 2")
    python, script, *overrides = shlex.split(end[2])
    assert (python, Path(script).name) == ("python", "train.py")
    assert "optimizer.lr=1e+30" in overrides
    assert "trainer.threads=1" in overrides


def test_a_search_of_several_trials_at_once(tmp_path: Path) -> None:
    code, printed = alone(
        tmp_path,
        "sweep=supervised",
        "hydra/launcher=joblib",
        "hydra.launcher.n_jobs=2",
        "hydra.sweeper.n_trials=3",
        "hydra.sweeper.sampler=random",
        "trainer.max_epochs=1",
    )
    assert code == 0, printed
    study = study_of(tmp_path)
    assert [row["state"] for row in trials(study)] == ["complete"] * 3
    created = [status(study / str(n))["created"] for n in range(3)]
    ended = (study / "0" / "result.json").stat().st_mtime
    assert created[2] > max(created[:2])
    assert (study / "1" / "config.yaml").stat().st_mtime < ended  # the first two side by side
    values = [float(row["value"]) for row in trials(study)]
    assert values == [json.loads((study / str(n) / "result.json").read_text())["val"]["loss"] for n in range(3)]
    assert (study / "journal.log").read_text().count('"op_code":7') >= 3  # the epochs' values, from those processes


def test_each_process_takes_a_gpu_that_no_other_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "_held", [])
    assert [devices.choose(["0", "1"], tmp_path) for _ in range(2)] == ["0", "1"]
    assert devices.choose(["0", "1"], tmp_path) in ("0", "1")  # more processes than devices: shared
    devices._held.pop(0).close()  # its process has ended
    assert devices.choose(["0", "1"], tmp_path) == "0"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    monkeypatch.setattr(devices, "_held", [])
    monkeypatch.setattr(devices.tempfile, "gettempdir", lambda: str(tmp_path))
    devices.take_device()
    devices.take_device()
    assert devices.os.environ["CUDA_VISIBLE_DEVICES"] == "3"


def test_commands_can_be_pasted_into_a_shell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["train.py"])
    line = command(["data=mosi", "method.pairs=[[text,audio]]", "paths.data='/a b'"], ["--config-dir", "my folder"])
    assert shlex.split(line)[4:] == ["data=mosi", "method.pairs=[[text,audio]]", "paths.data='/a b'"]
    assert line.startswith("python train.py --config-dir 'my folder' data=mosi 'method.pairs=[[text,audio]]' ")
    assert in_words(ValueError("one\n  two")) == "one | two"
    assert in_words(KeyError()) == "KeyError: no message"
