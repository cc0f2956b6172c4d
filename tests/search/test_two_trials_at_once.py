"""A search on a CPU keeps two trials at work without being asked: stopped in any way, it ends as if undisturbed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from searching import SMALL, alone, study_of, trials

import driver
from trivium.search import devices

SEARCH = [
    "sweep=supervised",
    "encoder=identity",
    "encoder.out=16",
    "encoder.pool=mean",
    "fusion=concat",
    "fusion.dropout=0,0.1,0.3",
    "optimizer.weight_decay=0",
    "hydra.sweeper.n_trials=4",
    "hydra.sweeper.pruner=none",
    "trainer.max_epochs=8",  # so that the second of two has begun before the first has ended
    "trainer.accelerator=cpu",
    "trainer.progress=auto",
]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A search that nothing disturbs."""
    folder = tmp_path_factory.mktemp("whole")
    code, printed = alone(folder, *SEARCH)
    assert code == 0, printed
    assert "\n2 trials at once\n" in printed
    assert "epoch   1/8" not in printed
    return folder


def stopped(folder: Path, how: signal.Signals, *arguments: str) -> tuple[int, str]:
    """The search, stopped in its second pair of trials, as a terminal does it: (exit code, what it printed)."""
    argv = [sys.executable, str(driver.ROOT / "train.py"), "-m", *driver.in_folder(folder, *SMALL, *arguments)]
    log = folder / "printed.log"
    with log.open("wb") as file:
        # A shell's background jobs, among which the tests may be, ignore Ctrl-C, and so do their children.
        process = subprocess.Popen(
            argv,
            cwd=folder,
            stdout=file,
            stderr=file,
            start_new_session=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )
        until = time.monotonic() + 120
        while not list(folder.glob("outputs/studies/*/2/metrics.csv")):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < until, log.read_text()
            time.sleep(0.02)
        if how is signal.SIGKILL:
            process.kill()
        else:
            os.killpg(process.pid, how)
        return process.wait(60), log.read_text()


def test_two_trials_are_drawn_before_either_has_ended(whole: Path) -> None:
    study = study_of(whole)
    assert [row["state"] for row in trials(study)] == ["complete"] * 4
    begun, ended = (
        [(study / str(n) / file).stat().st_mtime for n in range(4)] for file in ("config.yaml", "result.json")
    )
    assert max(begun[:2]) < min(ended[:2])
    assert min(begun[2:]) > max(ended[:2])
    assert all("epoch   8/8" in (study / "logs" / f"{n}.log").read_text() for n in range(4))


@pytest.mark.parametrize(
    "how",
    [pytest.param(signal.SIGINT, id="Ctrl-C"), pytest.param(signal.SIGKILL, id="killed", marks=pytest.mark.slow)],
)
def test_stopped_it_goes_on_and_ends_as_if_undisturbed(whole: Path, tmp_path: Path, how: signal.Signals) -> None:
    lines = [*SEARCH, f"paths.data={whole / 'data'}"]
    code, printed = stopped(tmp_path, how, *lines)
    assert code == (130 if how is signal.SIGINT else -9), printed
    if how is signal.SIGINT:
        assert printed.splitlines()[-1].startswith("interrupted; go on with: trivium train -m ")
        assert "Traceback" not in printed
    code, printed = alone(tmp_path, *lines)
    assert code == 0, printed
    assert trials(study_of(tmp_path)) == trials(study_of(whole))
    for number in range(4):
        assert driver.record(study_of(tmp_path) / str(number)) == driver.record(study_of(whole) / str(number))


def test_a_trial_that_fails_is_told_with_what_it_printed(tmp_path: Path) -> None:
    space = ["optimizer.lr=0.01,1e30", "fusion.dropout=0", "hydra.sweeper.sampler=grid"]
    code, printed = alone(tmp_path, *SEARCH, *space)
    assert code == 1, printed
    log = study_of(tmp_path) / "logs" / "1.log"
    assert f"  log {log}" in printed or f"  log {log.relative_to(tmp_path)}" in printed
    assert "optimizer.lr=1e+30" in log.read_text()
    assert json.loads((study_of(tmp_path) / "best.json").read_text())["number"] != 1


@pytest.mark.parametrize(
    ("trainer", "cores", "gpu", "expected"),
    [
        ({"accelerator": "auto"}, 2, False, 2),
        ({"accelerator": "auto"}, 2, True, 1),
        ({"accelerator": "cpu"}, 8, True, 2),
        ({"accelerator": "cpu"}, 1, False, 1),
        ({"accelerator": "gpu"}, 8, True, 1),
        ({"accelerator": "cpu", "devices": 2}, 8, False, 1),
    ],
)
def test_two_runs_at_once_need_a_cpu_with_the_cores(
    trainer: dict[str, Any], cores: int, gpu: bool, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devices, "cpu_count", lambda: cores)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert devices.usual_at_once(trainer) == expected
