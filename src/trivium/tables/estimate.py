"""Estimates how long the rest of a table takes, from the times of finished runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from trivium.core.wording import counted, duration
from trivium.results.sections import name_of
from trivium.runs.status import trained_seconds
from trivium.tables.finished import Took
from trivium.tables.plan import Planned


@dataclass(frozen=True)
class Left:
    """Holds the time left.

    seconds: None if no finished run is comparable. guessed: number of runs whose time comes from other rows or data.
    """

    seconds: float | None
    guessed: int = 0

    def __str__(self) -> str:
        if self.seconds is None:
            return "not known before a run of this table, or one of its methods, has ended"
        guessed = f", guessed for {counted(self.guessed, 'run')}" if self.guessed else ""
        return f"{duration(self.seconds)}{guessed}"


@dataclass
class Estimate:
    """Estimates times. elsewhere: finished runs, of the table or not."""

    elsewhere: Sequence[Took] = ()
    # run -> row, data, seconds per epoch allowed
    _of_table: dict[Path, tuple[str, str, float]] = field(default_factory=dict)

    def learn(self, runs: Iterable[Planned]) -> None:
        """Takes in the times of those that are finished, each once."""
        for run in runs:
            if run.directory.path not in self._of_table and run.directory.finished:
                each = float(run.result()["seconds"]) / run.epochs
                self._of_table[run.directory.path] = (run.row.label, _data(run), each)

    def of(self, run: Planned) -> tuple[float | None, bool]:
        """Returns the seconds of a whole run, and whether they come from its row on the same data.

        Otherwise they are the mean, for as many epochs as the run may have, of the first of these that has finished
        runs: its row on other features of the data set; its method on the data set, anywhere; its row on other data;
        its method; any row of the table.
        """
        known, row, data = self._of_table.values(), run.row.label, _data(run)
        same = _mean(each for label, on, each in known if (label, on) == (row, data))
        others = (
            _mean(each for label, on, each in known if (label, name_of(on)) == (row, run.data)),
            _mean(
                other.epoch_seconds for other in self.elsewhere if (other.method, other.data) == (run.method, run.data)
            ),
            _mean(each for label, _, each in known if label == row),
            _mean(other.epoch_seconds for other in self.elsewhere if other.method == run.method),
            _mean(each for _, _, each in known),
        )
        each = next((seconds for seconds in (same, *others) if seconds is not None), None)
        return None if each is None else each * run.epochs, same is not None

    def left(self, runs: Sequence[Planned], jobs: int, begun: Mapping[Path, float] | None = None) -> Left:
        """Returns the time of the runs that are not finished and have data, `jobs` at once.

        begun: running run -> seconds that it has trained for.
        """
        self.learn(runs)
        seconds, guessed = 0.0, 0
        for run in runs:
            if run.directory.finished or run.lacking:
                continue
            whole, of_row = self.of(run)
            if whole is None:
                return Left(None)
            path = run.directory.path
            trained = begun[path] if begun and path in begun else trained_seconds(run.directory)
            seconds += max(0.0, whole - trained)
            guessed += not of_row
        return Left(seconds / jobs, guessed)


def _data(run: Planned) -> str:
    return run.table.section or run.data


def _mean(values: Iterable[float]) -> float | None:
    numbers = list(values)
    return sum(numbers) / len(numbers) if numbers else None
