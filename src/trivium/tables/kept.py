"""Sections of a table that an earlier call wrote and this one leaves alone: they stay, from their finished runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from trivium.results.records import read_rows
from trivium.tables.datasets import part_of
from trivium.tables.definition import Table
from trivium.tables.finished import FinishedRuns
from trivium.tables.plan import Planned, plan


def kept_sections(
    table: Table, chosen: Sequence[str], folder: Path, finished: FinishedRuns
) -> tuple[list[list[Planned]], list[str]]:
    """Runs of each data set that values.csv in `folder` has, which is not one of `chosen`; and what is left out, told.

    With as many seeds as that file has. A section none of whose runs has the settings of this call is left out.
    """
    names = {data.partition("/")[0] for data in table.datasets}
    kept, notes = [], []
    for data, seeds in _written(folder).items():
        if data in chosen or data.partition("/")[0] not in names:
            continue
        runs = plan(part_of(table, data), seeds, folder / "runs", finished)
        if any(run.directory.finished for run in runs):
            kept.append(runs)
        else:
            notes.append(f"{data}: its section is left out: no run in {folder} has these settings on today's data")
    return kept, notes


def in_order(table: Table, parts: Sequence[list[Planned]]) -> list[list[Planned]]:
    """By the table's list of data sets, and within one by name."""
    names = [data.partition("/")[0] for data in table.datasets]

    def place(runs: list[Planned]) -> tuple[int, str]:
        data = runs[0].table.data
        return (names.index(data.partition("/")[0]) if data else 0, data)

    return sorted(parts, key=place)


def _written(folder: Path) -> dict[str, int]:
    """Data set -> highest seed in values.csv; empty where there is none."""
    file = folder / "values.csv"
    found: dict[str, int] = {}
    if file.is_file():
        for row in read_rows(file):
            if row.get("data"):
                found[row["data"]] = max(found.get(row["data"], 0), int(row["seed"]))
    return found
