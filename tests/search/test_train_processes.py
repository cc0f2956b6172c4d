"""A run's process ends with the table's, however that ended."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

TABLE = """
import sys
from pathlib import Path
from trivium.runs.directory import RunDirectory
from trivium.search.scheduler import Job
from trivium.search.train_processes import TrainProcesses
processes = TrainProcesses(1, Path(sys.argv[1]))
processes.start(Job("job", RunDirectory(Path(sys.argv[2])), tuple(sys.argv[3:])))
while not processes.wait(60):
    pass
"""

CHILD = """
import sys
from trivium.search.train_processes import _context
there = "import sys; sys.exit(not {'torch', 'lightning', 'sklearn.metrics', 'trivium.runs.train'} <= set(sys.modules))"
process = _context().Process(target=exec, args=(there,))
process.start()
process.join(120)
sys.exit(process.exitcode)
"""


def test_a_run_begins_with_what_every_run_imports() -> None:
    assert subprocess.run([sys.executable, "-c", CHILD], check=False).returncode == 0


@pytest.mark.parametrize("by", [signal.SIGKILL, signal.SIGTERM])
def test_no_run_outlives_the_command_that_started_it(tmp_path: Path, by: signal.Signals) -> None:
    log, run = tmp_path / "run.log", tmp_path / "run"
    endless = ["trainer.max_epochs=100000", "trainer.patience=0", "trainer.accelerator=cpu", f"run.dir={run}"]
    where = [f"paths.data={tmp_path / 'data'}", f"paths.outputs={tmp_path}"]
    table = subprocess.Popen([sys.executable, "-c", TABLE, str(tmp_path), str(run), *endless, *where])
    try:
        epochs = run / "metrics.csv"
        _until(lambda: epochs.is_file() and table.poll() is None, log)
    finally:
        table.send_signal(by)
        table.wait(10)
    _until(lambda: not _quickly_changes(epochs), log)


def test_an_interrupt_that_only_the_command_hears_ends_it_and_its_runs(tmp_path: Path) -> None:
    """As of a supervisor, or `kill -INT`; a terminal's Ctrl-C reaches the runs too."""
    table, log = _endless(tmp_path)
    try:
        _until(lambda: len(list(tmp_path.glob("outputs/**/metrics.csv"))) == 2 and table.poll() is None, log)
        table.send_signal(signal.SIGINT)
        assert table.wait(60) == 130
    finally:
        table.kill()
    assert f"interrupted; go on with: trivium reproduce table={tmp_path / 'own.yaml'}" in log.read_text()
    found = [json.loads(path.read_text())["status"] for path in tmp_path.glob("outputs/**/run.json")]
    assert found == ["interrupted", "interrupted"]


def test_ctrl_c_while_the_server_imports_is_told_in_a_line(tmp_path: Path) -> None:
    """A terminal's, which all processes hear; importing torch takes the first seconds of each table."""
    table, log = _endless(tmp_path)
    try:
        _until(lambda: bool(_servers(table.pid)), log)
        time.sleep(0.3)  # it has begun, and imports for longer than that
        os.killpg(table.pid, signal.SIGINT)
        assert table.wait(60) == 130
    finally:
        table.kill()
    assert "Traceback" not in log.read_text()
    last = log.read_text().splitlines()[-1]
    assert last.startswith(f"interrupted; go on with: trivium reproduce table={tmp_path / 'own.yaml'} outputs=")


def _endless(folder: Path) -> tuple[subprocess.Popen[bytes], Path]:
    """A table of two endless runs at once, in a session of its own, and the file of what it says."""
    rows = [{"label": "A"}, {"label": "B", "overrides": ["method=tcmax"]}]
    overrides = ["trainer.max_epochs=100000", "trainer.patience=0", "trainer.accelerator=cpu"]
    measures = [{"name": "MAE", "metric": "mae"}]
    table = {"title": "T", "datasets": ["fixture"], "seeds": 1, "rows": rows, "measures": measures}
    file = folder / "own.yaml"
    file.write_text(yaml.safe_dump({**table, "overrides": overrides}))
    log = folder / "log.txt"
    words = [f"table={file}", f"outputs={folder / 'outputs'}", "jobs=2", f"paths.data={folder / 'data'}"]
    script = [
        sys.executable,
        "-c",
        "import sys; from trivium.cli.main import main; sys.exit(main())",
        "reproduce",
    ]
    with log.open("w") as out:
        process = subprocess.Popen(
            [*script, *words],
            stdout=out,
            stderr=out,
            start_new_session=True,
            preexec_fn=lambda: signal.signal(
                signal.SIGINT, signal.SIG_DFL
            ),  # ignored where tests run in the background
        )
    return process, log


def _servers(session: int) -> list[str]:
    """Processes of the session that runs are forked from."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has ended
            of = int((process / "stat").read_text().rpartition(")")[2].split()[3])
            if of == session and "forkserver" in (process / "cmdline").read_text():
                found.append(process.name)
    return found


def _quickly_changes(file: Path) -> bool:
    before = file.stat().st_mtime_ns
    time.sleep(2)  # an epoch takes a tenth
    return file.stat().st_mtime_ns != before


def _until(true: Callable[[], bool], log: Path, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, log.read_text() if log.is_file() else "nothing printed"
        time.sleep(0.1)
