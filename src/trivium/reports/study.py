"""A search's trials as its folder records them: trials.csv, one row a trial."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from trivium.reports.records import read_rows

FILE = "trials.csv"
# columns that are no parameter
_KNOWN = ("number", "state", "value", "seconds", "run", "dir", "run_dir", "run.dir", "directory", "command", "error")


@dataclass(frozen=True)
class Trial:
    """value: of the objective, NaN before there is one. parameters: name -> what was tried, as written."""

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
class Study:
    """A search's folder."""

    path: Path
    trials: tuple[Trial, ...]

    @property
    def parameters(self) -> list[str]:
        return list(dict.fromkeys(name for trial in self.trials for name in trial.parameters))

    @property
    def complete(self) -> list[Trial]:
        return [trial for trial in self.trials if trial.complete]


def read_study(folder: Path) -> Study:
    """Raises ValueError naming the file and what it lacks."""
    rows = read_rows(folder / FILE)
    lacking = [key for key in ("number", "state", "value") if rows and key not in rows[0]]
    if lacking or not rows:
        found = f"no column {', '.join(lacking)}" if lacking else "no trial"
        raise ValueError(f"{folder / FILE}: {found}; expected a row a trial with number, state, value and parameters")
    return Study(folder, tuple(_trial(row) for row in rows))


def _trial(row: dict[str, str]) -> Trial:
    parameters = {key: value for key, value in row.items() if key not in _KNOWN and value != ""}
    place = next((row[key] for key in ("run", "dir", "run_dir", "run.dir", "directory") if row.get(key)), "")
    return Trial(
        int(row["number"]),
        row["state"],
        float(row["value"] or "nan"),
        float(row.get("seconds") or "nan"),
        parameters,
        place,
    )


def as_numbers(words: Sequence[str]) -> list[float] | None:
    """The words as numbers, or None if one is none."""
    try:
        return [float(word) for word in words]
    except ValueError:
        return None
