"""Starts tasks in processes of their own, and reads what they report.

The measuring process stays small: where the system has no /proc, a child's peak memory may start at its parent's.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

ROOT = Path(__file__).parents[1]


class Task:
    """Runs `python -m benchmarks.MODULE TASK JSON`. Use it in a `with`: the process is ended on leaving it."""

    def __init__(self, python: Path, module: str, task: str, settings: Mapping[str, Any], threads: int) -> None:
        self.name = f"{module} {task}"
        self._stderr = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed in __exit__
        # MMSA's environment has neither this folder nor trivium; models are local folders.
        path = os.pathsep.join([str(ROOT), str(ROOT / "src"), *filter(None, [os.environ.get("PYTHONPATH")])])
        environment = {
            "PYTHONPATH": path,
            "OMP_NUM_THREADS": str(threads),
            "MKL_NUM_THREADS": str(threads),
            "HF_HUB_OFFLINE": "1",
        }
        self._process = subprocess.Popen(
            [str(python), "-m", f"benchmarks.{module}", task, json.dumps(settings)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            text=True,
            env=os.environ | environment,
        )

    def report(self) -> Any:
        """Returns the next value that it sends. Raises RuntimeError with the end of its stderr if it ended instead."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            code = self._process.wait()
            self._stderr.seek(0)
            last_lines = "\n".join(self._stderr.read().splitlines()[-15:])
            raise RuntimeError(f"{self.name} ended with exit code {code} and these last lines:\n{last_lines}")
        return json.loads(line)

    def step(self) -> dict[str, float]:
        """Has it take one more step. Returns {"seconds", "cpu_seconds"}."""
        assert self._process.stdin is not None
        self._process.stdin.write("step\n")
        self._process.stdin.flush()
        times: dict[str, float] = self.report()
        return times

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if kind is None:
            self._process.communicate()  # closes its stdin, which ends it
        else:
            self._process.kill()
            self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout, self._stderr):
            assert pipe is not None
            pipe.close()


def run(python: Path, module: str, task: str, threads: int, **settings: Any) -> Any:
    """Runs a task that reports once, and returns its report."""
    with Task(python, module, task, settings, threads) as running:
        return running.report()


def warm(file: Path) -> None:
    """Reads the file once, so that its pages are in the page cache as far as they fit."""
    with file.open("rb") as opened:
        while opened.read(1 << 24):
            pass
