"""Collects the sections of a table that an earlier call wrote and this one leaves alone, from their finished runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from trivium.results.sections import name_of, split_section
from trivium.runs.run_files import read_rows
from trivium.tables.datasets import part_of
from trivium.tables.definition import Table
from trivium.tables.finished import FinishedRuns
from trivium.tables.plan import Planned, plan


def earlier_sections(
    table: Table, chosen: Sequence[str], folder: Path, finished: FinishedRuns
) -> tuple[list[list[Planned]], list[str]]:
    """Returns the runs of each data set that values.csv in `folder` has beside `chosen`, and a note for each left out.

    They have as many seeds as that file. A section none of whose runs has the settings of this call is left out.
    """
    names = {name_of(data) for data in table.datasets}
    sections, notes = [], []
    file = folder / "values.csv"
    seeds_of: dict[str, int] = {}
    for line in read_rows(file) if file.is_file() else []:
        # A table without data sets has no column for them.
        if data := line.get("data"):
            seeds_of[data] = max(seeds_of.get(data, 0), int(line["seed"]))
    for data, seeds in seeds_of.items():
        if data in chosen or name_of(data) not in names or split_section(data)[1] not in (table.situations or ("",)):
            continue
        runs = plan(part_of(table, data), seeds, folder / "runs", finished)
        if any(run.directory.finished for run in runs):
            sections.append(runs)
        else:
            notes.append(f"{data}: its section is left out: no run in {folder} has these settings on today's data")
    return sections, notes


def in_order(table: Table, parts: Sequence[list[Planned]]) -> list[list[Planned]]:
    """Returns the parts in the order of the table's data sets, of their names within one, and of the situations."""
    names, situations = [name_of(data) for data in table.datasets], [*table.situations, ""]

    def place(runs: list[Planned]) -> tuple[int, str, int]:
        part = runs[0].table
        return (names.index(name_of(part.data)) if part.data else 0, part.data, situations.index(part.situation))

    return sorted(parts, key=place)
