"""The parts of a table that is written: one for each of its data sets, or the table itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from trivium.reports.collect import Measured
from trivium.reports.plan import Planned


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
        return f"{name} ({', '.join(used)})" if used else name


def seeds_of(parts: Sequence[Part]) -> int:
    return len({run.seed for part in parts for run in part.runs})


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
