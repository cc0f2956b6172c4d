"""Opens the storage of a study's trials: a journal file, or a database by its URL."""

from __future__ import annotations

import functools
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage, RDBStorage

from trivium.search.journal import Journal

# Seconds that a search waits for a database whose server is away (restarted, say), and between two attempts.
PATIENCE, PAUSE = 300.0, 1.0
# What may be asked again when the server went away meanwhile: it reads, or writes a value that then stands as it does.
_REPEATABLE = (
    *("set_study_user_attr", "set_study_system_attr", "get_study_id_from_name", "get_study_name_from_id"),
    *("get_study_directions", "get_study_user_attrs", "get_study_system_attrs", "get_all_studies"),
    *("set_trial_param", "set_trial_state_values", "set_trial_intermediate_value"),
    *("set_trial_user_attr", "set_trial_system_attr", "get_trial", "get_trial_param", "_get_trials"),
    *("get_trial_id_from_study_id_trial_number", "get_best_trial"),
)


class Database(RDBStorage):
    """Keeps trials in a database, and waits for one whose server goes away while a search runs.

    A new trial is not asked for twice, as the first one may be there already (study.py asks again).
    """

    def __init__(self, url: str) -> None:
        # A connection that the server has closed meanwhile is replaced before it is used.
        options: dict[str, Any] = {"pool_pre_ping": True}
        if url.startswith("sqlite"):
            options["connect_args"] = {"timeout": 60}
        super().__init__(url, engine_kwargs=options)


def _waits_for_the_server(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def call(storage: Database, *args: Any, **options: Any) -> Any:
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                return method(storage, *args, **options)
            except StorageInternalError as error:
                if not lost_server(error):
                    raise
                if time.monotonic() > deadline:
                    raise ValueError(_silence(storage.url, error)) from error
            time.sleep(PAUSE)

    return call


for _name in _REPEATABLE:
    setattr(Database, _name, _waits_for_the_server(getattr(RDBStorage, _name)))


def lost_server(error: BaseException) -> bool:
    """Tells whether an error means that the database's server went away or cannot be reached."""
    from sqlalchemy.exc import DBAPIError

    cause = error.__cause__ if isinstance(error, StorageInternalError) else error
    # An error while connecting has no statement.
    return isinstance(cause, DBAPIError) and (cause.connection_invalidated or cause.statement is None)


def open_storage(url: str, patience: float = 0.0) -> BaseStorage:
    """Returns a journal for the path of a file, a database for a URL.

    patience: seconds to wait for a database whose server is away. Raises ValueError if the storage cannot be opened.
    """
    if "://" not in url:
        path = Path(url)
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and not path.is_file():
            raise ValueError(f"{path}: expected a journal of trials, found no file")
        return Journal(path)
    deadline = time.monotonic() + patience
    while True:
        try:
            return Database(url)
        except Exception as error:
            # SQLAlchemy or the database's driver raises it: a wrong URL, a missing package, or no such server.
            if not lost_server(error) or time.monotonic() >= deadline:
                raise ValueError(_cannot_be_opened(url, error)) from error
        time.sleep(PAUSE)


def _cannot_be_opened(url: str, error: Exception) -> str:
    if isinstance(error, ImportError):
        module = getattr(error.__cause__, "name", None) or "of its driver"
        advice = "install the package that has it"
        if module.startswith("psycopg"):
            advice = "pip install 'trivium[postgresql]', and begin the URL with postgresql+psycopg://"
        return f"hydra.sweeper.storage: {without_password(url)} needs the Python module {module}; {advice}"
    return f"hydra.sweeper.storage: {without_password(url)} cannot be opened: {_reason(error)}"


def _silence(url: str, error: Exception) -> str:
    return (
        f"hydra.sweeper.storage: {without_password(url)} has not answered for {PATIENCE / 60:.0f} min "
        f"({_reason(error.__cause__ or error)}); start the search again when it does"
    )


def _reason(error: BaseException) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__


def without_password(url: str) -> str:
    """Returns the URL as it may be shown."""
    return re.sub(r"(://[^:/@]*):[^@]*@", r"\1:***@", url)
