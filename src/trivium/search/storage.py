"""Opens the storage of a study's trials: a journal file, or a database by its URL."""

from __future__ import annotations

import re
from pathlib import Path

from optuna.storages import BaseStorage, RDBStorage

from trivium.search.journal import Journal


def open_storage(url: str) -> BaseStorage:
    """Returns a journal for the path of a file, a database for a URL. Raises ValueError if it cannot be opened."""
    if "://" not in url:
        path = Path(url)
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and not path.is_file():
            raise ValueError(f"{path}: expected a journal of trials, found no file")
        return Journal(path)
    try:
        return RDBStorage(url, engine_kwargs={"connect_args": {"timeout": 60}} if url.startswith("sqlite") else None)
    except Exception as error:
        # SQLAlchemy or the database's driver raises it: a wrong URL, or no such server.
        first = str(error).strip().splitlines()[0]
        raise ValueError(f"hydra.sweeper.storage: {without_password(url)} cannot be opened: {first}") from error


def without_password(url: str) -> str:
    """Returns the URL as it may be shown."""
    return re.sub(r"(://[^:/@]*):[^@]*@", r"\1:***@", url)
