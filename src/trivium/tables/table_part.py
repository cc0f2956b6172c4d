"""Describes the parts of a written table: one for each of its data sets, or the table itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from trivium.core.wording import command
from trivium.tables.collect import Measured
from trivium.tables.plan import Planned


@dataclass(frozen=True)
class Part:
    """Holds what was measured in `runs`, finished or not."""

    measured: Measured
    runs: Sequence[Planned]

    @property
    def lacking(self) -> str:
        """Says how to get the data that are not there; "" if nothing waits for any."""
        return next((run.lacking for run in self.runs if run.status == "no data"), "")

    @property
    def empty(self) -> bool:
        """Tells whether there is no value at all."""
        return not len(self.measured.frame)

    @property
    def heading(self) -> str:
        """Names the data set and the feature sets that its runs were on."""
        used = list(dict.fromkeys(self.measured.frame["feature_set"]))
        name = self.measured.table.data
        return f"{name} ({', '.join(used)})" if used and used != [name] else name

    @property
    def seeds(self) -> int:
        return len({run.seed for run in self.runs})


def seeds_of(parts: Sequence[Part]) -> int:
    """Returns the largest number of seeds of any part."""
    return max(part.seeds for part in parts)


def is_complete(parts: Sequence[Part]) -> bool:
    """Returns whether every cell has all seeds, in the parts that have any."""
    shown = [part.measured for part in parts if not (part.empty and part.lacking)]
    return {line["n"] for measured in shown for line in measured.compared.values()} == {seeds_of(parts)}


def commands_of(parts: Sequence[Part]) -> list[str]:
    """Returns the commands that make the parts again, one for those with the same number of seeds."""
    if parts[0].measured.table.words:
        return [command("reproduce", *parts[0].measured.table.words)]
    commands = []
    for seeds in dict.fromkeys(part.seeds for part in parts):
        tables = [part.measured.table for part in parts if part.seeds == seeds]
        data = ",".join(table.data for table in tables if table.data)
        words = [f"table={tables[0].wish or tables[0].name}", *([f"data={data}"] if data else []), f"seeds={seeds}"]
        commands.append(command("reproduce", *words, *tables[0].settings))
    return commands
