"""Reads published_results.yaml: what papers, their authors and others report of a method on a data set.

That file's head explains its keys.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from trivium.core.choices import suggest
from trivium.core.metric_names import LABELS, is_share
from trivium.tables.yaml_keys import items, keys

RESULTS = Path(__file__).with_name("published_results.yaml")
KINDS = ("authors", "rerun", "quoted")
SELECTIONS = ("", "validation", "test")
FLAWS = ("swapped", "corrected", "constant", "doubtful")
# Metrics of published tables that no protocol here computes, so that they stand beside no measure.
_OTHERS = ("acc2_unstated", "f1_unstated", "probe_acc", "tuned_acc")
_NEEDED, _OPTIONAL = (
    ("kind", "source", "features", "values"),
    ("selection", "seeds", "feature_set", "text", "note", "flaws"),
)


@dataclass(frozen=True)
class Cell:
    """Holds one published number: a metric of a method on a data set, by one source.

    value, std: shares in [0, 1]; std is NaN where none is given. seeds: 0 where the source does not say. selection: ""
    where it does not say. feature_set, text: "" where the features are not known to be one of MMSA's files. flaw: ""
    or one of FLAWS, for which the number is not to be compared.
    """

    metric: str
    value: float
    std: float
    kind: str
    source: str
    features: str
    selection: str = ""
    seeds: int = 0
    feature_set: str = ""
    text: str = ""
    note: str = ""
    flaw: str = ""


def cells_of(data: str, method: str, file: Path = RESULTS) -> tuple[Cell, ...]:
    """Returns what is published of a method on a data set ("mosi"); empty if nothing is."""
    return published_results(file).get(data, {}).get(method, ())


def refuse_unknown_method(name: str, file: Path = RESULTS) -> None:
    """Raises ValueError, naming the nearest, for a method of which nothing is published on any data set."""
    known = {method for methods in published_results(file).values() for method in methods}
    if name not in known:
        raise ValueError(
            f"no published results of {name!r}{suggest(name, known)}; there are {', '.join(sorted(known))}"
        )


@functools.cache
def published_results(file: Path = RESULTS) -> Mapping[str, Mapping[str, tuple[Cell, ...]]]:
    """Returns data set -> method -> its cells. Raises ValueError naming the file, the entry and what is wrong."""
    # The parser in C takes a quarter of a second for this file, the other one two seconds.
    content = yaml.load(file.read_text(encoding="utf-8"), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    try:
        return {
            data: {
                str(method): _distinct(
                    f"{data}: {method}",
                    [c for e in items(f"{data}: {method}", entries) for c in _cells(f"{data}: {method}", e)],
                )
                for method, entries in methods.items()
            }
            for data, methods in content.items()
        }
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from error


def _distinct(at: str, cells: Sequence[Cell]) -> tuple[Cell, ...]:
    """Returns the cells. Raises ValueError if a source reports one metric of one kind of features twice."""
    names = [(cell.metric, cell.source, cell.features) for cell in cells]
    if twice := [name for name in names if names.count(name) > 1]:
        raise ValueError(f"{at}: {', '.join(twice[0])} stands there twice")
    return tuple(cells)


def _cells(at: str, entry: Any) -> list[Cell]:
    node = keys(at, entry, _NEEDED, _OPTIONAL)
    for key in ("source", "features"):
        if not isinstance(node[key], str) or not node[key].strip():
            raise ValueError(f"{at}: {key}: expected some text, found {node[key]!r}")
    at = f"{at}: {node['source']}"
    for key, words in {"kind": KINDS, "selection": SELECTIONS, "text": ("", "frozen", "trained")}.items():
        if node.get(key, "") not in words:
            raise ValueError(f"{at}: {key}: expected one of {', '.join(filter(None, words))}, found {node[key]!r}")
    seeds, flaws = node.get("seeds", 0), node.get("flaws", {})
    if isinstance(seeds, bool) or not isinstance(seeds, int) or seeds < 0:
        raise ValueError(f"{at}: seeds: expected how many, found {seeds!r}")
    for metric, flaw in flaws.items():
        if metric not in node["values"] or flaw not in FLAWS:
            raise ValueError(f"{at}: flaws.{metric}: expected {', '.join(FLAWS)} of one of its values, found {flaw!r}")
    common = {
        key: node[key]
        for key in ("kind", "source", "features", "selection", "feature_set", "text", "note")
        if key in node
    }
    return [
        Cell(metric, *_number(f"{at}: {metric}", metric, value), seeds=seeds, flaw=flaws.get(metric, ""), **common)
        for metric, value in node["values"].items()
    ]


def _number(at: str, metric: str, value: Any) -> tuple[float, float]:
    """Returns mean and standard deviation. Raises ValueError for what is no number, and for one in another unit."""
    pair = value if isinstance(value, list) else [value, math.nan]
    if metric not in (*LABELS, *_OTHERS):
        raise ValueError(f"{at}: no such metric{suggest(metric, (*LABELS, *_OTHERS))}")
    if len(pair) != 2 or not all(isinstance(part, int | float) and not isinstance(part, bool) for part in pair):
        raise ValueError(f"{at}: expected a number or [mean, standard deviation], found {value!r}")
    most = 1.0 if is_share(metric) or metric in ("corr", *_OTHERS) else 3.0
    if not 0 <= pair[0] <= most or not (math.isnan(pair[1]) or 0 <= pair[1] <= most):
        raise ValueError(f"{at}: expected 0 to {most:g}, shares in [0, 1], found {value!r}")
    return float(pair[0]), float(pair[1])
