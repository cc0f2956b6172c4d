"""How far a table is, told while it is made: bars on a terminal, lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, TaskID, TextColumn
from rich.progress import Progress as Bars

from trivium.tables.estimate import Estimate, Left, epochs_done
from trivium.tables.plan import Planned
from trivium.wording import duration


class Progress:
    """To be entered while runs are made. What has ended stays as a line each; bars below say what runs now."""

    def __init__(self, runs: Sequence[Planned], jobs: int, estimate: Estimate, console: Console | None = None) -> None:
        self._runs, self._jobs, self._estimate = list(runs), jobs, estimate
        self._console = console or Console(soft_wrap=True, highlight=False)
        self._todo = [run for run in runs if run.status not in ("done", "no data")]
        self._ended = 0
        self._begun: dict[Path, float] = {}
        self._trained: dict[Path, float] = {}
        self._tasks: dict[Path, TaskID] = {}
        self._waited: set[Path] = set()
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(24),
            TextColumn("{task.fields[said]}", markup=False),
        )
        self._bars = Bars(*columns, console=self._console, transient=True, disable=not self._console.is_terminal)
        self._all: TaskID | None = None

    def __enter__(self) -> Progress:
        done = sum(run.directory.finished for run in self._runs)
        self._say(f"{done} of {len(self._runs)} runs are done{self._left()}")
        if self._todo:
            self._bars.start()
            self._all = self._bars.add_task("runs", total=len(self._todo), said="")
            self.look()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def begins(self, run: Planned, at: float, trained: float) -> None:
        """at: by the monotonic clock; what is told here may have been a while ago. trained: seconds before that."""
        path = run.directory.path
        self._begun[path], self._trained[path] = at, trained
        if self._bars.disable:
            self._say(f"{self._count()} {run.name}: {'goes on' if trained else 'begins'}")
        if path not in self._tasks:  # it is there if another process was faster at first
            self._tasks[path] = self._bars.add_task(f"  {run.name}", total=run.epochs, said="")
        self.look()

    def ends(self, run: Planned, at: float, said: str = "", *, failed: bool = False) -> None:
        """said: how, where it is not enough to say how long it took."""
        self._ended += 1
        took = duration(at - self._begun.pop(run.directory.path, at))
        if run.directory.path in self._tasks:
            self._bars.remove_task(self._tasks.pop(run.directory.path))
        if failed:
            self._runs.remove(run)  # no time is needed for it
        self._say(f"{self._count()} {run.name}: {said or took}{self._left()}")
        self.look()

    def look(self, elsewhere: Sequence[Planned] = ()) -> None:
        """Read how far the runs are. elsewhere: those that another process has."""
        for run in elsewhere:
            if run.directory.path not in self._waited:
                self._say(f"{run.name}: another process has it; waiting for that")
            self._waited.add(run.directory.path)
        if self._bars.disable or self._all is None:
            return
        for run in self._todo:
            task = self._tasks.get(run.directory.path)
            if task is not None:
                epochs, since = epochs_done(run.directory.path), self._begun[run.directory.path]
                said = f"epoch {epochs} of {run.epochs}, {duration(time.monotonic() - since)}"
                self._bars.update(task, completed=epochs, said=said)
        left = self._remaining()
        said = f", time left: {duration(left.seconds)}" if left.seconds else ""
        self._bars.update(self._all, completed=self._ended, said=f"{self._ended} of {len(self._todo)}{said}")

    def _count(self) -> str:
        return f"[{self._ended}/{len(self._todo)}]"

    def _left(self) -> str:
        left = self._remaining()
        return "" if left.seconds == 0 else f"; time left: {left}"

    def _remaining(self) -> Left:
        now = time.monotonic()
        begun = {path: now - since + self._trained[path] for path, since in self._begun.items()}
        return self._estimate.left(self._runs, self._jobs, begun)

    def _say(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False)
