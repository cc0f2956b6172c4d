"""Which of a table's runs may begin next, for the threads that train them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from threading import Condition

from trivium.tables.plan import Planned

_LOOK = 2.0  # seconds between looks at runs that other processes have


class Agenda:
    """Runs to do, in order; one that begins from another waits for it, one that another process has, for that."""

    def __init__(self, runs: Sequence[Planned]) -> None:
        self._waiting = list(runs)
        self._open = {run.directory.path for run in runs}  # not ended
        self._failed: set[Path] = set()
        self._closed = False
        self._changed = Condition()

    def take(self) -> Planned | None:
        """The next run that may begin, waiting until there is one; None when none is left, or after `close`."""
        with self._changed:
            while self._waiting and not self._closed:
                run = next((run for run in self._waiting if self._may_begin(run)), None)
                if run is not None:
                    self._waiting.remove(run)
                    return run
                self._changed.wait(_LOOK)
            return None

    def _may_begin(self, run: Planned) -> bool:
        waits = run.start is not None and run.start.path in self._open
        return not waits and not run.directory.in_use

    def begins_from_failed(self, run: Planned) -> bool:
        return run.start is not None and run.start.path in self._failed

    def put_back(self, run: Planned) -> None:
        """Another process was faster."""
        with self._changed:
            self._waiting.append(run)
            self._changed.notify_all()

    def ended(self, run: Planned, *, failed: bool) -> None:
        with self._changed:
            self._open.discard(run.directory.path)
            self._failed |= {run.directory.path} if failed else set()
            self._changed.notify_all()

    def close(self) -> None:
        """Nothing more is to begin."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    @property
    def elsewhere(self) -> list[Planned]:
        """Runs that wait because another process has them."""
        with self._changed:
            return [run for run in self._waiting if run.directory.in_use]
