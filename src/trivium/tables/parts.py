"""The parts of a table that is written: one for each of its data sets, or the table itself."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from trivium.tables.collect import Measured
from trivium.tables.plan import Planned


@dataclass(frozen=True)
class Part:
    """What was measured in `runs`, finished or not."""

    measured: Measured
    runs: Sequence[Planned]

    @property
    def lacking(self) -> str:
        """How to get the data that are not there; "" if nothing waits for any."""
        return next((run.lacking for run in self.runs if run.status == "no data"), "")

    @property
    def empty(self) -> bool:
        """Whether there is no value at all."""
        return not any(seeds for row in self.measured.values.values() for seeds in row.values())

    @property
    def heading(self) -> str:
        """The data set, and the feature sets that its runs were on."""
        used = dict.fromkeys(features for row in self.measured.used.values() for features, _ in row)
        name = self.measured.table.data
        return f"{name} ({', '.join(used)})" if used and list(used) != [name] else name

    @property
    def seeds(self) -> int:
        return len({run.seed for run in self.runs})


def seeds_of(parts: Sequence[Part]) -> int:
    return max(part.seeds for part in parts)


def is_complete(parts: Sequence[Part]) -> bool:
    """Whether every cell has all seeds, in the parts that have any."""
    counts = {
        part.measured.spread(row.label, measure.name).n
        for part in parts
        if not (part.empty and part.lacking)
        for row in part.measured.table.rows
        for measure in part.measured.table.measures
    }
    return counts == {seeds_of(parts)}


def commands_of(parts: Sequence[Part]) -> list[str]:
    """What makes the parts again: one call for those with the same number of seeds."""
    commands = []
    for seeds in dict.fromkeys(part.seeds for part in parts):
        tables = [part.measured.table for part in parts if part.seeds == seeds]
        data = ",".join(table.data for table in tables if table.data)
        words = [f"table={tables[0].wish or tables[0].name}", *([f"data={data}"] if data else []), f"seeds={seeds}"]
        commands.append(shlex.join(["python", "scripts/reproduce.py", *words, *tables[0].settings]))
    return commands
