"""What a failing run says, leaves behind and exits with."""

import json
import os
import signal
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from driver import ROOT, command, here, in_folder, record, run, spawn
from trivium.config.compose import compose_config
from trivium.data.clips import Clips
from trivium.data.sampler import GlobalBatchSampler
from trivium.data.store import Store, write_store
from trivium.data.synthetic import COUNTS, make_fixture
from trivium.methods.meter import NonFiniteLossError
from trivium.runs import resume as module
from trivium.runs.resume import open_run

QUICK = ["encoder=identity", "trainer.progress=off", "optimizer.lr=0.01", "data.batch_size=40"]  # 8 steps an epoch


def poison(monkeypatch: pytest.MonkeyPatch, split: str, clip: int) -> str:
    """From now on a clip's audio is NaN, which prepare would have repaired; returns the clip's id."""
    original = Store.split

    def poisoned(self: Store, name: str) -> Clips:
        clips = original(self, name)
        if name == split:
            audio = clips.streams["audio"]
            values = np.array(audio.values)
            values[audio.offsets[clip] : audio.offsets[clip + 1]] = np.nan
            clips.streams["audio"] = type(audio)(values, audio.offsets)
        return clips

    monkeypatch.setattr(Store, "split", poisoned)
    return f"{split}{clip // 8:03d}$_${clip % 8 + 1}"


def step_of(clip: int, epoch: int, seed: int = 1) -> int:
    """The step, from 1, whose batch of 40 has the clip: the order is a pure function of seed and epoch."""
    order = GlobalBatchSampler(COUNTS["train"], 40, seed, epoch=epoch).order().tolist()
    return order.index(clip) // 40 + 1


@pytest.mark.parametrize(("method", "terms"), [("supervised", ["loss"]), ("selfmi", ["joint", "loss"])])
def test_a_non_finite_loss_names_term_epoch_step_and_clips(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str, terms: list[str]
) -> None:
    clip = poison(monkeypatch, "train", 100)
    step = step_of(100, epoch=0)
    with pytest.raises(NonFiniteLossError) as error:
        here(tmp_path, *QUICK, f"method={method}", f"run.dir={tmp_path / 'run'}")
    message = str(error.value)
    assert f"epoch 1, step {step} of 8" in message
    ids = message.split("on clips ")[1].split(";")[0].split(", ")
    assert len(ids) == 40
    assert clip in ids
    assert set(terms) <= set(message.split(" not finite")[0].split(" and "))
    assert not (tmp_path / "run" / "result.json").exists()
    assert json.loads((tmp_path / "run" / "run.json").read_text())["status"].startswith("failed: NonFiniteLossError")


