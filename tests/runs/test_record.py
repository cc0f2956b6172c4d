"""The run directory is the run's full record: what it holds, what is refused in it, and what is kept from the test."""

import copy
import csv
import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from lightning import Trainer
from safetensors import safe_open
from scipy import stats
from sklearn.metrics import f1_score

from driver import command, here, in_folder
from trivium.config.compose import compose_config
from trivium.data.store import Store, open_store
from trivium.runs.config_hash import config_hash
from trivium.runs.directory import RunDirectory
from trivium.runs.load import load_run
from trivium.runs.resume import open_run
from trivium.runs.train import train

MOSI = {"mae", "corr", "acc7", "acc5", "acc2_has0", "acc2_non0", "f1_has0", "f1_non0"}
SIMS = {"mae", "corr", "acc2", "acc3", "acc5", "f1"}
PROMISED = {"seed", "config_hash", "feature_set", "git_commit", "seconds", "resumed_at", "world_size"}
FILES = {"config.yaml", "overrides.yaml", "metrics.csv", "predictions.csv", "weights.safetensors", "result.json"}
QUICK = ["encoder=identity", "trainer.progress=off", "optimizer.lr=0.01"]


@pytest.fixture(scope="module", params=["fixture", "fixture_sims"])
def recorded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of three epochs."""
    folder = tmp_path_factory.mktemp(request.param)
    here(folder, *QUICK, f"data={request.param}", f"run.dir={folder / 'run'}", "seed=5")
    return folder / "run"


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def store_of(run_dir: Path) -> Store:
    (path,) = (run_dir.parent / "data").rglob("*.h5")
    return open_store(path)


def test_the_directory_holds_what_is_promised(recorded: Path) -> None:
    assert {path.name for path in recorded.iterdir()} >= FILES
    assert [path.name for path in (recorded / "checkpoints").iterdir()] == ["last.ckpt"]
    result = json.loads((recorded / "result.json").read_text())
    keys = MOSI if result["feature_set"] == "fixture/synthetic" else SIMS
    assert result.keys() >= PROMISED
    for split in ("test", "val"):
        assert set(result[split]) == keys | {"loss"}
        assert all(isinstance(value, float) and math.isfinite(value) for value in result[split].values())
    config = yaml.safe_load((recorded / "config.yaml").read_text())
    assert result["config_hash"] == config_hash(config)
    assert (result["seed"], result["resumed_at"], result["world_size"]) == (5, [], 1)
    assert result["feature_set"] == store_of(recorded).schema.feature_set
    assert result["seconds"] > 0
    sizes = [value.numel() for value in load_run(recorded).method.parameters()]
    assert result["parameters"] == result["trained_parameters"] == sum(sizes)  # nothing of it is frozen
    assert len(result["git_commit"].removesuffix("-dirty")) == 40
    overrides = yaml.safe_load((recorded / "overrides.yaml").read_text())
    assert {"seed=5", "encoder=identity"} <= set(overrides)
    assert compose_config(overrides) == config


def test_metrics_have_a_row_an_epoch_and_the_best_is_by_validation_loss(recorded: Path) -> None:
    epochs = read_csv(recorded / "metrics.csv")
    assert [row["epoch"] for row in epochs] == ["1", "2", "3"]
    losses = [float(row["val/loss"]) for row in epochs]
    result = json.loads((recorded / "result.json").read_text())
    assert result["best_epoch"] == 1 + int(np.argmin(losses))
    assert result["val"]["loss"] == pytest.approx(min(losses), abs=1e-6)  # the test came from that epoch's weights
    with safe_open(recorded / "weights.safetensors", "pt") as file:
        assert json.loads(file.metadata()["trivium"])["epoch"] == result["best_epoch"]


def test_predictions_hold_every_clip_once_and_give_the_metrics(recorded: Path) -> None:
    rows, store = read_csv(recorded / "predictions.csv"), store_of(recorded)
    result = json.loads((recorded / "result.json").read_text())
    for split, name in (("valid", "val"), ("test", "test")):
        own, clips = [row for row in rows if row["split"] == split], store.split(split)
        assert [row["id"] for row in own] == clips.ids
        predicted, target = (np.array([float(row[c]) for row in own]) for c in ("prediction", "target"))
        np.testing.assert_array_equal(target.astype(np.float32), clips.targets["multimodal"])
        expected = (sims_metrics if "acc3" in result[name] else mosi_metrics)(predicted, target)
        assert {key: result[name][key] for key in expected} == pytest.approx(expected, abs=1e-6)
    assert len(rows) == sum(store.schema.counts[split] for split in ("valid", "test"))


def mosi_metrics(p: Any, t: Any) -> dict[str, float]:
    non0 = t != 0
    return {
        "mae": np.mean(np.abs(p - t)),
        "corr": stats.pearsonr(p, t)[0],
        "acc7": np.mean(np.rint(np.clip(p, -3, 3)) == np.rint(np.clip(t, -3, 3))),
        "acc5": np.mean(np.rint(np.clip(p, -2, 2)) == np.rint(np.clip(t, -2, 2))),
        "acc2_has0": np.mean((p >= 0) == (t >= 0)),
        "acc2_non0": np.mean((p > 0)[non0] == (t > 0)[non0]),
        "f1_has0": f1_score(t >= 0, p >= 0, average="weighted"),
        "f1_non0": f1_score((t > 0)[non0], (p > 0)[non0], average="weighted"),
    }


def sims_metrics(p: Any, t: Any) -> dict[str, float]:
    p, t = np.clip(p, -1, 1), np.clip(t, -1, 1)
    shares = {
        f"acc{len(cuts) + 1}": np.mean(sum((p > c) * 1 for c in cuts) == sum((t > c) * 1 for c in cuts))
        for cuts in ([0], [-0.1, 0.1], [-0.7, -0.1, 0.1, 0.7])
    }
    f1 = f1_score(t > 0, p > 0, average="weighted")
    return {"mae": np.mean(np.abs(p - t)), "corr": stats.pearsonr(p, t)[0], **shares, "f1": f1}


def test_the_hash_leaves_out_where_and_on_what_a_run_is_and_nothing_else() -> None:
    # with ba and clipping, as ba_standardised and gradient_clip_by decide nothing without
    settings = ["method=selfmi", "method.pair_estimator=ba", "trainer.gradient_clip=1"]
    config = compose_config([*settings, "encoder@encoders.text=gru"])
    whole = config_hash(config)
    free = {"run", "resume", "paths", "logger", "trust"}
    # test_callbacks.py has the callbacks that are hashed
    free_of_trainer = (
        *("devices", "num_nodes", "accelerator", "strategy", "lost_after"),
        *("progress", "callbacks", "profiler"),
    )
    for path in leaves(config):
        changed = copy.deepcopy(config)
        at = changed
        for name in path[:-1]:
            at = at[name]
        at[path[-1]] = different(at[path[-1]])
        unhashed = path[0] in free or path in {("trainer", name) for name in free_of_trainer}
        assert (config_hash(changed) == whole) == unhashed, path


def leaves(node: Any, at: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    if isinstance(node, dict) and node:
        return [path for name, value in node.items() for path in leaves(value, (*at, name))]
    return [at]


def different(value: Any) -> Any:
    if isinstance(value, bool):
        return not value
    return value + 1 if isinstance(value, int | float) else f"{value}x"


def test_the_test_split_is_opened_once_after_fitting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    happened: list[str] = []
    split, fit = Store.split, Trainer.fit

    def noted_split(self: Store, name: str) -> Any:
        happened.append(name)
        return split(self, name)

    def noted_fit(*arguments: Any, **keys: Any) -> None:
        fit(*arguments, **keys)
        happened.append("fitted")

    monkeypatch.setattr(Store, "split", noted_split)
    monkeypatch.setattr(Trainer, "fit", noted_fit)
    here(tmp_path, *QUICK, "trainer.max_epochs=2")
    fitted = happened.index("fitted")
    assert set(happened[:fitted]) == {"train", "valid"}
    assert happened[fitted:].count("test") == 1


def test_early_stopping_waits_for_validation(tmp_path: Path) -> None:
    """Nothing is learnt at a rate of 0: one epoch sets the mark, then `patience` more pass."""
    result = here(tmp_path, *QUICK, "optimizer.lr=0", "trainer.patience=2", "trainer.max_epochs=20")
    assert (result["epochs"], result["best_epoch"]) == (3, 1)


def test_select_last_keeps_the_last_epoch(tmp_path: Path) -> None:
    settings = [*QUICK, "optimizer=sgd", "optimizer.lr=1", "trainer.max_epochs=2"]
    best = here(tmp_path, *settings, f"run.dir={tmp_path / 'best'}")
    last = here(tmp_path, *settings, "trainer.select=last", f"run.dir={tmp_path / 'last'}")
    losses = [float(row["val/loss"]) for row in read_csv(tmp_path / "last" / "metrics.csv")]
    assert best["best_epoch"] == 1 + int(np.argmin(losses)) < 2  # else this run shows nothing
    assert last["best_epoch"] == 2
    assert last["val"]["loss"] == pytest.approx(losses[-1], abs=1e-6)


def test_a_finished_run_started_again_trains_nothing_and_prints_its_table(
    recorded: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.stat().st_mtime_ns for path in recorded.rglob("*") if path.name != ".lock"}
    config = yaml.safe_load((recorded / "config.yaml").read_text()) | {"resume": "auto"}
    result = train(config, [])
    printed = capsys.readouterr().out
    assert result == json.loads((recorded / "result.json").read_text())
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert "is finished" in printed
    for label, key in (("MAE", "mae"), ("Corr", "corr"), ("Acc-5", "acc5")):
        line = next(line for line in printed.splitlines() if label in line)
        assert f"{result['test'][key]:.4f}" in line
        assert f"{result['val'][key]:.4f}" in line
    assert str(recorded) in printed


@pytest.mark.parametrize(
    ("wanted", "told"),
    [
        (
            ["resume=auto", "optimizer.lr=0.5", "fusion.out=7"],
            "fusion.out .128 there, 7 now., optimizer.lr .0.01 there, 0.5 now.",
        ),
        (["resume=auto", "encoder=gru"], r"encoder\.hidden"),
        (["resume=off"], "holds a run already; resume it with resume=auto"),
    ],
)
def test_a_used_directory_is_refused(recorded: Path, wanted: list[str], told: str) -> None:
    result, original = (
        (recorded / "result.json").read_bytes(),
        yaml.safe_load((recorded / "overrides.yaml").read_text()),
    )
    config = compose_config([*original, *wanted])
    with pytest.raises(ValueError, match=told) as error:
        train(config, [])
    assert str(recorded) in str(error.value)
    assert (recorded / "result.json").read_bytes() == result


def test_a_run_in_use_is_refused(recorded: Path) -> None:
    other = RunDirectory(recorded)
    assert other.try_lock()
    config = yaml.safe_load((recorded / "config.yaml").read_text()) | {"resume": "auto"}
    with pytest.raises(ValueError, match="is in use by another process"):
        train(config, [])
    other.release()
    assert train(config, [])["seed"] == 5


def test_resume_takes_a_directory(recorded: Path, tmp_path: Path) -> None:
    config = yaml.safe_load((recorded / "config.yaml").read_text())
    config["run"]["dir"] = ""
    assert train(config | {"resume": str(recorded)}, [])["seed"] == 5
    with pytest.raises(ValueError, match=r"no run there \(no config.yaml\)"):
        train(config | {"resume": str(tmp_path)}, [])
    with pytest.raises(ValueError, match=r"seed \(5 there, 6 now\)"):
        train(config | {"resume": str(recorded), "seed": 6}, [])


def test_default_names_can_be_typed_back(tmp_path: Path) -> None:
    code, printed = command(
        tmp_path,
        *in_folder(
            tmp_path, *QUICK, "trainer.max_epochs=1", "data.modalities=[text,audio]", "optimizer.betas=[0.8,0.9]"
        ),
    )
    assert code == 0, printed
    code, printed = command(tmp_path, "-m", *in_folder(tmp_path, *QUICK, "trainer.max_epochs=1", "seed=1,2"))
    assert code == 0, printed
    runs = [path.parent.relative_to(tmp_path) for path in tmp_path.rglob("result.json")]
    assert len(runs) == 3
    assert not [run for run in runs if set("=, ") & set(str(run))]
    assert {run.name for run in runs if run.parts[1] == "sweeps"} == {"0", "1"}
    left = {path.name for path in tmp_path.iterdir()} - {"printed.log"}
    assert left == {"data", "outputs"}  # Hydra writes no folder of its own


@pytest.mark.parametrize(
    ("name", "content"),
    [("config.yaml", "a: ["), ("result.json", '{"seed": 1'), ("run.json", ""), ("model.json", "[]")],
)
def test_a_damaged_file_of_a_run_is_named_with_what_to_do(tmp_path: Path, name: str, content: str) -> None:
    run = RunDirectory(tmp_path)
    (tmp_path / name).write_text(content)
    read = {"config.yaml": run.config, "result.json": run.result, "run.json": run.record, "model.json": run.model}
    with pytest.raises(
        ValueError, match=rf"/{name}: cannot be read \(.+\); copy it again, or delete {tmp_path} and repeat"
    ):
        read[name]()


def test_a_run_that_takes_its_files_back_while_others_look_for_theirs_is_passed_over(
    recorded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """resume=auto reads every run's record; the newest of these is gone when it comes to it."""
    config = yaml.safe_load((recorded / "config.yaml").read_text())
    config |= {
        "resume": "auto",
        "paths": {**config["paths"], "outputs": str(tmp_path)},
        "run": {**config["run"], "dir": ""},
    }
    for name in ("a", "gone"):
        (tmp_path / "runs" / name).mkdir(parents=True)
        shutil.copy(recorded / "config.yaml", tmp_path / "runs" / name)
        shutil.copy(recorded / "run.json", tmp_path / "runs" / name)
    read = RunDirectory.record

    def record(self: RunDirectory) -> dict[str, Any]:
        if self.path.name == "gone":
            raise FileNotFoundError(self.path)
        return read(self)

    monkeypatch.setattr(RunDirectory, "record", record)
    run = open_run(config, [])
    assert run.path == tmp_path / "runs" / "a"
    run.release()
