"""Locks files by the library filelock. The system frees the lock of a process that is killed, so none is left behind.

On Unix all of them are flock, so that runs, tables and searches see each other's locks.
"""

from __future__ import annotations

import errno
import os
import stat
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
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
# What flock says on file systems that have no locks (some network and user-space ones).
_WITHOUT_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP}


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Lets one process at a time be in the block; entering it waits until the other process has left.

    Where the file system has no locks it warns, and goes on without.
    """
    if not _has_locks(path):
        _warn_of(path.parent)
        yield
        return
    with FileLock(path, poll_interval=_PAUSE):
        yield


def refuse_without_locks(path: Path, reason: str) -> None:
    """Raises ValueError if the file system of a lock's folder has no locks. reason: why they are needed, what to do."""
    if not _has_locks(path):
        raise ValueError(f"{path.parent}: its file system grants no locks (flock), and {reason}")


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
            file = _open(path)
        except FileNotFoundError:
            # The process that had the lock has just removed the folder.
            if time.monotonic() >= deadline:
                raise
            continue
        try:
            locked = lock_descriptor(file.fileno(), blocking=False)
        except OSError as error:
            if error.errno not in _WITHOUT_LOCKS:
                file.close()
                raise
            _warn_of(path.parent)
            return file
        if locked:
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
        file = _open(path, writable=False)
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
        except OSError as error:
            if error.errno not in _WITHOUT_LOCKS:
                raise
    return False


def _open(path: Path, *, writable: bool = True) -> IO[bytes]:
    """Opens a lock's file, and makes it if it is to be written. Raises ValueError if something else has its name."""
    # A pipe in its place would be waited for without end.
    waits = getattr(os, "O_NONBLOCK", 0)
    flags = os.O_RDWR | os.O_CREAT | os.O_APPEND if writable else os.O_RDONLY
    try:
        number = os.open(path, flags | waits, 0o666)
    except IsADirectoryError:
        raise ValueError(_no_file(path)) from None
    if not stat.S_ISREG(os.fstat(number).st_mode):
        os.close(number)
        raise ValueError(_no_file(path))
    return os.fdopen(number, "ab" if writable else "rb")


def _no_file(path: Path) -> str:
    return f"{path}: expected a file that is locked, found something else; remove it"


def _has_locks(path: Path) -> bool:
    path.parent.mkdir(parents=True, exist_ok=True)
    with _open(path) as file:
        try:
            lock_descriptor(file.fileno(), blocking=False)
        except OSError as error:
            if error.errno in _WITHOUT_LOCKS:
                return False
            raise
    return True


def _warn_of(folder: Path) -> None:
    warnings.warn(
        f"{folder}: its file system grants no locks (flock), so that nobody sees that this process works there: start "
        "no second one on it, or give a folder on another disk",
        stacklevel=3,
    )


def _can_lock(path: Path) -> bool:
    """Tells whether the lock can be had, by having it for a moment."""
    lock = FileLock(path, blocking=False)
    try:
        lock.acquire()
    except Timeout:
        return False
    lock.release()
    return True
