"""A run's process ends with the table's, however that ended."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

TABLE = """
import sys
from pathlib import Path
from trivium.reports.processes import train
train(sys.argv[2:], Path(sys.argv[1]))
"""


@pytest.mark.parametrize("by", [signal.SIGKILL, signal.SIGTERM])
def test_no_run_outlives_the_command_that_started_it(tmp_path: Path, by: signal.Signals) -> None:
    log, run = tmp_path / "log.txt", tmp_path / "run"
    log.touch()
    endless = ["trainer.max_epochs=100000", "trainer.patience=0", "trainer.accelerator=cpu", f"run.dir={run}"]
    where = [f"paths.data={tmp_path / 'data'}", f"paths.outputs={tmp_path}"]
    table = subprocess.Popen([sys.executable, "-c", TABLE, str(log), *endless, *where])
    try:
        epochs = run / "metrics.csv"
        _until(lambda: epochs.is_file() and table.poll() is None, log)
    finally:
        table.send_signal(by)
        table.wait(10)
    _until(lambda: not _quickly_changes(epochs), log)


def _quickly_changes(file: Path) -> bool:
    before = file.stat().st_mtime_ns
    time.sleep(2)  # an epoch takes a tenth
    return file.stat().st_mtime_ns != before


def _until(true: Callable[[], bool], log: Path, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, log.read_text()
        time.sleep(0.1)
