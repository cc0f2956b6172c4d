"""Tells how far tables, grids and searches are: bars on a terminal, lines without control signs elsewhere."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from trivium.core.wording import duration, shortened
from trivium.runs.status import epochs_done
from trivium.search.outcome import Outcome
from trivium.search.titles import title_of

if TYPE_CHECKING:
    from trivium.search.scheduler import Job


@dataclass(frozen=True)
class Best:
    """Holds the best value so far, and the name of its job."""

    value: float
    name: str


@dataclass
class _Running:
    """Holds a job at work. before: seconds of training in earlier starts."""

    job: Job
    # Time on the reporter's clock.
    since: float
    before: float
    bar: TaskID


class Reporter:
    """Tells of each job when it begins and when it ends, with the number of ended ones and the time left.

    To be entered while jobs run. On a terminal, bars below the lines show the running jobs and their epochs.
    total: number of jobs. done: those that ended before. best: their best value, where values are to be compared;
    lower_is_better: None where they are not. time_left: for a reader, from the reporter; "" if it is not known.
    bars: False where the runs draw on the same terminal.
    """

    def __init__(
        self,
        total: int,
        *,
        done: int = 0,
        best: Best | None = None,
        lower_is_better: bool | None = None,
        time_left: Callable[[Reporter], str] | None = None,
        bars: bool = True,
        console: Console | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.outcomes: dict[str, Outcome] = {}
        self._total, self._done, self._done_at_start = total, done, done
        self._best, self._lower_is_better = best, lower_is_better
        self._time_left, self._clock, self._start = time_left or Reporter._time_left_by_rate, clock, clock()
        self._running: dict[str, _Running] = {}
        self._told_elsewhere: set[str] = set()
        self._lock = threading.RLock()
        self._console = console or Console(highlight=False)
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(16),
            TextColumn("{task.fields[state]}", markup=False),
        )
        shown = bars and self._console.is_terminal and total > done
        self._bars = Progress(*columns, console=self._console, transient=True, disable=not shown)
        self._all_jobs = self._bars.add_task("all", total=total, state="")

    def __enter__(self) -> Reporter:
        self._bars.start()
        self.look()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def say(self, text: str) -> None:
        """Prints a line: cut at the width of a terminal, whole elsewhere."""
        if self._console.is_terminal:
            self._console.print(text, markup=False, highlight=False, no_wrap=True, overflow="ellipsis")
        else:
            self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def catch_up(self, done: int, best: Best | None) -> None:
        """Takes over what a study knows, including the trials of other processes."""
        with self._lock:
            self._done, self._best = done, best

    def begins(self, job: Job, before: float | None = None) -> None:
        """Tells that a job begins. before: seconds of training in earlier starts, None if it begins anew."""
        with self._lock:
            if self._bars.disable:
                settings = f": {title_of(job.varied)}" if job.varied else ""
                self.say(f"{self._count()} {job.name} {'begins' if before is None else 'goes on'}{settings}")
            # It is there already if another process was faster at first.
            known = self._running.get(job.name)
            bar = known.bar if known else self._bars.add_task(f"  {job.name}", total=job.epochs or None, state="")
            self._running[job.name] = _Running(job, self._clock(), before or 0.0, bar)
            self.look()

    def ends(self, name: str, outcome: Outcome) -> None:
        """Tells how a job ended, once."""
        with self._lock:
            if name in self.outcomes:
                return
            self.outcomes[name] = outcome
            self._done += outcome.state != "running"
            if outcome.value is not None and self._lower_is_better is not None:
                sign = 1 if self._lower_is_better else -1
                if self._best is None or sign * outcome.value < sign * self._best.value:
                    self._best = Best(outcome.value, name)
            running = self._running.pop(name, None)
            if running is not None:
                self._bars.remove_task(running.bar)
            best = "" if self._best is None else f"; best {self._best.value:.5g} ({self._best.name})"
            self.say(f"{self._count()} {name}: {_in_words(outcome)}{best}{self.left()}")
            self.look()

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Shows a part of this process's own work on a terminal while it lasts, and counts it; no line of it stays."""
        bar = self._bars.add_task(f"  {name}", total=None, state="")
        yield
        with self._lock:
            self._bars.remove_task(bar)
            self._done += 1
            self.look()

    def look(self, elsewhere: Sequence[str] = ()) -> None:
        """Reads how far the running jobs are. elsewhere: jobs whose runs other processes have."""
        with self._lock:
            for name in elsewhere:
                if name not in self._told_elsewhere:
                    self.say(f"{name}: another process has it; waiting for that")
                self._told_elsewhere.add(name)
            if self._bars.disable:
                return
            for running in self._running.values():
                epochs = epochs_done(running.job.run)
                of = f" of {running.job.epochs}" if running.job.epochs else ""
                state = f"epoch {epochs}{of}, {duration(self._clock() - running.since)}"
                self._bars.update(running.bar, completed=epochs, state=state)
            self._bars.update(self._all_jobs, completed=self._done, state=f"{self._done} of {self._total}{self.left()}")

    @property
    def running(self) -> Mapping[Path, float]:
        """Returns the runs at work, each with the seconds that it has trained for, those of earlier starts included."""
        now = self._clock()
        return {entry.job.run.path: now - entry.since + entry.before for entry in self._running.values()}

    def left(self) -> str:
        """Returns the time left as the end of a line, "" where nothing is left or nothing tells."""
        words = self._time_left(self)
        return f"; time left: {words}" if words else ""

    def _time_left_by_rate(self) -> str:
        """Returns the time left if jobs go on to end as often as since the start."""
        ended, left = self._done - self._done_at_start, self._total - self._done
        return duration(left * (self._clock() - self._start) / ended) if ended > 0 and left > 0 else ""

    def _count(self) -> str:
        return f"[{min(self._done, self._total)}/{self._total}]"


def _in_words(outcome: Outcome) -> str:
    if outcome.state == "fail":
        return f"FAILED: {shortened(outcome.text, 200)}"
    if outcome.state == "complete":
        seconds = "" if outcome.seconds is None else duration(outcome.seconds)
        return ", ".join(word for word in (outcome.text, seconds) if word)
    return outcome.text.replace("pruned: ", "pruned ", 1)