def test_the_last_good_checkpoint_stays_and_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two epochs pass, the third meets a bad clip; without it the run resumes to what it would have been."""
    settings = [*QUICK, "trainer.max_epochs=4", "run.checkpoint_every=2"]
    here(tmp_path, *settings, f"run.dir={tmp_path / 'whole'}")
    with monkeypatch.context() as patch:
        spoil_from(patch, epoch=2, step=5)
        with pytest.raises(NonFiniteLossError, match="loss not finite at epoch 3, step 5 of 8"):
            here(tmp_path, *settings, f"run.dir={tmp_path / 'run'}")
    state = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)
    assert state["global_step"] == 2 * 8 + 4
    assert all(bool(value.isfinite().all()) for value in state["state_dict"].values())
    result = here(tmp_path, *settings, f"run.dir={tmp_path / 'run'}", "resume=auto")
    assert result["resumed_at"] == [20]
    assert record(tmp_path / "run") == record(tmp_path / "whole")


def spoil_from(monkeypatch: pytest.MonkeyPatch, epoch: int, step: int) -> None:
    """The loss of one training step is infinite."""
    from trivium.methods.supervised import Supervised

    original = Supervised.losses

    def losses(self: Supervised, batch: Any) -> dict[str, torch.Tensor]:
        bad = self.current_epoch == epoch and self.trainer.fit_loop.epoch_loop.batch_idx == step - 1
        terms = original(self, batch)
        return {name: value * float("inf") if bad else value for name, value in terms.items()}

    monkeypatch.setattr(Supervised, "losses", losses)


def test_a_non_finite_validation_stops_before_it_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    poison(monkeypatch, "valid", 3)
    with pytest.raises(NonFiniteLossError, match="val/loss is nan after epoch 1"):
        here(tmp_path, *QUICK, f"run.dir={tmp_path / 'run'}")
    assert not (tmp_path / "run" / "weights.safetensors").exists()


def _terminated(folder: Path, at_step: int) -> None:
    """A run that gets SIGTERM in the middle of an epoch, as from a scheduler whose time is up."""
    from trivium.methods.base import Method

    original, calls = Method.training_step, iter(range(10**9))

    def training_step(self: Method, batch: Any, batch_idx: int) -> Any:
        if next(calls) == at_step:
            os.kill(os.getpid(), signal.SIGTERM)
        return original(self, batch, batch_idx)

    Method.training_step = training_step  # type: ignore[method-assign]
    here(folder, *QUICK, f"run.dir={folder / 'run'}")


def test_sigterm_exits_non_zero_and_can_be_resumed(tmp_path: Path) -> None:
    assert spawn(_terminated, tmp_path, 11) == 143
    assert not (tmp_path / "run" / "result.json").exists()
    status = json.loads((tmp_path / "run" / "run.json").read_text())["status"]
    assert status == "interrupted"
    assert run(tmp_path, *QUICK, f"run.dir={tmp_path / 'run'}", "resume=auto") == 0
    assert run(tmp_path, *QUICK, f"run.dir={tmp_path / 'whole'}") == 0
    assert record(tmp_path / "run") == record(tmp_path / "whole")


def test_failed_jobs_of_a_sweep_are_told_and_the_others_run(tmp_path: Path) -> None:
    settings = in_folder(tmp_path, *QUICK, "trainer.max_epochs=1", "objective=cross_entropy")
    code, printed = command(tmp_path, "-m", *settings, "objective.classes=6,7,4")
    assert code == 1
    finished = [path.parent.name for path in tmp_path.rglob("result.json")]
    assert finished == ["1"]
    told = printed[printed.index("2 of 3 jobs failed\n") :].splitlines()[1:]
    for number, classes, (error, command_line) in zip((0, 2), (6, 4), (told[:2], told[2:4]), strict=True):
        assert error.startswith(f"job {number}: ")
        assert f"no {classes} classes of labels in (-3.0, 3.0) are defined" in error
        assert f"objective.classes={classes}" in command_line


def test_a_single_run_s_mistake_is_one_line_without_traceback(tmp_path: Path) -> None:
    """One that only the data tell, after the check of the command line."""
    code, printed = command(tmp_path, *in_folder(tmp_path, *QUICK, "data.modalities=[text,smell]"))
    assert code == 2
    assert "Traceback" not in printed
    (line,) = [line for line in printed.splitlines() if line.startswith("error:")]
    assert "no features of 'smell'; it has ['text', 'audio', 'vision']" in line


@pytest.mark.slow  # torchrun and two workers, each of which imports torch
def test_a_failed_worker_fails_the_command_with_its_message(tmp_path: Path) -> None:
    settings = in_folder(tmp_path, *QUICK, "trainer=ddp", "optimizer.lr=1e30", f"run.dir={tmp_path / 'run'}")
    done = subprocess.run(
        [sys.executable, str(ROOT / "train.py"), *settings], capture_output=True, text=True, timeout=200, cwd=tmp_path
    )
    assert done.returncode not in (0, -signal.SIGKILL)
    last = done.stderr.strip().splitlines()[-2]  # the last one says how to see a traceback
    assert f"{tmp_path / 'run'}: a worker process failed" in last
    assert "loss not finite at epoch 1, step 2 of 8" in last
    assert not (tmp_path / "run" / "result.json").exists()


def test_a_store_that_changed_is_not_resumed_on(tmp_path: Path) -> None:
    settings = ["trainer.progress=off", f"run.dir={tmp_path / 'run'}"]
    assert run(tmp_path, *settings, kill=("step", 8)) == -9
    store = tmp_path / "data" / "fixture" / "fixture.h5"
    write_store(store, make_fixture(seed=1), data="fixture", feature_set="fixture/synthetic", label_range=(-3.0, 3.0))
    with pytest.raises(ValueError, match=r"fixture\.h5 is not the store that .* was trained on"):
        here(tmp_path, *settings, "resume=auto")


def test_a_sweep_folder_that_holds_runs_is_not_written_over(tmp_path: Path) -> None:
    config = compose_config([f"paths.outputs={tmp_path}"])
    open_run(config, [], tmp_path / "sweep" / "0").release()
    other = compose_config([f"paths.outputs={tmp_path}", "seed=7"])
    with pytest.raises(ValueError, match="holds a run already; resume it with resume=auto"):
        open_run(other, [], tmp_path / "sweep" / "0")


def test_a_run_that_cannot_be_written_down_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "write_json", full)
    for place in ([], [f"run.dir={tmp_path / 'own'}"]):
        with pytest.raises(OSError, match="No space left"):
            open_run(compose_config(in_folder(tmp_path, *place)), [])
        assert [path for path in tmp_path.rglob("*") if path.name not in ("outputs", "runs")] == []


def test_runs_that_begin_in_one_second_have_directories_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other one has just made its own, and nothing is in it yet."""
    config = compose_config(in_folder(tmp_path))
    monkeypatch.setattr(module, "datetime", Noon)
    first, second = (module._new_path(config) for _ in range(2))
    assert first != second
    assert first.is_dir()


class Noon(datetime):
    """Every run begins at the same time."""

    @classmethod
    def now(cls, tz: Any = None) -> datetime:
        return datetime(2026, 1, 2, 12, tzinfo=tz)
