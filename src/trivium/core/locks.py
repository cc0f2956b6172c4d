"""Locks on files, by the library filelock. The system frees the lock of a process that is killed: none is left behind.

All of them are flock on Unix, so that runs, tables and searches see each other's.
"""

from __future__ import annotations

import fcntl
import os
import time
from contextlib import AbstractContextManager
from pathlib import Path
from typing import IO

from filelock import FileLock, lock_descriptor

LOOK = 0.1  # seconds; `is_taken` holds the lock for a few microseconds of them
_PAUSE = 0.01  # seconds between attempts


def alone(path: Path) -> AbstractContextManager[object]:
    """Returns a context in which no other process of this file system is; entering waits for the one that is."""
    return FileLock(path, poll_interval=_PAUSE)


def take(path: Path, wait: float = LOOK) -> IO[bytes] | None:
    """Returns the file with its lock, which closing it releases, or None if another process has the lock.

    The file is made if it is not there. wait: seconds to try for. With less than LOOK, a process that merely looks may
    be taken for one that works.
    """
    # A FileLock closes its descriptor in every forked child. torchrun, started by fork, has to get a run's descriptor
    # (runs/launch.py), so the file is opened here and filelock only locks it.
    until = time.monotonic() + wait
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            file = path.open("ab")
        except FileNotFoundError:  # the process that had it has removed its folder just now
            if time.monotonic() >= until:
                raise
            continue
        if lock_descriptor(file.fileno(), blocking=False):
            if os.fstat(file.fileno()).st_nlink:
                return file
            file.close()  # removed meanwhile: no other process would see this lock
            continue
        file.close()
        if time.monotonic() >= until:
            return None
        time.sleep(_PAUSE)


def is_taken(path: Path) -> bool:
    """Returns whether a process has the lock now. Neither makes the file nor needs to write it."""
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return False
    with file:
        # Shared, which filelock has not, so that two that look do not take each other for one that works.
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False
