"""Names the sections of a table: its rows are repeated for each data set, and there for each situation.

A situation is a set of overrides such as few labels or a modality that is missing. docs/tables.md has the form.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from trivium.results.records import slug
from trivium.tables.yaml_keys import texts

_BETWEEN = ": "


def read_situations(values: Any, datasets: Sequence[str]) -> Mapping[str, tuple[str, ...]]:
    """Returns a table's situations, name -> overrides. Raises ValueError naming what is wrong."""
    if not isinstance(values, dict) or not all(isinstance(name, str) for name in values):
        raise ValueError(f"situations: expected names, each with a list of overrides, found {values!r}")
    if values and not datasets:
        raise ValueError("situations: the table needs `datasets`, as its rows are repeated for each situation of each")
    for name in values:
        if not slug(name) or _BETWEEN in name:
            raise ValueError(f"situations: expected a name with letters or digits and without a colon, found {name!r}")
    return {name: texts(f"situations.{name}", overrides) for name, overrides in values.items()}


def section_name(data: str, situation: str) -> str:
    """Returns DATA, or DATA: SITUATION."""
    return f"{data}{_BETWEEN}{situation}" if situation else data


def split_section(section: str) -> tuple[str, str]:
    """Returns the data set, NAME or NAME/FEATURES, and the situation, "" without one."""
    data, _, situation = section.partition(_BETWEEN)
    return data, situation


def name_of(section: str) -> str:
    """Returns the name of a section's data set, without its features."""
    return split_section(section)[0].partition("/")[0]


def file_stem(kind: str, section: str) -> str:
    """Returns KIND_DATA_FEATURES_SITUATION, or KIND for a table without data sets."""
    data, situation = split_section(section)
    return "_".join([kind, *filter(None, data.split("/")), *([slug(situation)] if situation else [])])
