"""Gathers the boards of a page: what its first screen compares, of each table's data sets or of the runs themselves."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import pandas as pd

from trivium.core.metric_names import LABELS
from trivium.results.comparison import compare
from trivium.results.folders import Sources
from trivium.results.frame import REPEAT, record_lines, table_score
from trivium.results.records import Record
from trivium.results.score_text import Kind, kind_of
from trivium.results.table_folder import TableFolder

# With 2 seeds a t test has one degree of freedom, and every resample of a bootstrap is one of three means.
FEWEST = 3
# compare's column with the number of seeds -> the columns that are shown from FEWEST on
_OVER_SEEDS = {
    "n": ["mean_low", "mean_high"],
    "difference_n": ["low", "high", "p", "p_holm", "p_wilcoxon", "p_same", "smallest"],
    "best_n": ["best_low", "best_high", "p_best"],
}


@dataclass(frozen=True)
class PublishedCell:
    """Holds one published result.

    kind: authors, rerun or quoted. same: it is on our features. on_test: the test split chose its epoch.
    """

    value: float
    kind: str
    same: bool
    on_test: bool
    source: str


@dataclass(frozen=True)
class Board:
    """Holds what is compared on one data set.

    frame: a line for each run and measure (label, metric, seed, value). rows, measures: in the order to show.
    baseline: the row that others are compared with, "" without one. published: (row, measure) -> a paper's number in
    the measure's unit, and whether our features are the same. cells: (row, measure) -> published results by source
    without a flaw. train_mean: measure -> that of predicting the train mean or frequencies. lower: measure -> whether
    lower is better, where the table says it. margins: measure -> the difference below which two rows count as the same.
    clips: (row, measure) -> the interval of its difference from the baseline over seeds and clips together.
    """

    name: str
    frame: pd.DataFrame = field(repr=False)
    rows: Sequence[str]
    measures: Sequence[str]
    baseline: str = ""
    published: Mapping[tuple[str, str], tuple[float, bool]] = field(default_factory=dict)
    train_mean: Mapping[str, float] = field(default_factory=dict)
    cells: Mapping[tuple[str, str], Sequence[PublishedCell]] = field(default_factory=dict)
    lower: Mapping[str, bool | None] = field(default_factory=dict)
    margins: Mapping[str, float] = field(default_factory=dict)
    clips: Mapping[tuple[str, str], tuple[float, float]] = field(default_factory=dict)

    def kind(self, measure: str) -> Kind:
        """Returns the kind of a measure, by its name and by what the table says of it."""
        kind = kind_of(measure)
        return Kind(kind.share, self.lower.get(measure, kind.lower))

    @cached_property
    def compared(self) -> dict[tuple[str, str], dict[str, Any]]:
        """Maps (row, measure) to what `compare` says of it, without tests and intervals of fewer than FEWEST seeds."""
        lower = {measure: self.kind(measure).lower for measure in self.measures}
        chosen: dict[str, Any] = {"rows": self.rows, "metrics": self.measures, "lower": lower, "margins": self.margins}
        lines = compare(self.frame, self.baseline, within=(), **chosen)
        for n, columns in _OVER_SEEDS.items():
            lines.loc[lines[n].fillna(0) < FEWEST, columns] = math.nan
        lines.loc[lines["smallest"].isna(), "verdict"] = ""
        by_cell: dict[tuple[str, str], dict[str, Any]] = lines.set_index(["label", "metric"]).to_dict("index")
        return by_cell

    @cached_property
    def seeds(self) -> dict[tuple[str, str], list[tuple[int, float]]]:
        """Maps (row, measure) to pairs of seed and value, by seed; a row without a run is left out."""
        groups = self.frame.sort_values([name for name in REPEAT if name in self.frame]).groupby(["label", "metric"])[
            ["seed", "value"]
        ]
        return {key: list(group.itertuples(index=False, name=None)) for key, group in groups}


def boards_of(sources: Sources) -> list[Board]:
    """Returns the boards of tables, then of the runs that are in none of them, one a data set.

    A search's trials have none: they were chosen by validation, and are not to be chosen by the test split.
    """
    boards = []
    for table in sources.tables:
        prefix = f"{table.path.name}, " if len(sources.tables) > 1 else ""
        boards += [of_table(table, data, prefix) for data in dict.fromkeys(row.get("data", "") for row in table.values)]
    without = sources.of_studies | (sources.of_tables if boards else frozenset())
    others = [record for record in sources.records if record.path.resolve() not in without]
    prefix = "other runs, " if boards else ""
    for data in dict.fromkeys(record.data for record in others):
        boards.append(of_records([record for record in others if record.data == data], prefix))
    return [board for board in boards if board.measures]


def of_table(table: TableFolder, data: str, prefix: str = "") -> Board:
    """Returns the board of values.csv, with what table.csv says of baseline, published numbers and the train mean."""
    frame = pd.DataFrame([table_score(line) for line in table.values if line.get("data", "") == data])
    summary = [line for line in table.rows if line.get("data", "") == data]
    train_mean = {line["measure"]: float(line["train_mean"]) for line in summary if line.get("train_mean")}
    published = {
        (line["row"], line["measure"]): (float(line["published"]), line.get("same_features") == "True")
        for line in summary
        if line.get("published")
    }
    cells: dict[tuple[str, str], list[PublishedCell]] = {}
    for line in table.published:
        if line["data"] == data and not line["flaw"]:
            same, on_test = line["same_features"] == "True", line["selection"] == "test"
            cell = PublishedCell(float(line["value"]), line["kind"], same, on_test, line["source"])
            cells.setdefault((line["row"], line["measure"]), []).append(cell)
    rows, measures = (list(dict.fromkeys(line[key] for line in summary)) for key in ("row", "measure"))
    # Tables of version 0.1.0 do not have these columns.
    ways = {"lower": True, "higher": False, "": None}
    lower = {line["measure"]: ways[line["better"]] for line in summary if line.get("better") in ways}
    margins = {line["measure"]: float(line["margin"]) for line in summary if line.get("margin")}
    clips = {
        (line["row"], line["measure"]): (float(line["clips_low"]), float(line["clips_high"]))
        for line in summary
        if line.get("clips_low") and line.get("clips_high")
    }
    name = prefix + data if data else f"table {table.path.name}"
    baseline = table.baseline if table.baseline in rows else ""
    more: dict[str, Any] = {"lower": lower, "margins": margins, "clips": clips}
    return Board(name, frame, rows, measures, baseline, published, train_mean, cells, **more)


def of_records(records: Sequence[Record], prefix: str = "") -> Board:
    """Returns the board of runs on one data set, by the metrics of their test split."""
    data = records[0].data
    frame = pd.DataFrame([line for record in records for line in record_lines(record) if line["split"] == "test"])
    frame = frame[frame["metric"].isin(LABELS)].dropna(subset=["value"])
    guesses = frame.groupby("metric")["train_guess"].unique()
    # They are the same for all runs on one store, and left out where stores differ.
    known = {LABELS[metric]: float(v[0]) for metric, v in guesses.items() if len(v) == 1 and not math.isnan(v[0])}
    frame = frame.assign(label=frame["label"].str.removesuffix(f", {data}"))
    # A setting that was trained twice with the same seed, on the same fold, counts once.
    frame = frame.drop_duplicates(["label", "metric", *REPEAT], keep="last")
    measures = [label for metric, label in LABELS.items() if metric in set(frame["metric"])]
    rows = list(dict.fromkeys(record.label.removesuffix(f", {data}") for record in records))
    return Board(prefix + data, frame.replace({"metric": LABELS}), rows, measures, train_mean=known)
