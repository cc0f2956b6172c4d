"""Reads a search's folder (written by trivium.search.summary): trials.csv, one row a trial, and best.json."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from trivium.core.structure import Keys, parse_json, require
from trivium.results.score_text import kind_of
from trivium.runs.run_files import read_rows

FILE = "trials.csv"
_NO_PARAMETERS = ("number", "state", "value", "seconds", "run", "error")


@dataclass(frozen=True)
class Trial:
    """Holds a line of trials.csv. value: of the objective, NaN before there is one. parameters: name -> text."""

    number: int
    state: str
    value: float
    seconds: float
    parameters: dict[str, str] = field(repr=False)
    run: str = ""

    @property
    def complete(self) -> bool:
        return self.state.lower().startswith("complete") and math.isfinite(self.value)


@dataclass(frozen=True)
class SearchFolder:
    """Holds a search's trials. objective: such as val/loss. command: trains a run with the best trial's parameters.

    Both are "" before a trial is complete.
    """

    path: Path
    trials: tuple[Trial, ...]
    objective: str = ""
    command: str = ""

    @property
    def parameters(self) -> list[str]:
        return list(dict.fromkeys(name for trial in self.trials for name in trial.parameters))

    @property
    def complete(self) -> list[Trial]:
        """Returns the complete trials, the best first, of equal ones the earliest."""
        sign = 1 if self.lower_is_better else -1
        return sorted((trial for trial in self.trials if trial.complete), key=lambda trial: sign * trial.value)

    @property
    def lower_is_better(self) -> bool:
        return kind_of(self.objective.removeprefix("val/")).lower is not False

    @property
    def runs(self) -> set[Path]:
        """Returns the trials' directories that are there, as trials.csv names them or beneath the search's folder."""
        runs = set()
        for trial in self.trials:
            places = (Path(trial.run), self.path / trial.run) if trial.run else ()
            runs |= {place for place in places if (place / "config.yaml").is_file()}
        return runs


def read_search_folder(folder: Path) -> SearchFolder:
    """Returns what the folder holds. Raises ValueError naming the file and what it lacks."""
    rows = read_rows(folder / FILE, ("number", "state", "value"))
    if not rows:
        raise ValueError(f"{folder / FILE}: no trial; expected a row a trial with number, state, value and parameters")
    file = folder / FILE
    try:
        trials = tuple(_trial(row) for row in rows)
        file = folder / "best.json"
        best = parse_json(file.read_text(encoding="utf-8")) if file.is_file() else {}
        require(best, Keys(optional={"objective": str, "command": str}), "")
    except (TypeError, ValueError) as error:
        raise ValueError(f"{file}: cannot be read ({error}); the search's command writes it again") from error
    return SearchFolder(folder, trials, best.get("objective", ""), best.get("command", ""))


def _trial(row: dict[str, str]) -> Trial:
    return Trial(
        int(row["number"]),
        row["state"],
        float(row["value"] or "nan"),
        float(row.get("seconds") or "nan"),
        {key: value for key, value in row.items() if key not in _NO_PARAMETERS and value != ""},
        row.get("run", ""),
    )


def as_numbers(words: Sequence[str]) -> list[float] | None:
    """Returns the words as numbers, or None if one is none."""
    try:
        return [float(word) for word in words]
    except ValueError:
        return None
