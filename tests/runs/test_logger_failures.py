"""A logger that fails costs no result: before training it says what to do, afterwards the next command sends."""

import json
import sys
import time
from pathlib import Path

import pytest

from driver import ROOT, command, here, in_folder, spawn
from logged import QUIET, READERS
from trivium.loggers.wandb import Wandb
from trivium.runs import loggers
from trivium.runs.loggers import NotSentError

QUICK = ["encoder=identity", "trainer.max_epochs=2", "optimizer.lr=0.01", "trainer.progress=off"]


def test_what_a_logger_did_not_get_costs_no_result_and_is_sent_by_the_next_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "run"
    settings = [*QUICK, "logger=tensorboard"]
    with monkeypatch.context() as patch:
        patch.setattr("trivium.loggers.figures.draw_figures", _no_pen)
        with pytest.raises(
            NotSentError, match=rf"{folder} is finished .* of it: RuntimeError: no pen\. .*={folder} to"
        ):
            here(tmp_path, *settings, f"run.dir={folder}")
    assert json.loads((folder / "run.json").read_text())["status"] == "finished"
    before = (folder / "result.json").read_bytes()
    here(tmp_path, *QUICK, f"resume={folder}")  # nothing to send to: no error
    assert not READERS["tensorboard"](folder).images
    assert here(tmp_path, *settings, f"resume={folder}") == json.loads(before)
    assert (folder / "result.json").read_bytes() == before
    assert len(READERS["tensorboard"](folder).images) == 3
    here(tmp_path, *settings, f"resume={folder}")
    assert [len(pngs) for pngs in READERS["tensorboard"](folder).images.values()] == [1, 1, 1]


def test_stopped_while_it_is_sent_a_run_is_finished_and_sent_by_the_next_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr("trivium.loggers.tensorboard.read_summary", _stopped)
        with pytest.raises(KeyboardInterrupt):
            here(tmp_path, *QUICK, "logger=tensorboard", f"run.dir={folder}")
    assert json.loads((folder / "run.json").read_text())["status"] == "finished"
    result = here(tmp_path, *QUICK, "logger=tensorboard", f"resume={folder}")
    logged = READERS["tensorboard"](folder)
    assert logged.scalars["test/mae"] == [pytest.approx(result["test"]["mae"])]


def _stopped(path: Path) -> None:
    raise KeyboardInterrupt


def _no_pen(path: Path) -> None:
    raise RuntimeError("no pen")


def test_the_command_of_a_run_that_was_not_sent_exits_with_2(tmp_path: Path) -> None:
    argv = in_folder(tmp_path, *QUICK, "logger=tensorboard", f"run.dir={tmp_path / 'run'}")
    assert spawn(_without_a_pen, [str(ROOT / "train.py"), *argv], tmp_path) == 2
    printed = (tmp_path / "printed.log").read_text()
    assert "│ MAE" in printed
    assert f"error: {tmp_path / 'run'} is finished and its result stands, but logger=tensorboard has not" in printed


def _without_a_pen(argv: list[str], folder: Path) -> None:
    import driver
    import trivium.loggers.figures as figures

    figures.draw_figures = _no_pen  # type: ignore[assignment]
    driver._command(argv, folder, folder / "printed.log", {})


@pytest.mark.parametrize("name", list(READERS))
def test_a_missing_package_is_named_before_anything_is_trained(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ValueError, match=rf"logger={name} needs the package {name}, .*: pip install {name}, or"):
        here(tmp_path, *QUICK, f"logger={name}", f"run.dir={tmp_path / 'run'}")
    assert not (tmp_path / "run").exists()


def test_wandb_without_a_key_says_what_to_do(tmp_path: Path) -> None:
    settings = in_folder(tmp_path, *QUICK, "logger=wandb", f"run.dir={tmp_path / 'run'}")
    nobody = {"HOME": str(tmp_path), "NETRC": str(tmp_path / "netrc"), "WANDB_API_KEY": "", "WANDB_MODE": "online"}
    code, printed = command(tmp_path, *settings, **{**QUIET, **nobody})
    assert code == 2
    assert "error: logger=wandb: " in printed
    assert "; logger.mode=offline needs no account and no network, and keeps the records" in printed
    assert not (tmp_path / "run" / "run.json").exists()


def test_wandb_waits_for_a_slow_server_as_long_as_it_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waited = []
    end = Wandb.end

    def look(logger: Wandb, *, failed: bool) -> None:
        settings = logger.experiment.settings
        waited.append((settings.finish_timeout, settings.finish_timeout_raises))
        end(logger, failed=failed)

    monkeypatch.setattr(Wandb, "end", look)
    for name, value in QUIET.items():
        monkeypatch.setenv(name, value)
    settings = [*QUICK, "trainer.max_epochs=1", "logger=wandb", "logger.mode=offline", "logger.figures=false"]
    here(tmp_path, *settings, "logger.finish_timeout=7", f"run.dir={tmp_path / 'run'}")
    assert waited == [(7.0, True)]


def test_a_logger_that_takes_long_at_the_end_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(loggers, "SLOW", 0.2)
    monkeypatch.setattr("trivium.loggers.tensorboard.TensorBoard.end", lambda logger, *, failed: time.sleep(1))
    folder = tmp_path / "run"
    here(tmp_path, *QUICK, "logger=tensorboard", "logger.figures=false", f"run.dir={folder}")
    told = f"{folder} is finished; waiting for TensorBoard to take its records. This may be ended: the same command"
    assert told in capsys.readouterr().err
    assert json.loads((folder / "result.json").read_text())
