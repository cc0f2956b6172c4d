"""Locks on files by flock: the system takes them back from a process that was killed, so that none is left behind."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

LOOK = 0.1  # seconds; `is_taken` itself holds the lock for a few microseconds of them


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Inside, no other process of this file system is; waits for the one that is."""
    with path.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def take(path: Path, wait: float = LOOK) -> IO[bytes] | None:
    """The file, made if it is not there, with its lock, which closing it gives back; None if another keeps that.

    wait: seconds to go on trying; fewer than LOOK may take a process that merely looks for one that works.
    """
    until = time.monotonic() + wait
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            file = path.open("ab")
        except FileNotFoundError:  # whoever had it has removed its folder just now
            if time.monotonic() >= until:
                raise
            continue
        if not _taken(file, until):
            file.close()
            return None
        if _is_at(path, file):
            return file
        file.close()  # whoever had it has removed it: nobody else would find this one


def is_taken(path: Path) -> bool:
    """Whether a process holds the lock now."""
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return False
    with file:  # shared, so that two who look do not take each other for one who works
        return not _flocked(file, fcntl.LOCK_SH)


def _taken(file: IO[bytes], until: float) -> bool:
    while not _flocked(file, fcntl.LOCK_EX):
        if time.monotonic() >= until:
            return False
        time.sleep(0.01)
    return True


def _flocked(file: IO[bytes], kind: int) -> bool:
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_at(path: Path, file: IO[bytes]) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False
