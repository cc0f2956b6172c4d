"""Searches from the command line: killed and gone on with, their best command, pruned and failed trials."""

import json
import shlex
from pathlib import Path

import pytest
from searching import search, status, study_of, trials

import driver
from trivium.runs.directory import RunDirectory


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A search of four trials that nothing disturbs."""
    folder = tmp_path_factory.mktemp("whole")
    code, printed = search(folder, "hydra.sweeper.n_trials=4")
    assert code == 0, printed
    return folder


def test_killed_in_a_trial_it_goes_on_with_that_trial_and_ends_as_if_undisturbed(whole: Path, tmp_path: Path) -> None:
    lines = ["hydra.sweeper.n_trials=4", f"paths.data={whole / 'data'}"]
    assert search(tmp_path, *lines, kill=("step", 6))[0] == -9  # of 4 steps a trial: in the second one's second epoch
    study = study_of(tmp_path)
    assert [row["state"] for row in trials(study)] == ["complete"]
    finished = (study / "0" / "result.json").stat().st_mtime_ns
    code, printed = search(tmp_path, *lines)
    assert code == 0, printed
    assert trials(study) == trials(study_of(whole))
    assert study.name == study_of(whole).name
    assert status(study / "1")["resumed_at"] == [2]
    assert (study / "0" / "result.json").stat().st_mtime_ns == finished
    for number in range(4):
        assert driver.record(study / str(number)) == driver.record(study_of(whole) / str(number))


def test_killed_between_a_run_s_end_and_its_study_s_news_of_it(whole: Path, tmp_path: Path) -> None:
    lines = ["hydra.sweeper.n_trials=2", f"paths.data={whole / 'data'}"]
    assert search(tmp_path, *lines, kill=("finish", 1))[0] == -9
    code, printed = search(tmp_path, *lines)
    assert code == 0, printed
    assert trials(study_of(tmp_path)) == trials(study_of(whole))[:2]


def test_a_larger_n_trials_goes_on_and_a_smaller_one_only_tells(whole: Path) -> None:
    before = trials(study_of(whole))
    code, printed = search(whole, "hydra.sweeper.n_trials=2")
    assert code == 0
    assert "4 trials (4 complete)" in printed
    assert trials(study_of(whole)) == before


def test_the_best_command_gives_the_best_trial_bit_for_bit(whole: Path, tmp_path: Path) -> None:
    best = json.loads((study_of(whole) / "best.json").read_text())
    values = {int(row["number"]): float(row["value"]) for row in trials(study_of(whole))}
    assert best["value"] == min(values.values()) == values[best["number"]]
    assert best["value"] == json.loads((Path(best["run"]) / "result.json").read_text())["val"]["loss"]
    python, _, *arguments = shlex.split(best["command"])
    assert python == "python"
    assert not [
        word for word in arguments if word.startswith(("-m", "sweep=", "hydra", "run.dir", "run.study", "resume="))
    ]
    code, printed = driver.command(tmp_path, *arguments, f"run.dir={tmp_path / 'again'}")
    assert code == 0, printed
    assert driver.record(tmp_path / "again") == driver.record(Path(best["run"]))
    theirs, ours = (RunDirectory(run).config() for run in (Path(best["run"]), tmp_path / "again"))
    assert {**theirs, "run": None, "resume": None} == {**ours, "run": None, "resume": None}


def test_a_bad_trial_is_pruned_and_its_run_says_so(tmp_path: Path) -> None:
    code, printed = search(
        tmp_path,
        "hydra.sweeper.sampler=grid",
        "hydra.sweeper.startup=1",
        "hydra.sweeper.warmup=0",
        "optimizer.lr=0.02,1e-6",
        "optimizer.weight_decay=0",
        "fusion.dropout=0",
    )
    assert code == 0, printed
    study = study_of(tmp_path)
    assert [row["state"] for row in trials(study)] == ["complete", "pruned"]
    assert status(study / "1")["status"].startswith("pruned: after epoch 1, val/loss")
    assert not (study / "1" / "result.json").exists()
    assert len(driver.rows(study / "1" / "metrics.csv")) == 1
    assert "2 trials (1 complete, 1 pruned)" in printed


def test_a_failed_trial_is_told_at_the_end_and_ends_nothing(tmp_path: Path) -> None:
    code, printed = search(
        tmp_path,
        "hydra.sweeper.sampler=grid",
        "optimizer.lr=1e30,0.02",
        "optimizer.weight_decay=0",
        "fusion.dropout=0",
        "hydra.sweeper.pruner=none",
    )
    assert code == 1
    rows = trials(study_of(tmp_path))
    assert [row["state"] for row in rows] == ["fail", "complete"]
    assert rows[0]["error"].startswith("loss not finite")
    end = printed[printed.index("1 of 2 trials failed") :]
    assert "trial 0: loss not finite" in end
    assert "method=supervised" in end
    assert "optimizer.lr=1e+30" in end
    assert "best: trial" in printed


@pytest.mark.parametrize("sampler", ["random", "cmaes"])
def test_other_samplers(sampler: str, whole: Path, tmp_path: Path) -> None:
    interval = "fusion.dropout=interval(0.0,0.3)"
    code, printed = search(
        tmp_path,
        f"hydra.sweeper.sampler={sampler}",
        "hydra.sweeper.n_trials=3",
        interval,
        "hydra.sweeper.objective=val/corr",
        f"paths.data={whole / 'data'}",
        "trainer.max_epochs=1",
    )
    assert code == 0, printed
    rows = trials(study_of(tmp_path))
    assert len({row["optimizer.lr"] for row in rows}) == 3
    best = json.loads((study_of(tmp_path) / "best.json").read_text())
    assert best["value"] == max(float(row["value"]) for row in rows)


def test_a_study_of_another_config_is_another_study_and_refused_under_its_name(whole: Path) -> None:
    code, printed = search(whole, f"hydra.sweeper.study={study_of(whole).name}", "hydra.sweeper.n_trials=4", "seed=2")
    assert code == 2
    assert "begun with other settings: seed (1.0 there, 2.0 now)" in printed
    assert len(list((whole / "outputs" / "studies").iterdir())) == 1


def test_an_objective_that_the_data_set_lacks_is_refused_before_anything_starts(tmp_path: Path) -> None:
    code, printed = search(tmp_path, "hydra.sweeper.objective=val/acc3")
    assert code == 2
    assert "hydra.sweeper.objective: 'val/acc3' is refused" in printed
    assert "val/loss, val/mae, val/corr" in printed
    assert not (tmp_path / "outputs").exists()


def test_a_database_keeps_a_study_too(whole: Path, tmp_path: Path) -> None:
    url = f"hydra.sweeper.storage='sqlite:///{tmp_path / 'studies.db'}'"
    for expected in (1, 2):
        code, printed = search(
            tmp_path, url, f"hydra.sweeper.n_trials={expected}", f"paths.data={whole / 'data'}", "trainer.max_epochs=1"
        )
        assert code == 0, printed
        assert len(trials(study_of(tmp_path))) == expected
    assert not (study_of(tmp_path) / "journal.log").exists()
