"""Starts processes that end with the one that started them, on every system as far as it can."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

_PR_SET_PDEATHSIG = 1


def die_with_parent(parent: int | None = None) -> None:
    """Lets this process be killed when its parent dies (on Linux), and ends it at once if that has happened already.

    A killed parent would otherwise leave workers that go on writing into a directory that somebody resumes. Nothing is
    lost: every file is whole or not there.
    parent: the id of the process that started this one, where that is known.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    # The signal tells of a death after that call alone; a process of a dead parent has another one.
    if os.name == "posix" and parent is not None and os.getppid() != parent:
        os._exit(128 + signal.SIGKILL)


def options_of_child(lock: IO[bytes] | None, ignored: tuple[signal.Signals, ...] = ()) -> dict[str, Any]:
    """Returns the options of subprocess.Popen for a process that is to end with this one.

    It has the locked file as its stdin, which all that it starts inherit, so that the lock is free when the last of
    them has ended. It gets a session of its own, so that a terminal's Ctrl-C comes to this process alone.
    ignored: signals that are never delivered to it and its children, whatever handlers these set. Windows has none of
    these.
    """
    if os.name != "posix":
        return {}
    parent = os.getpid()

    def begin() -> None:
        die_with_parent(parent)
        # SIG_IGN would not do, as torchrun sets a handler of its own.
        signal.pthread_sigmask(signal.SIG_BLOCK, ignored)

    stdin = subprocess.DEVNULL if lock is None else lock
    return {"preexec_fn": begin, "stdin": stdin, "start_new_session": True}


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
