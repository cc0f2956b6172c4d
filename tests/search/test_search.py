"""Searches from the command line: killed and gone on with, their best command, pruned and failed trials."""

import json
import shlex
from pathlib import Path

import optuna
import pytest
from optuna.trial import FrozenTrial
from searching import search, status, study_of, trials

import driver
from trivium.runs.directory import RunDirectory
from trivium.search.storage import open_storage

# A group, a group of one modality, lists, null, text that YAML would take for something else, an interval.
SPACE = """# @package _global_
defaults:
  - override /method: supervised
hydra:
  sweeper:
    params:
      fusion: [sum, concat]
      encoder@encoders.text: [gru, lstm]
      optimizer.betas: [[0.9, 0.999], [0.8, 0.95]]
      optimizer.groups.text.lr: [0.01, null]
      trainer.precision: ['32-true', '64-true']
      optimizer.lr: {low: 1.0e-3, high: 1.0e-2, log: true}
"""
ONE_BY_ONE = [
    "sweep=supervised",
    "hydra.sweeper.sampler=grid",
    "optimizer.weight_decay=0",
    "fusion=concat",
    "encoder=identity",
    "encoder.out=16",
    "encoder.pool=mean",
    "fusion.dropout=0",
    "hydra.sweeper.startup=1",
    "hydra.sweeper.warmup=0",
]


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The options of a search over SPACE."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "sweep").mkdir()
    (folder / "sweep" / "mine.yaml").write_text(SPACE)
    return ["--config-dir", str(folder), "sweep=mine"]


