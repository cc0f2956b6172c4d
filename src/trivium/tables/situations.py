"""Reads a table's situations, such as few labels or a modality that is missing: its rows are repeated for each.

docs/tables.md has the form, trivium.results.sections the names of the parts that come of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from trivium.results.records import slug
from trivium.results.sections import BETWEEN
from trivium.tables.yaml_keys import distinct, texts


def read_situations(values: Any, datasets: Sequence[str]) -> Mapping[str, tuple[str, ...]]:
    """Returns a table's situations, name -> overrides. Raises ValueError naming what is wrong."""
    if not isinstance(values, dict) or not all(isinstance(name, str) for name in values):
        raise ValueError(f"situations: expected names, each with a list of overrides, found {values!r}")
    if values and not datasets:
        raise ValueError("situations: the table needs `datasets`, as its rows are repeated for each situation of each")
    for name in values:
        if not slug(name) or BETWEEN in name:
            raise ValueError(f"situations: expected a name with letters or digits and without a colon, found {name!r}")
    distinct("situations", [slug(name) for name in values])
    return {name: texts(f"situations.{name}", overrides) for name, overrides in values.items()}
