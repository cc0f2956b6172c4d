"""What a table needs: one run for each row and seed, in a directory of its own, finished or still to do."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trivium.config.compose import Composer, composer
from trivium.data.locate import find_store
from trivium.reports.definition import Row, Table
from trivium.reports.finished import FinishedRuns
from trivium.runs.directory import RunDirectory, config_hash


@dataclass(frozen=True)
class Planned:
    """One run. overrides: of train.py, without where it lies and how it is resumed.

    table: the part of the table that it is of. start: the run that it begins from (start_from). lacking: what to do
    about data that are not there, "" if they are.
    """

    row: Row
    seed: int
    directory: RunDirectory
    overrides: tuple[str, ...]
    table: Table
    start: RunDirectory | None = None
    lacking: str = ""

    @property
    def name(self) -> str:
        data = f"{self.table.data}, " if self.table.data else ""
        return f"{self.row.label}, {data}seed {self.seed}"

    @property
    def status(self) -> str:
        """done, no data, interrupted (it will be resumed), or to do."""
        if self.directory.finished:
            return "done"
        if self.lacking:
            return "no data"
        return "interrupted" if self.directory.config_file.is_file() else "to do"

    @property
    def arguments(self) -> list[str]:
        """What train.py is called with."""
        return [*self.overrides, f"run.dir={self.directory.path}", "resume=auto"]

    @property
    def command(self) -> str:
        return shlex.join(["python", "train.py", *self.arguments])


def plan(table: Table, seeds: int, folder: Path, finished: FinishedRuns | None = None) -> list[Planned]:
    """All runs of a table, or of a part of it, seed by seed, so that an interrupted table has whole seeds.

    A directory is folder/ROW_sSEED_HASH. The hash is that of the config: a row whose settings have changed gets new
    runs, and one whose settings have not finds its old ones; those that are not there may be among `finished`.
    Raises ValueError naming the row if it does not compose.
    """
    runs: list[Planned] = []
    with composer() as session:
        for seed in range(1, seeds + 1):
            begun: dict[str, Planned] = {}  # of this seed
            for row in table.rows:
                start = begun[row.start].directory if row.start else None
                begun[row.label] = _planned(session, table, row, seed, start, folder, finished)
            runs += begun.values()
    return runs


def _planned(
    session: Composer,
    table: Table,
    row: Row,
    seed: int,
    start: RunDirectory | None,
    folder: Path,
    finished: FinishedRuns | None,
) -> Planned:
    begins = [f"start_from={start.path}"] if start else []
    overrides = merged(table.overrides, row.overrides, table.given, begins, [f"seed={seed}"])
    try:
        config: dict[str, Any] = session.compose(overrides)
    except ValueError as error:
        raise ValueError(f"table {table.name}, row {row.label!r}: {error}") from error
    hashed = config_hash(config)
    directory = RunDirectory(folder / f"{row.slug}_s{seed}_{hashed[:6]}")
    if finished is not None and not directory.finished:
        elsewhere = finished.find(hashed, config)
        directory = directory if elsewhere is None else RunDirectory(elsewhere)
    return Planned(row, seed, directory, tuple(overrides), table, start, _lacking(config))


def _lacking(config: Mapping[str, Any]) -> str:
    try:
        find_store(config)
    except ValueError as error:
        return str(error)
    return ""


def merged(*parts: Sequence[str]) -> list[str]:
    """Overrides in order; of two for one key the later one, in the place of the first. (Hydra refuses two choices.)"""
    last: dict[str, str] = {}
    for override in (override for part in parts for override in part):
        last[override.partition("=")[0].lstrip("+~")] = override
    return list(last.values())


def seconds_left(runs: Sequence[Planned], jobs: int) -> float | None:
    """How long what is left will take, as finished runs took: those of a row's own on the same data, else of any.

    None before one is finished. Runs whose data are not there are not counted.
    """
    took: dict[tuple[str, str], list[float]] = {}
    for run in runs:
        if run.status == "done":
            took.setdefault(_kind(run), []).append(float(run.directory.result()["seconds"]))
    left = [_kind(run) for run in runs if run.status not in ("done", "no data")]
    if not took:
        return 0.0 if not left else None
    every = [seconds for row in took.values() for seconds in row]
    return sum(_mean(took.get(kind, every)) for kind in left) / jobs


def _kind(run: Planned) -> tuple[str, str]:
    return run.row.label, run.table.data


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
