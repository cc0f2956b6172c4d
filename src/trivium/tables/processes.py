"""Runs in processes of their own that need not import torch again: a server imports all once and is forked."""

from __future__ import annotations

import functools
import multiprocessing
import os
import runpy
import signal
import sys
import time
from collections.abc import Sequence
from multiprocessing import resource_tracker
from multiprocessing.connection import wait
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path
from threading import Lock, Thread

from trivium.config.compose import CONFIGS

TRAIN = CONFIGS.parent / "train.py"
_THREADS = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


class RunFailedError(RuntimeError):
    """train.py ended with another exit code than 0. Its message is empty where the log tells more."""


class Trainings:
    """Processes of train.py, started from any thread and ended together."""

    def __init__(self) -> None:
        self._processes: set[ForkServerProcess] = set()
        self._stopped = False
        self._lock = (
            Lock()
        )  # starting a process asks all others for their exit codes, each of which can be read but once

    def train(self, arguments: Sequence[str], log: Path) -> None:
        """`python train.py ARGUMENTS`, all that it says appended to `log`; returns when it has ended.

        The run ends with this process, to be resumed. Raises RunFailedError if the exit code is not 0.
        """
        with self._lock:
            if self._stopped:
                raise RunFailedError("stopped before it began")
            process = _context().Process(target=_train, args=(list(arguments), log))
            # The server, which the first run starts, imports for seconds and would answer Ctrl-C with a traceback
            resource_tracker.ensure_running()  # started with the server it would lift the mask
            mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
            try:
                process.start()
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            self._processes.add(process)
        wait([process.sentinel])
        with self._lock:
            process.join()
            self._processes.discard(process)
        if process.exitcode:
            ended_by_itself = process.exitcode > 0
            raise RunFailedError("" if ended_by_itself else f"killed by signal {-process.exitcode}")

    def stop(self) -> None:
        """End all processes and let none begin; nothing is lost by it, as every file of a run is whole or not there.

        Of a terminal's Ctrl-C they know already, and are given a moment to write that they were interrupted.
        """
        with self._lock:
            self._stopped = True
            self._wait(1.0)
            for process in self._running():
                process.terminate()
            self._wait(5.0)
            for process in self._running():
                process.kill()
            self._wait(5.0)

    def _running(self) -> list[ForkServerProcess]:
        return [process for process in self._processes if process.is_alive()]

    def _wait(self, seconds: float) -> None:
        """Until all have ended, or for so long."""
        until = time.monotonic() + seconds
        for process in self._running():
            wait([process.sentinel], max(0.0, until - time.monotonic()))


@functools.cache
def _context() -> ForkServerContext:
    """torch's threads are counted when it is imported, so the server has to know first; the children inherit it."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["trivium.runs.train", "trivium.config.check"])
    os.environ.update(_THREADS)
    return context


def _train(arguments: list[str], log: Path) -> None:
    """In the child, which is the server's: the system tells it of the server's death, a pipe of the table's.

    (Each child holds the server's own pipe open, so that the server outlives the table as long as one runs.)
    """
    from trivium.runs.launch import die_with_parent

    die_with_parent()
    Thread(target=_die_with_table, daemon=True).start()
    output = os.open(log, os.O_WRONLY | os.O_APPEND)
    os.dup2(output, 1)
    os.dup2(output, 2)
    sys.stdout, sys.stderr = (os.fdopen(fd, "w", buffering=1, closefd=False) for fd in (1, 2))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})  # what it brings goes to the log from here on
    sys.argv = [str(TRAIN), *arguments]
    runpy.run_path(str(TRAIN), run_name="__main__")


def _die_with_table() -> None:
    """Nothing is lost by it: every file of a run is whole or not there."""
    table = multiprocessing.parent_process()
    assert table is not None
    wait([table.sentinel])
    os.kill(os.getpid(), signal.SIGKILL)
