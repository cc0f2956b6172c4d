"""How long what is left of a table will take, as finished runs took."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from trivium.results.records import read_rows
from trivium.tables.finished import Took
from trivium.tables.plan import Planned
from trivium.wording import counted, duration


@dataclass(frozen=True)
class Left:
    """seconds: None if nothing tells. guessed: of how many runs by others than their own row's on the same data."""

    seconds: float | None
    guessed: int = 0

    def __str__(self) -> str:
        if self.seconds is None:
            return "not known before a run of this table, or one of its methods, has ended"
        guessed = f", guessed for {counted(self.guessed, 'run')}" if self.guessed else ""
        return f"{duration(self.seconds)}{guessed}"


@dataclass
class Estimate:
    """elsewhere: finished runs that need not be of the table."""

    elsewhere: Sequence[Took] = ()
    _own: dict[Path, tuple[str, str, float]] = field(
        default_factory=dict
    )  # run -> row, data, seconds per epoch allowed

    def learn(self, runs: Iterable[Planned]) -> None:
        """From those that are finished, each once."""
        for run in runs:
            if run.directory.path not in self._own and run.directory.finished:
                each = float(run.result()["seconds"]) / run.epochs
                self._own[run.directory.path] = (run.row.label, _data(run), each)

    def of(self, run: Planned) -> tuple[float | None, bool]:
        """Seconds of a whole run, and whether they are those of its row on the same data.

        Else of its row on other features of the data set, of its method on the data set anywhere, of its row on other
        data, of its method, of any of the table: means, for as many epochs as it may have.
        """
        own, row, data = self._own.values(), run.row.label, _data(run)
        here = _mean(each for label, its, each in own if (label, its) == (row, data))
        others = (
            _mean(each for label, its, each in own if (label, its.partition("/")[0]) == (row, run.data)),
            _mean(one.epoch_seconds for one in self.elsewhere if (one.method, one.data) == (run.method, run.data)),
            _mean(each for label, _, each in own if label == row),
            _mean(one.epoch_seconds for one in self.elsewhere if one.method == run.method),
            _mean(each for _, _, each in own),
        )
        each = next((seconds for seconds in (here, *others) if seconds is not None), None)
        return None if each is None else each * run.epochs, here is not None

    def left(self, runs: Sequence[Planned], jobs: int, begun: Mapping[Path, float] | None = None) -> Left:
        """Of the runs that are not finished and have data. begun: run -> seconds for which it has been running."""
        self.learn(runs)
        seconds, guessed = 0.0, 0
        for run in runs:
            if run.directory.finished or run.lacking:
                continue
            whole, own = self.of(run)
            if whole is None:
                return Left(None)
            seconds += max(0.0, whole - (begun or {}).get(run.directory.path, trained(run.directory.path)))
            guessed += not own
        return Left(seconds / jobs, guessed)


def trained(run: Path) -> float:
    """Seconds for which an unfinished run was trained before, up to its last whole epoch."""
    rows = _epochs(run)
    return float(rows[-1].get("seconds") or 0) if rows else 0.0


def epochs_done(run: Path) -> int:
    return len(_epochs(run))


def _epochs(run: Path) -> list[dict[str, str]]:
    file = run / "metrics.csv"
    return read_rows(file) if file.is_file() else []


def _data(run: Planned) -> str:
    return run.table.data or run.data


def _mean(values: Iterable[float]) -> float | None:
    found = list(values)
    return sum(found) / len(found) if found else None
