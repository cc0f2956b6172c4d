"""Opens the storage of a study's trials: a journal file, or a database by its URL."""

from __future__ import annotations

import mmap
import re
from pathlib import Path
from typing import Any

from filelock import FileLock
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend


class JournalLock(FileLock):
    """Lets one process at a time write a journal. The lock of a killed process is free at once.

    Optuna's own locks leave their file behind then, and others wait half a minute for it.
    """

    def __init__(self, journal: Path) -> None:
        super().__init__(journal.with_name(f".{journal.name}.lock"), poll_interval=0.01)
        self._journal = journal

    def acquire(self, *args: Any, **options: Any) -> Any:
        proxy = super().acquire(*args, **options)
        _drop_torn_line(self._journal)
        return proxy


def _drop_torn_line(journal: Path) -> None:
    """Cuts off a last line without an end, which a process was writing when it was killed: the next would join it."""
    if not journal.is_file() or journal.stat().st_size == 0:
        return
    with journal.open("rb+") as file:
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as text:
            size, end = len(text), text.rfind(b"\n") + 1
        if end != size:
            file.truncate(end)


def open_storage(url: str) -> BaseStorage:
    """Returns a journal for the path of a file, a database for a URL. Raises ValueError if it cannot be opened."""
    if "://" not in url:
        path = Path(url)
        path.parent.mkdir(parents=True, exist_ok=True)
        return JournalStorage(JournalFileBackend(str(path), lock_obj=JournalLock(path)))  # type: ignore[arg-type]
    try:
        return RDBStorage(url, engine_kwargs={"connect_args": {"timeout": 60}} if url.startswith("sqlite") else None)
    except Exception as error:
        # SQLAlchemy or the database's driver raises it: a wrong URL, or no such server.
        first = str(error).strip().splitlines()[0]
        raise ValueError(f"hydra.sweeper.storage: {without_password(url)} cannot be opened: {first}") from error


def without_password(url: str) -> str:
    """Returns the URL as it may be shown."""
    return re.sub(r"(://[^:/@]*):[^@]*@", r"\1:***@", url)
