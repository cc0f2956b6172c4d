"""Reads what others report of a table's row, with the source and the features that it was measured on."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from trivium.tables.yaml_keys import keys, texts


@dataclass(frozen=True)
class Published:
    """Holds published numbers.

    values: measure -> mean and standard deviation (NaN: not given), as the table prints them: shares in %.

    features: the prepared feature set that they are of, as NAME or DATA/NAME, or what they are of in words. modalities:
    those that they are from; empty: not told. data: the data set; "" in a table without `datasets`.
    """

    source: str
    features: str
    values: Mapping[str, tuple[float, float]] = field(hash=False)
    modalities: tuple[str, ...] = ()
    data: str = ""


def read_published(label: str, values: Any) -> tuple[Published, ...]:
    """Reads one mapping, or a list of them for several data sets. Raises ValueError naming row, key and value."""
    at = f"rows: {label}: published"
    published = tuple(_read(at, value) for value in (values if isinstance(values, list) else [values]))
    sets = [entry.data for entry in published]
    if len(set(sets)) < len(sets):
        raise ValueError(f"{at}: expected one a data set, found {len(sets)} for {', '.join(sets) or 'none'}")
    return published


def _read(at: str, values: Any) -> Published:
    entry = keys(at, values, ("source", "features", "values"), ("modalities", "data"))
    for key in ("source", "features"):
        if not isinstance(entry[key], str) or not entry[key].strip():
            raise ValueError(f"{at}.{key}: expected some text, found {entry[key]!r}")
    if not isinstance(entry["values"], dict):
        raise ValueError(f"{at}.values: expected measure: number or [mean, std], found {entry['values']!r}")
    numbers = {str(name): _number(f"{at}.values.{name}", value) for name, value in entry["values"].items()}
    modalities = texts(f"{at}.modalities", entry.get("modalities", []))
    return Published(entry["source"], entry["features"], numbers, modalities, str(entry.get("data", "")))


def _number(at: str, value: Any) -> tuple[float, float]:
    pair = value if isinstance(value, list) else [value, math.nan]
    right = len(pair) == 2 and all(isinstance(part, int | float) and not isinstance(part, bool) for part in pair)
    if not right or math.isnan(pair[0]):
        raise ValueError(f"{at}: expected a number or [mean, standard deviation], found {value!r}")
    return float(pair[0]), float(pair[1])
