"""Reads what a table's YAML says of searches: `search: {sweep: NAME, trials: N}`, or `settings_from: FILE`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trivium.core.choices import suggest
from trivium.runs.run_files import read_rows
from trivium.tables.yaml_keys import keys

_KEYS = ("sweep", "trials", "objective", "finalists")
# Seeds beside 1, that of the trials, with which finalists are trained before one of them is chosen.
FINAL_SEEDS = (2, 3)


@dataclass(frozen=True)
class RowSearch:
    """Holds how a row's settings are searched before its seeds are trained.

    sweep: the space (configs/sweep). trials: of the whole study. objective: val/ and a metric, by which trials are
    compared; "" for that of the sweep's file. finalists: so many of the best trials are trained with FINAL_SEEDS too,
    and the one of the best mean is chosen; 1 for the best trial as it is.
    """

    sweep: str
    trials: int = 20
    objective: str = ""
    finalists: int = 1


def read_common_search(values: Any) -> dict[str, Any]:
    """Returns the table's own keys, which its rows' searches have unless they say otherwise."""
    return {} if values is None else _checked("search", values)


def read_row_search(label: str, values: Any, common: dict[str, Any]) -> RowSearch | None:
    """Returns a row's search, None for a row without one.

    values: of the row's key search: a sweep's name, keys, or false for none; None without the key, where the row is
    searched only if the table names a sweep for all. Raises ValueError naming the row.
    """
    if values is False or (values is None and "sweep" not in common):
        return None
    settings = {"sweep": values} if isinstance(values, str) else {} if values is None else values
    at = f"rows: {label}: search"
    chosen = {**common, **_checked(at, settings)}
    if "sweep" not in chosen:
        raise ValueError(f"{at}: sweep missing: the name of a space, as in sweep: supervised")
    return RowSearch(**chosen)


def _checked(at: str, values: Any) -> dict[str, Any]:
    node = keys(at, values, (), _KEYS)
    objective = node.get("objective", "val/loss")
    for key in ("trials", "finalists"):
        number = node.get(key, 1)
        if isinstance(number, bool) or not isinstance(number, int) or number < 1:
            raise ValueError(f"{at}.{key}: expected how many, 1 or more, found {number!r}")
    if not isinstance(objective, str) or not objective.startswith("val/"):
        raise ValueError(f"{at}.objective: expected val/loss, or val/ and a metric, found {objective!r}")
    if not isinstance(node.get("sweep", ""), str):
        raise ValueError(f"{at}.sweep: expected the name of a space, found {node['sweep']!r}")
    return dict(node)


@dataclass(frozen=True)
class EarlierChoice:
    """Holds the overrides that a search has chosen, by the value of its objective (val/mae), from its space."""

    overrides: tuple[str, ...]
    space: str
    objective: str
    value: float
    trial: int


@dataclass(frozen=True)
class SearchedSettings:
    """Holds what earlier searches have chosen: (data set, row) -> choice. file: a table's searches.csv."""

    file: Path
    settings: Mapping[tuple[str, str], EarlierChoice]

    def of(self, data: str, row: str) -> EarlierChoice:
        """Returns a row's settings on a data set, NAME or NAME/FEATURES; NAME alone stands for the only such set.

        Raises ValueError naming the file and what it has.
        """
        known = dict.fromkeys(name for name, _ in self.settings)
        chosen = [name for name in known if name == data] or [n for n in known if n.partition("/")[0] == data]
        if len(chosen) != 1:
            near = suggest(data, known)
            raise ValueError(f"{self.file}: has no settings for data set {data!r}{near}; it has {', '.join(known)}")
        if (chosen[0], row) not in self.settings:
            rows = [label for name, label in self.settings if name == chosen[0]]
            near = suggest(row, rows)
            raise ValueError(f"{self.file}: has no settings for row {row!r} on {data}{near}; it has {', '.join(rows)}")
        return self.settings[chosen[0], row]


def read_searched_settings(file: Path) -> SearchedSettings:
    """Reads the chosen trials of a searches.csv. Raises ValueError naming the file and what it lacks."""
    if not file.is_file():
        raise ValueError(
            f"settings_from: {file}: no such file; expected the searches.csv of a table, by a path beside this one"
        )
    columns = ("data", "row", "space", "objective", "trial", "value", "chosen", "settings")
    lines = [line for line in read_rows(file, columns) if line["chosen"] == "yes"]
    if not lines:
        raise ValueError(f"settings_from: {file}: no trial is chosen in it; expected chosen=yes in a line of each row")
    try:
        return SearchedSettings(file, {(line["data"], line["row"]): _earlier_choice(line) for line in lines})
    except ValueError as error:
        raise ValueError(f"settings_from: {file}: {error}") from error


def _earlier_choice(line: Mapping[str, str]) -> EarlierChoice:
    # A value may have blanks: settings are divided where the next key begins.
    words = re.split(r" (?=[\w.@+~]+=)", line["settings"])
    chosen = tuple(word for word in words if word)
    return EarlierChoice(chosen, line["space"], line["objective"], float(line["value"]), int(line["trial"]))
