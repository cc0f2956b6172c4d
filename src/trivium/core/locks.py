"""Locks files by the library filelock. The system frees the lock of a process that is killed, so none is left behind.

On Unix all of them are flock, so that runs, tables and searches see each other's locks.
"""

from __future__ import annotations

import os
import time
from contextlib import AbstractContextManager
from pathlib import Path
from typing import IO

from filelock import FileLock, Timeout, lock_descriptor

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

# Seconds to try for a lock that should be free: `is_taken` in another process holds it for a few microseconds.
SHORT_WAIT = 0.1
# Seconds between attempts.
_PAUSE = 0.01


def alone(path: Path) -> AbstractContextManager[object]:
    """Returns a context that one process at a time can be in; entering it waits until the other process has left."""
    return FileLock(path, poll_interval=_PAUSE)


def take(path: Path, wait: float = SHORT_WAIT) -> IO[bytes] | None:
    """Returns the locked file, which is unlocked by closing it, or None if another process has the lock.

    The file is made if it does not exist. wait: seconds to try for. With less than SHORT_WAIT, a process that only
    calls `is_taken` could be mistaken for one that has the lock.
    """
    # A FileLock closes its descriptor in every forked child. torchrun is started by fork and has to inherit a run's
    # descriptor (runs/launch.py), so the file is opened here and filelock only locks it.
    deadline = time.monotonic() + wait
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            file = path.open("ab")
        except FileNotFoundError:
            # The process that had the lock has just removed the folder.
            if time.monotonic() >= deadline:
                raise
            continue
        if lock_descriptor(file.fileno(), blocking=False):
            if os.fstat(file.fileno()).st_nlink:
                return file
            # The file was removed meanwhile, so no other process would see this lock.
            file.close()
            continue
        file.close()
        if time.monotonic() >= deadline:
            return None
        time.sleep(_PAUSE)


def is_taken(path: Path) -> bool:
    """Tells whether a process has the lock now. Neither makes the file nor needs the right to write it."""
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return False
    with file:
        if fcntl is None:
            return not _can_lock(path)
        # A shared lock, which filelock does not have: two processes that ask at once must not block each other.
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _can_lock(path: Path) -> bool:
    """Tells whether the lock can be had, by having it for a moment."""
    lock = FileLock(path, blocking=False)
    try:
        lock.acquire()
    except Timeout:
        return False
    lock.release()
    return True
