"""Starts processes that end with the one that started them, on every system as far as it can."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

_PR_SET_PDEATHSIG = 1


def die_with_parent() -> None:
    """Lets this process be killed when its parent dies (on Linux).

    A killed parent would otherwise leave workers that go on writing into a directory that somebody resumes. Nothing is
    lost: every file is whole or not there.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def options_of_child(lock: IO[bytes] | None, ignored: tuple[signal.Signals, ...] = ()) -> dict[str, Any]:
    """Returns the options of subprocess.Popen for a process that is to end with this one.

    It inherits the lock, and gets a session of its own, so that a terminal's Ctrl-C comes to this process alone.
    ignored: signals that it and its children ignore. Windows has none of these.
    """
    if os.name != "posix":
        return {}

    def begin() -> None:
        die_with_parent()
        for number in ignored:
            signal.signal(number, signal.SIG_IGN)

    inherited = () if lock is None else (lock.fileno(),)
    return {"preexec_fn": begin, "pass_fds": inherited, "start_new_session": True}


@contextmanager
def ctrl_c_waits() -> Iterator[None]:
    """Lets Ctrl-C wait until the end of the block, for this process and for those that are started in it.

    Does nothing where signals cannot be masked (Windows).
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def take_ctrl_c() -> None:
    """Lets this process, which was started in `ctrl_c_waits`, get Ctrl-C from now on."""
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
