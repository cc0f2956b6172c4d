"""Where a study's trials are kept: a journal file, or a database by its URL."""

from __future__ import annotations

import fcntl
import os
import re
from pathlib import Path
from typing import IO

from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend


class JournalLock:
    """One writer of a journal at a time, by flock: the system takes it back from a process that was killed.

    (Optuna's own leaves its lock file behind then, and others wait half a minute for it.)
    """

    def __init__(self, journal: Path) -> None:
        self._journal, self._file = journal, journal.with_name(f".{journal.name}.lock")
        self._held: IO[bytes] | None = None

    def acquire(self) -> bool:
        held = self._file.open("ab")
        fcntl.flock(held, fcntl.LOCK_EX)
        self._held = held
        self._drop_torn_line()
        return True

    def release(self) -> None:
        if self._held is not None:
            self._held.close()
            self._held = None

    def _drop_torn_line(self) -> None:
        """What a process was writing when it was killed: the last line, if it has no end. Another would run into it."""
        if not self._journal.is_file():
            return
        with self._journal.open("rb+") as file:
            size = file.seek(0, os.SEEK_END)
            end = size
            while end:
                begin = max(0, end - 4096)
                file.seek(begin)
                at = file.read(end - begin).rfind(b"\n")
                if at >= 0:
                    end = begin + at + 1
                    break
                end = begin
            if end != size:
                file.truncate(end)


def open_storage(url: str) -> BaseStorage:
    """A journal for the path of a file, a database for a URL. Raises ValueError if it cannot be opened."""
    if "://" not in url:
        path = Path(url)
        path.parent.mkdir(parents=True, exist_ok=True)
        return JournalStorage(JournalFileBackend(str(path), lock_obj=JournalLock(path)))  # type: ignore[arg-type]
    try:
        return RDBStorage(url, engine_kwargs={"connect_args": {"timeout": 60}} if url.startswith("sqlite") else None)
    except Exception as error:  # of SQLAlchemy or the database's driver: a wrong URL, or no such server
        first = str(error).strip().splitlines()[0]
        raise ValueError(f"hydra.sweeper.storage: {without_password(url)} cannot be opened: {first}") from error


def without_password(url: str) -> str:
    """The URL to be shown."""
    return re.sub(r"(://[^:/@]*):[^@]*@", r"\1:***@", url)
