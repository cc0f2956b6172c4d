"""A run of 3 epochs that is extended to 6 ends as a run of 6: bit for bit, timings aside."""

import json
from pathlib import Path
from typing import Any

import pytest

from driver import here, record, run
from trivium.config.compose import compose_config
from trivium.config.run_settings import with_settings_of_run
from trivium.runs import extend
from trivium.runs.config_hash import config_hash
from trivium.runs.directory import RunDirectory
from trivium.runs.load import load_run
from trivium.runs.resume import open_run

LSTM = ["encoder.hidden=8", "encoder.out=8", "fusion.out=16"]
TINY = ["encoder.dim=10", "encoder.feedforward=32", "encoder.layers=1", "fusion.dim=8"]
HEAD = ["method.head_hidden=[32,32]", "method.head_out=16"]
MULT = ["fusion.layers=1", "fusion.width=4", "fusion.heads=2", "fusion.dim=8", "encoder.hidden=4", "encoder.out=8"]
SETTINGS = {
    # the plateau lowers the rate behind the third epoch
    "supervised": ["method=supervised", *LSTM, "scheduler=plateau", "scheduler.patience=0", "optimizer.lr=0.03"],
    "selfmi": ["method=selfmi", *LSTM, "fusion.dropout=0.1", "scheduler=step", "scheduler.every=2"],
    "comm": ["method=comm", *TINY, *HEAD],
    "m3ixup": ["method=m3ixup", *MULT, "trainer.gradient_clip=0.8"],
}
FEW = ["data.batch_size=96", "trainer.progress=off"]


def extended(path: Path, *more: str) -> dict[str, Any]:
    """Extends a run by `trivium train resume=DIR MORE`, and returns its result."""
    from trivium.runs.train import train

    settings = with_settings_of_run([f"resume={path}", *more])
    return train(compose_config(settings), settings)


@pytest.mark.parametrize(
    "method", [pytest.param(m, marks=[pytest.mark.slow] * (m in ("comm", "m3ixup"))) for m in SETTINGS]
)
def test_three_epochs_and_three_more_are_six(method: str, tmp_path: Path) -> None:
    settings, run_dir, whole = [*SETTINGS[method], *FEW], tmp_path / "run", tmp_path / "whole"
    here(tmp_path, *settings, "trainer.max_epochs=6", f"run.dir={whole}")
    shorter = here(tmp_path, *settings, "trainer.max_epochs=3", f"run.dir={run_dir}")
    before = record(run_dir)
    (run_dir / "probe_raw.json").write_text("{}")  # of the shorter run's weights
    (run_dir / "notes.txt").write_text("a user's")

    result = extended(run_dir, "trainer.max_epochs=6")

    assert record(run_dir) == record(whole)
    changes = {"seconds", "resumed_at", "extended_at", "hardware", "git_commit"}
    expected = json.loads((whole / "result.json").read_text())
    assert {k: v for k, v in result.items() if k not in changes} == {
        k: v for k, v in expected.items() if k not in changes
    }
    assert result["extended_at"] == [3]
    # it is the longer run from now on, for whoever looks for it
    stored = RunDirectory(run_dir)
    assert stored.record()["config_hash"] == config_hash(stored.config()) == expected["config_hash"]
    assert not (run_dir / "probe_raw.json").exists()
    assert (run_dir / "notes.txt").exists()
    # the shorter run is kept, and can be loaded
    assert record(run_dir / "epochs_3") == before
    assert load_run(run_dir / "epochs_3").result["config_hash"] == shorter["config_hash"] != result["config_hash"]
    assert (run_dir / "epochs_3" / "probe_raw.json").exists()


def test_an_unfinished_run_is_extended(tmp_path: Path) -> None:
    settings = [*SETTINGS["supervised"], *FEW, "run.checkpoint_every=2"]
    here(tmp_path, *settings, "trainer.max_epochs=5", f"run.dir={tmp_path / 'whole'}")
    assert run(tmp_path, *settings, f"run.dir={tmp_path / 'run'}", kill=("step", 7)) == -9
    assert extended(tmp_path / "run", "trainer.max_epochs=5")["extended_at"] == [1]
    assert record(tmp_path / "run") == record(tmp_path / "whole")
    assert not (tmp_path / "run" / "epochs_3").exists()


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finished")
    here(folder, *SETTINGS["supervised"], *FEW, "trainer.max_epochs=2", f"run.dir={folder / 'run'}")
    return folder


def test_alone_resume_takes_the_run_s_own_settings(finished: Path) -> None:
    before = (finished / "run" / "result.json").stat().st_mtime_ns
    extended(finished / "run")
    assert (finished / "run" / "result.json").stat().st_mtime_ns == before
    with pytest.raises(ValueError, match=r"another config; it differs in optimizer\.lr \(0\.03 there, 0\.5 now\)"):
        extended(finished / "run", "optimizer.lr=0.5")


@pytest.mark.parametrize(
    ("moment", "longer"),
    [("_keep_copy", False), ("write_json", False), ("complete_extension", True), ("write_text", True)],
)
def test_cut_off_it_is_the_shorter_run_or_the_longer_one(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str, longer: bool
) -> None:
    import shutil

    path = tmp_path / "run"
    shutil.copytree(finished / "run", path)
    config = compose_config(with_settings_of_run([f"resume={path}", "trainer.max_epochs=3"]))
    whole = record(path)

    def die(*_: Any) -> None:
        raise MemoryError

    with monkeypatch.context() as patched:
        patched.setattr(extend, moment, die)
        with pytest.raises(MemoryError):
            extend.extend(RunDirectory(path), config, ["trainer.max_epochs=3"])
    if not longer:
        assert record(path) == whole
        extended(path)  # as it was
        assert record(path) == whole
    else:
        assert not (path / "result.json").exists()
        auto = {**config, "resume": "auto", "run": {**config["run"], "dir": ""}}
        (tmp_path / "outputs" / "runs").mkdir(parents=True)
        path.rename(tmp_path / "outputs" / "runs" / "run")
        auto["paths"] = {**auto["paths"], "outputs": str(tmp_path / "outputs")}
        found = open_run(auto, [])
        assert found.path.name == "run"
        assert found.config()["trainer"]["max_epochs"] == 3
        assert found.record()["extended_at"] == [2]
        found.release()


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (["scheduler=cosine"], "scheduler=cosine shares its learning rates out over trainer.max_epochs"),
        (["scheduler=linear"], "scheduler=linear shares"),
        (["trainer.patience=1", "trainer.min_delta=9"], r"early stopping ended it after epoch 2.*patience=1"),
    ],
)
def test_what_would_not_be_exact_is_refused(settings: list[str], told: str, finished: Path, tmp_path: Path) -> None:
    lines = ["method=supervised", *LSTM, *FEW, *settings, "trainer.limit_batches=1", f"paths.data={finished / 'data'}"]
    here(tmp_path, *lines, "trainer.max_epochs=2", f"run.dir={tmp_path / 'run'}")
    files = {file: file.read_bytes() for file in (tmp_path / "run").rglob("*") if file.is_file()}
    with pytest.raises(ValueError, match=told):
        extended(tmp_path / "run", "trainer.max_epochs=4")
    assert {file: file.read_bytes() for file in (tmp_path / "run").rglob("*") if file.is_file()} == files


def test_a_run_gets_no_shorter(finished: Path) -> None:
    with pytest.raises(ValueError, match=r"trainer\.max_epochs \(2 there, 1 now\)"):
        extended(finished / "run", "trainer.max_epochs=1")
