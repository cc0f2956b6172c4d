"""What a table needs: one run for each row and seed, in a directory of its own, finished or still to do."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trivium.config.compose import composer
from trivium.reports.definition import Row, Table
from trivium.runs.directory import RunDirectory, config_hash


@dataclass(frozen=True)
class Planned:
    """One run. overrides: of train.py, without where it lies and how it is resumed."""

    row: Row
    seed: int
    directory: RunDirectory
    overrides: tuple[str, ...]

    @property
    def name(self) -> str:
        return f"{self.row.label}, seed {self.seed}"

    @property
    def status(self) -> str:
        """done, interrupted (it will be resumed), or to do."""
        if self.directory.finished:
            return "done"
        return "interrupted" if self.directory.config_file.is_file() else "to do"

    @property
    def arguments(self) -> list[str]:
        """What train.py is called with."""
        return [*self.overrides, f"run.dir={self.directory.path}", "resume=auto"]

    @property
    def command(self) -> str:
        return shlex.join(["python", "train.py", *self.arguments])


def plan(table: Table, seeds: int, folder: Path) -> list[Planned]:
    """All runs, seed by seed, so that an interrupted table has whole seeds.

    A directory is folder/ROW_sSEED_HASH. The hash is that of the config: a row whose settings have changed gets new
    runs, and one whose settings have not finds its old ones. Raises ValueError naming the row if it does not compose.
    """
    with composer() as session:

        def planned(row: Row, seed: int) -> Planned:
            overrides = merged(table.overrides, row.overrides, table.given, [f"seed={seed}"])
            try:
                config: dict[str, Any] = session.compose(overrides)
            except ValueError as error:
                raise ValueError(f"table {table.name}, row {row.label!r}: {error}") from error
            path = folder / f"{row.slug}_s{seed}_{config_hash(config)[:6]}"
            return Planned(row, seed, RunDirectory(path), tuple(overrides))

        return [planned(row, seed) for seed in range(1, seeds + 1) for row in table.rows]


def merged(*parts: Sequence[str]) -> list[str]:
    """Overrides in order; of two for one key the later one, in the place of the first. (Hydra refuses two choices.)"""
    last: dict[str, str] = {}
    for override in (override for part in parts for override in part):
        last[override.partition("=")[0].lstrip("+~")] = override
    return list(last.values())


def seconds_left(runs: Sequence[Planned], jobs: int) -> float | None:
    """How long what is left will take, as finished runs took: those of a row's own, else of any; None before one."""
    took: dict[str, list[float]] = {}
    for run in runs:
        if run.status == "done":
            took.setdefault(run.row.label, []).append(float(run.directory.result()["seconds"]))
    left = [run.row.label for run in runs if run.status != "done"]
    if not took:
        return 0.0 if not left else None
    every = [seconds for row in took.values() for seconds in row]
    return sum(_mean(took.get(label, every)) for label in left) / jobs


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def by_row(runs: Sequence[Planned]) -> Mapping[str, list[Planned]]:
    """Label -> its runs, in the order of the table."""
    found: dict[str, list[Planned]] = {}
    for run in runs:
        found.setdefault(run.row.label, []).append(run)
    return found
