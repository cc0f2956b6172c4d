"""A measured table as files: table.csv and values.csv for machines, table.md for people, table.tex for papers."""

from __future__ import annotations

import math
import os
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from trivium.files import csv_text, write_text
from trivium.tables.blocks import published_difference
from trivium.tables.collect import Measured
from trivium.tables.definition import Measure, Row
from trivium.tables.latex import latex
from trivium.tables.markdown import Pictures, markdown
from trivium.tables.parts import Part
from trivium.tables.work import Failure

COLUMNS = ("row", "measure", "mean", "std", "n", "mean_low", "mean_high")
BOUNDS = ("chance", "bayes")
REFERENCE = ("train_mean",)
COSTS = ("parameters", "trained_parameters", "seconds")
DIFFERENCES = ("difference", "difference_std", "difference_n", "p", "p_holm", "p_wilcoxon", "low", "high")
PUBLISHED = ("published", "published_std", "published_difference", "same_features", "published_source")


def write_tables(
    folder: Path, parts: Sequence[Part], failures: Sequence[Failure], pictures: Pictures | None = None
) -> None:
    """What table_texts returns, as files of `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in table_texts(folder, parts, failures, pictures).items():
        write_text(folder / name, text)


def table_texts(
    folder: Path, parts: Sequence[Part], failures: Sequence[Failure], pictures: Pictures | None = None
) -> dict[str, str]:
    """table.csv: a line a row and measure. values.csv: a line a run and measure, and where the run lies, from `folder`.
    table.md: with how it came about; table.tex. parts: one a data set, which each line then names first; at least one.
    pictures: what table.md shows.
    """
    heads = ("row", "measure", "seed", "value", "run")
    values = [line for part in parts for line in _values(folder, part.measured)]
    return {
        "table.csv": csv_text(columns(parts), [line for part in parts for line in summary(part.measured)]),
        "values.csv": csv_text((*_data(parts[0].measured), *heads), values),
        "table.md": markdown(parts, failures, pictures),
        "table.tex": latex(parts),
    }


def _values(folder: Path, measured: Measured) -> list[dict[str, Any]]:
    places = {
        (row, seed): os.path.relpath(path, folder)
        for row, seeds in measured.places.items()
        for seed, path in seeds.items()
    }
    return [
        {
            **_data(measured),
            "row": row,
            "measure": measure,
            "seed": seed,
            "value": value,
            "run": places.get((row, seed)),
        }
        for row, measures in measured.values.items()
        for measure, seeds in measures.items()
        for seed, value in sorted(seeds.items())
    ]


def columns(parts: Sequence[Part]) -> tuple[str, ...]:
    """Those of table.csv: BOUNDS, REFERENCE and COSTS where any are known, DIFFERENCES where there is a baseline,
    PUBLISHED likewise.
    """
    found = [part.measured for part in parts]
    published = any(row.published for one in found for row in one.table.rows)
    bounds, baseline = any(one.bounds for one in found), bool(found[0].table.baseline)
    reference = any(not math.isnan(one.reference(measure)) for one in found for measure in one.table.measures)
    costs = any(cost.seconds for one in found for cost in one.costs.values())
    known = (*BOUNDS * bounds, *REFERENCE * reference, *DIFFERENCES * baseline, *PUBLISHED * published, *COSTS * costs)
    return (*_data(found[0]), *COLUMNS, *known)


def _data(measured: Measured) -> dict[str, str]:
    return {"data": measured.table.data} if measured.table.data else {}


def summary(measured: Measured) -> list[dict[str, Any]]:
    """The lines of table.csv: shares in [0, 1], std with n - 1, p of two-sided tests. Empty where there is no value."""
    lines = []
    for row in measured.table.rows:
        corrected = measured.corrected(row.label)
        for measure in measured.table.measures:
            spread, bounds = measured.spread(row.label, measure.name), measured.bounds.get(measure.name)
            low, high = measured.interval(row.label, measure.name)
            known = {"chance": bounds.chance, "bayes": bounds.bayes} if bounds else {}
            compared = _compared(measured, row.label, measure.name, corrected[measure.name])
            numbers = {"mean": spread.mean, "std": spread.std, "n": spread.n, "mean_low": low, "mean_high": high}
            numbers |= {**known, **compared, "train_mean": measured.reference(measure), **_cost(measured, row.label)}
            kept = {key: value for key, value in numbers.items() if not math.isnan(value)}
            published = _published(measured, row, measure)
            lines.append({**_data(measured), "row": row.label, "measure": measure.name, **kept, **published})
    return lines


def _cost(measured: Measured, row: str) -> dict[str, float]:
    """seconds: the median over the row's runs."""
    cost = measured.costs.get(row)
    if cost is None or not cost.seconds:
        return {}
    sizes = {"parameters": cost.parameters or None, "trained_parameters": cost.trained}
    return {"seconds": statistics.median(cost.seconds), **{key: n for key, n in sizes.items() if n is not None}}


def _published(measured: Measured, row: Row, measure: Measure) -> dict[str, Any]:
    """In the units of the other columns: shares in [0, 1]."""
    published = next((one for one in row.published if measure.name in one.values), None)
    if published is None:
        return {}
    unit = 100 if measure.is_share else 1
    mean, std = published.values[measure.name]
    difference = published_difference(measure, measured.spread(row.label, measure.name), published)
    numbers = {"published": mean / unit, "published_std": std / unit, "published_difference": difference / unit}
    same = {} if math.isnan(difference) else {"same_features": not measured.other_features(row.label, published)}
    kept = {key: value for key, value in numbers.items() if not math.isnan(value)}
    return {**kept, **same, "published_source": published.source}


def _compared(measured: Measured, row: str, measure: str, corrected: float) -> dict[str, float]:
    found = measured.difference(row, measure)
    if found is None:
        return {}
    tests = {"p": found.t_p, "p_holm": corrected, "p_wilcoxon": found.wilcoxon_p}
    interval = {"low": found.low, "high": found.high}
    return {"difference": found.mean, "difference_std": found.std, "difference_n": found.n, **tests, **interval}
