"""Searches as command lines, small enough for a test, and what they leave."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import driver

SMALL = ["trainer.max_epochs=2", "trainer.limit_batches=2", "trainer.progress=off", "run.checkpoint_every=1"]
# Trials train in the search's own process, where a test can reach them.
HERE = ["hydra.sweeper.at_once=1"]


def search(
    folder: Path,
    *arguments: str,
    kill: tuple[str, int] | None = None,
    interrupt: int | None = None,
    environment: dict[str, str] | None = None,
) -> tuple[int, str]:
    """`python train.py -m ...` in `folder`: (exit code, all that it printed).

    kill: as driver.run. interrupt: Ctrl-C before the training step of that number, from 0 over all trials.
    """
    options = list(arguments[:2]) if arguments[0] == "--config-dir" else []
    here = HERE if any(word.startswith("sweep=") for word in arguments) else []
    given = driver.in_folder(folder, *SMALL, *here, *arguments[len(options) :])
    argv = [str(driver.ROOT / "train.py"), "-m", *options, *given]
    folder.mkdir(exist_ok=True)
    log = folder / "printed.log"
    code = driver.spawn(_run, argv, folder, log, environment or {}, kill, interrupt)
    return code, log.read_text()


def _run(
    argv: list[str],
    folder: Path,
    log: Path,
    environment: dict[str, str],
    kill: tuple[str, int] | None,
    interrupt: int | None,
) -> None:
    if kill is not None:
        driver._arrange_death(*kill)
    if interrupt is not None:
        _arrange_interrupt(interrupt)
    driver._command(argv, folder, log, environment)


def _arrange_interrupt(count: int) -> None:
    from trivium.methods.base import Method

    signal.signal(signal.SIGINT, signal.default_int_handler)  # a process of the fork server ignores it
    original, steps = Method.training_step, iter(range(10**9))

    def interrupted(*args: Any, **kwargs: Any) -> Any:
        if next(steps) == count:
            os.kill(os.getpid(), signal.SIGINT)
        return original(*args, **kwargs)

    Method.training_step = interrupted  # type: ignore[method-assign]


def alone(folder: Path, *arguments: str) -> tuple[int, str]:
    """`python train.py -m ...` in a process with nothing above it: joblib's workers hang below multiprocessing's."""
    argv = [sys.executable, str(driver.ROOT / "train.py"), "-m", *driver.in_folder(folder, *SMALL, *arguments)]
    done = subprocess.run(argv, cwd=folder, capture_output=True, text=True, check=False, timeout=240)
    return done.returncode, done.stdout + done.stderr


def study_of(folder: Path) -> Path:
    """The only study of a test's folder."""
    (found,) = (folder / "outputs" / "studies").iterdir()
    return found


def sweep_of(folder: Path) -> Path:
    """The only grid of a test's folder."""
    (found,) = (folder / "outputs" / "sweeps").iterdir()
    return found


def trials(study: Path) -> list[dict[str, str]]:
    """trials.csv without times and places."""
    with (study / "trials.csv").open(newline="") as file:
        return [{k: v for k, v in row.items() if k not in ("seconds", "run")} for row in csv.DictReader(file)]


def status(run: Path) -> dict[str, Any]:
    record: dict[str, Any] = json.loads((run / "run.json").read_text())
    return record
