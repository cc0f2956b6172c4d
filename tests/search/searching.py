"""Searches as command lines, small enough for a test, and what they leave."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import driver

SMALL = ["trainer.max_epochs=2", "trainer.limit_batches=2", "trainer.progress=off", "run.checkpoint_every=1"]


def search(
    folder: Path, *arguments: str, kill: tuple[str, int] | None = None, environment: dict[str, str] | None = None
) -> tuple[int, str]:
    """`python train.py -m sweep=supervised ...` in `folder`: (exit code, all that it printed). kill: as driver.run."""
    argv = [str(driver.ROOT / "train.py"), "-m", "sweep=supervised", *driver.in_folder(folder, *SMALL, *arguments)]
    folder.mkdir(exist_ok=True)
    log = folder / "printed.log"
    code = driver.spawn(_run, argv, folder, log, environment or {}, kill)
    return code, log.read_text()


def _run(argv: list[str], folder: Path, log: Path, environment: dict[str, str], kill: tuple[str, int] | None) -> None:
    if kill is not None:
        driver._arrange_death(*kill)
    driver._command(argv, folder, log, environment)


def alone(folder: Path, *arguments: str) -> tuple[int, str]:
    """`python train.py -m ...` in a process with nothing above it: joblib's workers hang below multiprocessing's."""
    argv = [sys.executable, str(driver.ROOT / "train.py"), "-m", *driver.in_folder(folder, *SMALL, *arguments)]
    done = subprocess.run(argv, cwd=folder, capture_output=True, text=True, check=False, timeout=240)
    return done.returncode, done.stdout + done.stderr


def study_of(folder: Path) -> Path:
    """The only study of a test's folder."""
    (found,) = (folder / "outputs" / "studies").iterdir()
    return found


def trials(study: Path) -> list[dict[str, str]]:
    """trials.csv without times and places."""
    with (study / "trials.csv").open(newline="") as file:
        return [{k: v for k, v in row.items() if k not in ("seconds", "run")} for row in csv.DictReader(file)]


def status(run: Path) -> dict[str, Any]:
    record: dict[str, Any] = json.loads((run / "run.json").read_text())
    return record
