"""Writes a measured table: table.csv, values.csv and others for machines, table.md for people, table.tex."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from trivium.core.files import csv_text, write_text
from trivium.results.frame import REPEAT
from trivium.tables.audit import COLUMNS as AUDIT
from trivium.tables.blocks import published_difference
from trivium.tables.collect import Measured
from trivium.tables.definition import Row
from trivium.tables.latex import latex
from trivium.tables.markdown import Pictures, markdown
from trivium.tables.measures import Measure
from trivium.tables.pairs import COLUMNS as PAIRS
from trivium.tables.pairs import pair_lines
from trivium.tables.published_blocks import COLUMNS as CELLS
from trivium.tables.published_blocks import published_lines
from trivium.tables.published_range import comparable, range_of, verdict
from trivium.tables.search_blocks import COLUMNS as SEARCHED
from trivium.tables.search_blocks import trial_lines
from trivium.tables.work import Failure

COLUMNS = ("row", "measure", "better", "mean", "std", "n", "mean_low", "mean_high", "p_best")
KNOWN = ("chance", "bayes", "train_mean")
DIFFERENCES = (
    *("difference", "difference_std", "difference_n", "p", "p_holm", "p_wilcoxon", "low", "high"),
    *("clips_low", "clips_high", "clips_smallest", "margin", "p_same", "smallest", "verdict"),
)
# Lower is better -> the column better.
BETTER = {True: "lower", False: "higher", None: ""}
PUBLISHED = ("published", "published_std", "published_difference", "same_features", "published_source")
RANGES = ("published_low", "published_high", "published_sources", "published_verdict")
COSTS = ("parameters", "trained_parameters", "seconds")
VALUES = ("row", "measure", "seed", "fold", "value", "run")


def write_tables(
    folder: Path, parts: Sequence[Measured], failures: Sequence[Failure], pictures: Pictures | None = None
) -> None:
    """Writes what table_texts returns as files of `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    texts = table_texts(folder, parts, failures, pictures)
    for name, text in texts.items():
        write_text(folder / name, text)
    for name in ("pairs.csv", "published.csv", "audit.csv", "searches.csv"):
        if name not in texts:
            # Of an earlier call.
            (folder / name).unlink(missing_ok=True)


def table_texts(
    folder: Path | None, parts: Sequence[Measured], failures: Sequence[Failure], pictures: Pictures | None = None
) -> dict[str, str]:
    """Returns the text of each file.

    folder: values.csv names the runs relative to it; None for their names alone. parts: one a data set, which each line
    of a CSV file then names first; at least one. pictures: what table.md shows.
    """
    summary = pd.concat([_summary(part) for part in parts])
    values = pd.concat([_values(folder, part) for part in parts])
    table = parts[0].table
    data = ("data",) * bool(table.data)
    published = PUBLISHED * any(row.published for part in parts for row in part.table.rows)
    ranges = RANGES * any(row.cells for part in parts for row in part.table.rows)
    columns = [*data, *COLUMNS, *KNOWN, *DIFFERENCES * bool(table.baseline), *published, *ranges, *COSTS]
    summary = summary.reindex(columns=columns)
    unknown = [name for name in (*KNOWN, *COSTS) if summary[name].isna().all()]
    without = ["fold"] if values["fold"].isna().all() else []
    pairs = pd.DataFrame([line for part in parts for line in pair_lines(part)], columns=PAIRS)
    cells = pd.DataFrame([{"data": part.table.section, **line} for part in parts for line in published_lines(part)])
    # The situations of a data set have one search.
    of_parts = [line for part in parts for line in trial_lines(part)]
    trials = list({(line["data"], line["row"], line["trial"]): line for line in of_parts}.values())
    audits = [{"data": part.table.section, **asdict(line)} for part in parts for line in part.audit]
    return {
        **({"pairs.csv": pairs.to_csv(index=False, lineterminator="\n")} if len(pairs) else {}),
        **({"searches.csv": csv_text(SEARCHED, trials)} if trials else {}),
        **({"audit.csv": csv_text(AUDIT, audits)} if audits else {}),
        **({"published.csv": cells.to_csv(index=False, lineterminator="\n", columns=CELLS)} if len(cells) else {}),
        "table.csv": summary.drop(columns=unknown).to_csv(index=False, lineterminator="\n"),
        "values.csv": values[[*data, *VALUES]].drop(columns=without).to_csv(index=False, lineterminator="\n"),
        "table.md": markdown(parts, failures, pictures),
        "table.tex": latex(parts),
    }


def _values(folder: Path | None, measured: Measured) -> pd.DataFrame:
    """Returns a line for each run and measure, in the order of the table's rows and measures."""
    rows, measures = [row.label for row in measured.table.rows], [measure.name for measure in measured.table.measures]
    frame = measured.frame.sort_values(list(REPEAT), kind="stable")
    frame = frame.assign(
        data=measured.table.section,
        row=pd.Categorical(frame["label"], rows),
        measure=pd.Categorical(frame["metric"], measures),
        run=[
            None if pd.isna(p) else Path(p).name if folder is None else os.path.relpath(p, folder)
            for p in frame["path"]
        ],
    )
    return frame.sort_values(["row", "measure"], kind="stable")


def _summary(measured: Measured) -> pd.DataFrame:
    """Returns a line for each row and measure: shares in [0, 1], nothing where there is no value."""
    lines = []
    for row in measured.table.rows:
        for measure in measured.table.measures:
            line = {"data": measured.table.section, "row": row.label, "measure": measure.name}
            line["better"] = BETTER[measure.lower_is_better]
            bounds, known = measured.bounds.get(measure.name), {"train_mean": measured.reference(measure)}
            known |= {"chance": bounds.chance, "bayes": bounds.bayes} if bounds else {}
            theirs = {**_published(measured, row, measure), **_range(measured, row, measure)}
            lines.append({**line, **measured.compared[row.label, measure.name], **known, **theirs})
    return pd.DataFrame(lines).merge(measured.costs, how="left", left_on="row", right_index=True)


def _published(measured: Measured, row: Row, measure: Measure) -> dict[str, Any]:
    """Returns a published number in the units of the other columns: shares in [0, 1]."""
    published = next((numbers for numbers in row.published if measure.name in numbers.values), None)
    if published is None:
        return {}
    unit = 100 if measure.is_share else 1
    mean, std = published.values[measure.name]
    difference = published_difference(measure, measured.compared[row.label, measure.name]["mean"], published)
    same = None if math.isnan(difference) else not measured.other_features(row.label, published)
    numbers = (mean / unit, std / unit, difference / unit, same, published.source)
    return dict(zip(PUBLISHED, numbers, strict=True))


def _range(measured: Measured, row: Row, measure: Measure) -> dict[str, Any]:
    """Returns the range over comparable sources, with their standard deviations, and the verdict on ours."""
    theirs = range_of(comparable(measured, row, measure), spread=True)
    numbers = (theirs.low, theirs.high, theirs.n, verdict(measured, row, measure))
    return dict(zip(RANGES, numbers, strict=True)) if theirs.n else {}
