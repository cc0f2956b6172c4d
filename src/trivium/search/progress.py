"""What a sweep says while it runs: each job as it begins and as it ends, how many are done, how long the rest takes."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from trivium.runs.directory import RunDirectory
from trivium.search.outcome import Outcome, ended, outcome
from trivium.wording import counted, duration, shortened

LOOK_EVERY = 1.0  # seconds between looks at the run directories of jobs that train elsewhere


@dataclass
class Best:
    """The best value so far and whose it is."""

    value: float
    number: int


@dataclass
class Progress:
    """what: "trial" or "job". total: of all of them. done: before this start; others' count too (`catch_up`).

    lower_is_better: of their values; None where they are not to be compared, as in a grid of seeds or of methods.
    """

    what: str
    total: int
    lower_is_better: bool | None = None
    done: int = 0
    best: Best | None = None
    clock: Callable[[], float] = time.monotonic
    say: Callable[[str], None] = lambda line: print(line, flush=True)
    outcomes: dict[int, Outcome] = field(default_factory=dict)
    _began: int = 0
    _since: float = 0.0
    _at_start: int = 0
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def __post_init__(self) -> None:
        self._since, self._at_start, self._began = self.clock(), self.done, self.done

    def catch_up(self, done: int, best: Best | None) -> None:
        """What the study knows, of the trials of other processes too."""
        with self._lock:
            self.done, self.best = done, best
            self._began = max(self._began, done)

    def begun(self, number: int, words: str) -> None:
        with self._lock:
            self._began += 1
            self.say(f"{self.what} {number}, {min(self._began, self.total)} of {self.total}{words and f': {words}'}")

    def ended(self, number: int, found: Outcome) -> None:
        """Says how a job ended, once."""
        with self._lock:
            if number in self.outcomes:
                return
            self.outcomes[number] = found
            if found.state != "running":
                self.done += 1
            if found.value is not None and self.lower_is_better is not None:
                self._compare(number, found.value)
            self.say(f"{self.what} {number}{_how(found)}{self._so_far()}")

    def _compare(self, number: int, value: float) -> None:
        sign = 1 if self.lower_is_better else -1
        if self.best is None or (sign * value, number) < (sign * self.best.value, self.best.number):
            self.best = Best(value, number)

    def _so_far(self) -> str:
        best = "" if self.best is None else f" | best {self.best.value:.5g} ({self.what} {self.best.number})"
        here, left = self.done - self._at_start, self.total - self.done
        rest = f", about {duration(left * (self.clock() - self._since) / here)} left" if here > 0 and left > 0 else ""
        return f"{best} | {min(self.done, self.total)} of {self.total} done{rest}"


def print_jobs(folder: Path, words: Mapping[int, str], outcomes: Mapping[int, Outcome]) -> None:
    """A line a job at the end of a grid. words: what is each job's own."""
    if len(words) < 2:
        return
    failed = sum(found.state == "fail" for found in outcomes.values())
    told = f"{len(words) - failed} finished{f', {failed} failed' if failed else ''}"
    print(f"\n{counted(len(words), 'job')} in {folder}: {told}")
    for number, own in words.items():
        found = outcomes[number]
        told = "failed" if found.state == "fail" else found.text
        took = "" if found.seconds is None else duration(found.seconds)
        print(f"  job {number:<4} {told:<18} {took:>6}  {own}")
    sys.stdout.flush()


@contextmanager
def watched(runs: Mapping[int, RunDirectory], metric: str, progress: Progress) -> Iterator[None]:
    """Tell `progress` of runs that end in other processes, while the launcher waits for all of them."""
    over = threading.Event()

    waiting = {n: run for n, run in runs.items() if run.finished or not ended(run)}  # not what failed before this start

    def look() -> None:
        while not over.wait(LOOK_EVERY):
            for number, run in list(waiting.items()):
                with contextlib.suppress(FileNotFoundError):  # a run that is refused takes its files back
                    if ended(run):
                        progress.ended(number, outcome(run, metric, _failure(run)))
                        del waiting[number]

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _failure(run: RunDirectory) -> str | None:
    status = str(run.record()["status"])
    return status.removeprefix("failed: ") if status.startswith("failed") else None


def _how(found: Outcome) -> str:
    took = "" if found.seconds is None else f" in {duration(found.seconds)}"
    if found.state == "fail":
        return f" failed: {shortened(found.text, 200)}"
    if found.state == "pruned":
        return f" {found.text.replace(': ', ' ', 1)}"
    return f": {found.text}{took}"