@pytest.fixture(scope="module")
def whole(own: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A search of four trials that nothing disturbs."""
    folder = tmp_path_factory.mktemp("whole")
    code, printed = search(folder, *own, "hydra.sweeper.n_trials=4")
    assert code == 0, printed
    return folder


def test_killed_and_interrupted_it_goes_on_and_ends_as_if_undisturbed(
    own: list[str], whole: Path, tmp_path: Path
) -> None:
    lines = [*own, "hydra.sweeper.n_trials=4", f"paths.data={whole / 'data'}"]
    # In the second trial's second epoch, of 4 steps a trial.
    assert search(tmp_path, *lines, kill=("step", 6))[0] == -9
    study = study_of(tmp_path)
    assert [row["state"] for row in trials(study)] == ["complete"]
    finished = (study / "0" / "result.json").stat().st_mtime_ns
    # Between the second trial's end and its study's news of it; 2 of its steps were left.
    assert search(tmp_path, *lines, kill=("finish", 0))[0] == -9
    assert status(study / "1")["resumed_at"] == [2]
    code, printed = search(tmp_path, *lines, interrupt=1)  # in the third
    assert code == 130, printed
    options = " ".join(own[:2])
    assert printed.splitlines()[-1].startswith(f"interrupted; go on with: trivium train {options} -m ")
    assert status(study / "2")["status"] == "interrupted"
    code, printed = search(tmp_path, *lines)
    assert code == 0, printed
    assert "2 trials had ended before, the best val/loss" in printed
    assert "[2/4] trial 2 goes on: " in printed
    assert trials(study) == trials(study_of(whole))
    assert study.name == study_of(whole).name
    assert (study / "0" / "result.json").stat().st_mtime_ns == finished
    for number in range(4):
        assert driver.record(study / str(number)) == driver.record(study_of(whole) / str(number))


def test_the_best_command_gives_the_best_trial_bit_for_bit(whole: Path, tmp_path: Path) -> None:
    best = json.loads((study_of(whole) / "best.json").read_text())
    values = {int(row["number"]): float(row["value"]) for row in trials(study_of(whole))}
    assert best["value"] == min(values.values()) == values[best["number"]]
    assert best["value"] == json.loads((Path(best["run"]) / "result.json").read_text())["val"]["loss"]
    printed = (whole / "printed.log").read_text()
    assert best["command"] in printed
    assert "[4/4] trial 3: val/loss " in printed
    assert "validation" not in printed  # the table of a run's scores, which has the test's beside them
    program, verb, *arguments = shlex.split(best["command"])
    assert (program, verb) == ("trivium", "train")
    assert {"fusion=sum", "encoder@encoders.text=gru", "optimizer.groups.text.lr=null"} < {*arguments}
    assert {"optimizer.betas=[0.9,0.999]", "trainer.precision='64-true'"} < {*arguments}
    assert not [
        word for word in arguments if word.startswith(("-m", "sweep=", "hydra", "run.dir", "run.study", "resume="))
    ]
    code, printed = driver.command(tmp_path, *arguments, f"run.dir={tmp_path / 'again'}")
    assert code == 0, printed
    assert driver.record(tmp_path / "again") == driver.record(Path(best["run"]))
    theirs, ours = (RunDirectory(run).config() for run in (Path(best["run"]), tmp_path / "again"))
    assert {**theirs, "run": None, "resume": None} == {**ours, "run": None, "resume": None}


def test_bad_trials_are_pruned_or_fail_end_nothing_and_are_told(whole: Path, tmp_path: Path) -> None:
    lines = [*ONE_BY_ONE, "optimizer.lr=0.02,1e-6,1e30", f"paths.data={whole / 'data'}"]
    # After the checkpoint of the second trial's first epoch (two a trial's epoch), before it is given up for that one.
    assert search(tmp_path, *lines, kill=("saved", 5))[0] == -9
    study = study_of(tmp_path)
    assert len(driver.rows(study / "1" / "metrics.csv")) == 1
    assert status(study / "1")["status"] == "running"
    code, printed = search(tmp_path, *lines)
    assert code == 1
    rows = trials(study)
    assert [row["state"] for row in rows] == ["complete", "pruned", "fail"]
    assert status(study / "1")["status"].startswith("pruned: after epoch 1, val/loss")
    assert not (study / "1" / "result.json").exists()
    assert len(driver.rows(study / "1" / "metrics.csv")) == 1
    assert rows[2]["error"].startswith("loss not finite")
    assert "trial 1: pruned after epoch 1, val/loss" in printed
    assert "3 trials (1 complete, 1 pruned, 1 failed)" in printed
    assert f"best: trial 0, val/loss {float(rows[0]['value']):.6g}" in printed
    end = printed[printed.index("1 of 3 trials failed") :]
    assert "trial 2: loss not finite" in end
    assert "method=supervised" in end
    assert "optimizer.lr=1e+30" in end


@pytest.mark.slow
def test_a_trial_of_two_processes_is_pruned_in_both(tmp_path: Path) -> None:
    devices = ["trainer=ddp", "trainer.devices=2", "trainer.accelerator=cpu"]
    code, printed = search(tmp_path, *ONE_BY_ONE, "optimizer.lr=0.02,1e-6", *devices)
    assert code == 0, printed
    assert [row["state"] for row in trials(study_of(tmp_path))] == ["complete", "pruned"]
    assert status(study_of(tmp_path) / "1")["status"].startswith("pruned: after epoch 1, val/loss")
    assert len(driver.rows(study_of(tmp_path) / "1" / "metrics.csv")) == 1


def test_cmaes_for_the_highest_value_in_a_database(whole: Path, tmp_path: Path) -> None:
    lines = [
        "sweep=supervised",
        "hydra.sweeper.sampler=cmaes",
        "fusion.dropout=interval(0.0,0.3)",
        "hydra.sweeper.objective=val/corr",
        f"hydra.sweeper.storage='sqlite:///{tmp_path / 'studies.db'}'",
        f"paths.data={whole / 'data'}",
        "trainer.max_epochs=1",
    ]
    for wanted in (2, 3):
        code, printed = search(tmp_path, *lines, f"hydra.sweeper.n_trials={wanted}")
        assert code == 0, printed
        assert f"{wanted} trials by cmaes for the highest val/corr" in printed
        assert len(trials(study_of(tmp_path))) == wanted
    rows = trials(study_of(tmp_path))
    assert len({row["optimizer.lr"] for row in rows}) == 3
    best = json.loads((study_of(tmp_path) / "best.json").read_text())
    assert best["value"] == max(float(row["value"]) for row in rows)
    assert printed.count(f"; best {best['value']:.5g} (trial {best['number']})") == 1
    assert not (study_of(tmp_path) / "journal.log").exists()


def test_what_is_refused_leaves_nothing_behind(tmp_path: Path) -> None:
    code, printed = search(tmp_path, "sweep=supervised", "hydra.sweeper.objective=val/acc3")
    assert code == 2
    assert "hydra.sweeper.objective: 'val/acc3' is no metric of the validation split; nearest is val/acc" in printed
    assert "val/mae, val/corr" in printed
    assert not (tmp_path / "outputs").exists()
    code, printed = search(tmp_path, "sweep=supervised", "hydra/launcher=submitit_slurm", environment={"PATH": "/none"})
    assert code == 2
    assert "hydra/launcher=submitit_slurm could not start a job: RuntimeError: Could not detect" in printed
    (trial,) = trials_in(study_of(tmp_path))
    assert trial.state.name == "RUNNING"  # it is the next start's


def trials_in(study: Path) -> list[FrozenTrial]:
    return optuna.load_study(study_name=study.name, storage=open_storage(str(study / "journal.log"))).trials
