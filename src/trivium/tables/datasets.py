"""Repeats a table's rows for each of its data sets, and there for each situation: one part of the table for each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from trivium.config.compose import compose_config
from trivium.config.config_folder import CONFIGS
from trivium.core.choices import suggest
from trivium.core.metric_names import OF, UNDIRECTED, known_metrics
from trivium.results.sections import section_name, split_section
from trivium.tables.definition import Table
from trivium.tables.published_results import cells_of

# Every objective has these, whatever the data set's protocol.
_ALWAYS = ("loss", "acc_argmax")


def parts_of(table: Table, chosen: str = "") -> list[Table]:
    """Returns one table a data set and situation, or the table as it is where it names no data set.

    chosen: the command line's data=, some of the data sets with commas between, each as NAME or NAME/FEATURES, the name
    of a prepared feature set. Raises ValueError for one that the table does not have, and for data= without any.
    """
    if not table.datasets:
        if chosen:
            raise ValueError(f"data={chosen}: table {table.name} has no data sets; data.store=FILE changes the file")
        return [table]
    _refuse_overridden_situations(table)
    sets, situations = _chosen(table, chosen) if chosen else table.datasets, list(table.situations) or [""]
    return [part_of(table, section_name(data, situation)) for data in sets for situation in situations]


def _refuse_overridden_situations(table: Table) -> None:
    """Raises ValueError for a setting of the command line that a situation has too, which would then be the same."""
    keys = {word.partition("=")[0].lstrip("+~") for word in table.settings}
    for name, overrides in table.situations.items():
        for word in overrides:
            if (key := word.partition("=")[0].lstrip("+~")) in keys:
                raise ValueError(f"{key}: the situation {name!r} of table {table.name} sets it; leave it out")


def _chosen(table: Table, text: str) -> list[str]:
    """Returns the chosen data sets. NAME alone means the table's entry, which may name features."""
    entries = {data.partition("/")[0]: data for data in table.datasets}
    chosen = []
    for word in text.split(","):
        name = word.partition("/")[0]
        if name not in entries:
            near, known = suggest(name, entries), ", ".join(entries)
            raise ValueError(f"data={text}: table {table.name} has no data set {name!r}{near}; it has {known}")
        chosen.append(word if "/" in word else entries[name])
    if len(set(chosen)) < len(chosen):
        raise ValueError(f"data={text}: one data set stands there twice")
    return chosen


def part_of(table: Table, section: str) -> Table:
    """Returns the table for one section: NAME or NAME/FEATURES of a data set, and perhaps a situation (section_name).

    Raises ValueError for a data set that no config has.
    """
    data, situation = split_section(section)
    name, _, features = data.partition("/")
    if not (CONFIGS / "data" / f"{name}.yaml").is_file():
        raise ValueError(f"datasets: {name}: no such choice in {CONFIGS / 'data'}")
    where = [f"data={name}", *([f"data.features={features}"] if features else [])]
    common = (*table.overrides, *table.situations.get(situation, ()))
    of_data = [override for override in common if override.startswith("data.")]
    settings: dict[str, Any] = compose_config([f"data={name}", *_filled(of_data, name)])["data"]
    known = known_metrics(settings["metrics"])
    # What has errors has a mean of them.
    known = (*known, *UNDIRECTED) if "mae" in known else known
    measures = tuple(
        measure
        for measure in table.measures
        if measure.probe or measure.better or measure.metric.partition(OF)[0] in (*known, *_ALWAYS)
    )
    if not measures:
        raise ValueError(f"measures: none is one of {name}'s, {', '.join(known)}")
    names = [measure.name for measure in measures]
    return replace(
        table,
        overrides=(*where, *_filled(table.overrides, name)),
        rows=tuple(
            replace(
                row,
                overrides=_filled(row.overrides, name),
                published=tuple(values for values in row.published if values.data == name),
                cells=cells_of(name, row.results) if row.results else (),
            )
            for row in table.rows
            if not row.only or name in row.only
        ),
        measures=measures,
        bars={group: bars for group, bars in table.bars.items() if set(bars) <= set(names)},
        data=data,
        situation=situation,
        situations={key: _filled(overrides, name) for key, overrides in table.situations.items()},
    )


def _filled(overrides: Sequence[str], name: str) -> tuple[str, ...]:
    """Returns overrides with the data set's name for {data}: experiment=selfmi_{data}."""
    return tuple(override.replace("{data}", name) for override in overrides)
