"""Keeps a study's trials in a journal, a file with an operation a line, and checks each line that is read.

Optuna trusts the lines. A copy with a hole in it, an edited line or one of another program would end in its own words,
or in a search that goes on with nonsense.
"""

from __future__ import annotations

import mmap
from collections.abc import Generator
from pathlib import Path
from typing import Any

from filelock import FileLock
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from trivium.core.locks import refuse_without_locks
from trivium.core.structure import Expected, Keys, require

_VALUES: Expected = ([float], None)
_STUDY: dict[str, Expected] = {"worker_id": str, "study_id": int}
_TRIAL: dict[str, Expected] = {"worker_id": str, "trial_id": int}
_DATES: dict[str, Expected] = {"datetime_start": (str, None), "datetime_complete": str}
# What a line of each operation must hold, by Optuna's number of the operation.
_OPERATIONS: dict[int, Keys] = {
    0: Keys({"worker_id": str, "study_name": str, "directions": [int]}),
    1: Keys(_STUDY),
    2: Keys({**_STUDY, "user_attr": Keys()}),
    3: Keys({**_STUDY, "system_attr": Keys()}),
    4: Keys(
        {**_STUDY, "datetime_start": (str, None)},
        {
            **_DATES,
            "distributions": Keys(other=str),
            "params": Keys(other=float),
            "user_attrs": Keys(optional={"host": str}),
            "system_attrs": Keys(),
            "state": int,
            "value": (float, None),
            "values": _VALUES,
            "intermediate_values": Keys(other=float),
        },
    ),
    5: Keys({**_TRIAL, "param_name": str, "param_value_internal": float, "distribution": str}),
    6: Keys({**_TRIAL, "state": int, "values": _VALUES}, _DATES),
    7: Keys({**_TRIAL, "step": int, "intermediate_value": float}),
    8: Keys({**_TRIAL, "user_attr": Keys(optional={"host": str, "error": str})}),
    9: Keys({**_TRIAL, "system_attr": Keys()}),
    10: Keys(),
}
# What Optuna raises for lines that it does not expect; its own errors, of calls, are OptunaError.
_UNEXPECTED = (AssertionError, AttributeError, LookupError, RecursionError, TypeError, ValueError)


class Journal(JournalStorage):
    """Replays the lines of a journal. Raises ValueError, naming file and line, for one that cannot be."""

    def __init__(self, path: Path) -> None:
        self.path = path
        super().__init__(_CheckedFile(path, JournalLock(path)))

    def _sync_with_backend(self) -> None:
        try:
            super()._sync_with_backend()
        except _UNEXPECTED as error:
            if isinstance(error, KeyError) and str(error.args[0]).startswith("Record does not exist"):
                # An answer to a call, and nothing of the file's.
                raise
            line = self._replay_result.log_number_read
            # A line that could not be parsed has not been counted.
            line += 1 if isinstance(error, ValueError | RecursionError) else 0
            reason = " ".join(f"{error}".split()) or type(error).__name__
            if reason.startswith(f"{self.path}: "):
                raise
            raise ValueError(
                f"{self.path}: line {line} cannot be read ({reason:.200}); bring a whole copy of the file back, remove "
                "that line if it is the last, or delete the study's folder and search again. Its runs are whole, in "
                "folders beside it"
            ) from error


class _CheckedFile(JournalFileBackend):
    """Reads a journal's lines, and compares each with what its operation must hold.

    Raises ValueError if the file is another one than when it was opened, or shorter than what was read of it: the lines
    of two studies would mix.
    """

    def __init__(self, path: Path, lock: JournalLock) -> None:
        super().__init__(str(path), lock_obj=lock)  # type: ignore[arg-type]
        self._path, self._number = path, path.stat().st_ino

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        with self._lock:  # type: ignore[attr-defined]  # filelock's can be taken again by who has it
            self._refuse_another()
            super().append_logs(logs)

    def _refuse_another(self) -> None:
        status = self._path.stat() if self._path.is_file() else None
        read = max(self._log_number_offset.values())
        if status is None or status.st_ino != self._number or status.st_size < read:
            raise ValueError(
                f"{self._path}: the study's journal was removed, replaced or cut while this search works on it; bring "
                "it back, and start the search again"
            )

    def read_logs(self, log_number_from: int) -> Generator[dict[str, Any], None, None]:
        self._refuse_another()
        for log in super().read_logs(log_number_from):
            require(log, Keys({"op_code": int}), "")
            operation = log["op_code"]
            if operation not in _OPERATIONS:
                raise ValueError(f"op_code: expected an operation from 0 to {max(_OPERATIONS)}, found {operation}")
            require(log, _OPERATIONS[operation], "")
            yield log


class JournalLock(FileLock):
    """Lets one process at a time write a journal. The lock of a killed process is free at once.

    Optuna's own locks leave their file behind then, and others wait half a minute for it. Raises ValueError on a file
    system without locks, as the lines of several processes would mix there.
    """

    def __init__(self, journal: Path) -> None:
        lock = journal.with_name(f".{journal.name}.lock")
        refuse_without_locks(lock, "a search keeps its trials in a file there; give paths.outputs= on another disk")
        super().__init__(lock, poll_interval=0.01)
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
