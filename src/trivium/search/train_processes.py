"""Runs jobs in processes of `trivium train` on this machine, forked from a server that has imported torch once."""

from __future__ import annotations

import functools
import multiprocessing
import os
import runpy
import sys
import time
from multiprocessing.connection import wait
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from threading import Thread

from trivium.core.processes import ctrl_c_waits, die_with_parent, take_ctrl_c
from trivium.search.scheduler import Job

_ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


class TrainProcesses:
    """Runs each job in a process of its own, `at_once` of them, and writes what they print to `logs`.

    joblib and concurrent.futures give up all jobs when the system kills the process of one; here that is one job's end.
    The jobs end with this process, and are resumed by the next start.
    """

    waits_for_all = False

    def __init__(self, at_once: int, logs: Path) -> None:
        self.at_once, self._logs = at_once, logs
        self._processes: dict[str, tuple[Job, BaseProcess]] = {}

    def log(self, job: Job) -> Path:
        return self._logs / f"{job.log or job.run.path.name}.log"

    def start(self, job: Job) -> None:
        """Runs `trivium train ARGUMENTS`. Raises ValueError if the config of a run to be resumed is damaged."""
        log = self.log(job)
        log.write_text(f"{job.command}\n")
        if job.run.config_file.is_file():
            job.run.config()
        process: BaseProcess = _context().Process(  # type: ignore[attr-defined]
            target=_train, args=(list(job.arguments), log)
        )
        # The server, which the first job starts, imports for seconds and would answer Ctrl-C with a traceback.
        _start_tracker()
        with ctrl_c_waits():
            process.start()
            # Inside, as leaving may raise KeyboardInterrupt: `stop` has to know of it.
            self._processes[job.name] = (job, process)

    def wait(self, seconds: float) -> dict[str, str | None]:
        wait([process.sentinel for _, process in self._processes.values()], seconds)
        ended = {name: pair for name, pair in self._processes.items() if not pair[1].is_alive()}
        for name in ended:
            del self._processes[name]
        return {name: self._error(job, process.exitcode or 0) for name, (job, process) in ended.items()}

    def _error(self, job: Job, code: int) -> str | None:
        if code < 0:
            return f"killed by signal {-code}"
        return _last_words(self.log(job)) if code else None

    def stop(self) -> None:
        """Ends all processes. Nothing is lost by it, as every file of a run is whole or not there.

        They know of a terminal's Ctrl-C already, and get a moment to record that they were interrupted.
        """
        self._wait_for_all(1.0)
        for process in self._alive():
            process.terminate()
        self._wait_for_all(5.0)
        for process in self._alive():
            process.kill()
        self._wait_for_all(5.0)

    def _alive(self) -> list[BaseProcess]:
        return [process for _, process in self._processes.values() if process.is_alive()]

    def _wait_for_all(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        for process in self._alive():
            wait([process.sentinel], max(0.0, until - time.monotonic()))


def _start_tracker() -> None:
    """Starts multiprocessing's tracker of resources, which would otherwise start with the server and lift its mask."""
    if os.name == "posix":
        from multiprocessing import resource_tracker

        resource_tracker.ensure_running()


@functools.cache
def _context() -> BaseContext:
    """Returns the context whose server has the imports of `trivium train`; without servers (Windows) each imports."""
    kind = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
    context = multiprocessing.get_context(kind)
    # scikit-learn is imported where a metric needs it, which is in every run.
    context.set_forkserver_preload(["trivium.runs.train", "trivium.config.check", "sklearn.metrics"])
    # torch counts its threads when it is imported, so the server has to know first; its children inherit them.
    os.environ.update(_ONE_THREAD)
    return context


def _train(arguments: list[str], log: Path) -> None:
    """Runs `trivium train` in this process, which is the server's child, with its output in `log`."""
    # The system tells of the server's death. A pipe tells of the scheduler's: each child holds the server's own pipe
    # open, so that the server outlives the scheduler as long as one child runs.
    die_with_parent()
    Thread(target=_die_with_scheduler, daemon=True).start()
    output = os.open(log, os.O_WRONLY | os.O_APPEND)
    os.dup2(output, 1)
    os.dup2(output, 2)
    sys.stdout, sys.stderr = (os.fdopen(fd, "w", buffering=1, closefd=False) for fd in (1, 2))
    # From here on, what Ctrl-C brings goes to the log.
    take_ctrl_c()
    sys.argv = ["trivium", "train", *arguments]
    runpy.run_module("trivium", run_name="__main__")


def _die_with_scheduler() -> None:
    scheduler = multiprocessing.parent_process()
    assert scheduler is not None
    wait([scheduler.sentinel])
    # At once, without what Python does at its end; every file of a run is whole or not there.
    os._exit(137)


def _last_words(log: Path) -> str:
    """Returns the last line of a log that tells of an error, else its last line."""
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("error:") or "Error:" in line]
    return (errors or lines or ["it ended without a word"])[-1]
