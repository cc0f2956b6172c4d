"""Reads configs/table/NAME.yaml: rows, measures and figure of a table. docs/tables.md has the form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from trivium.core.choices import suggest
from trivium.data.clips import FEWEST_FOLDS
from trivium.results.records import slug
from trivium.results.sections import section_name
from trivium.tables.margins import margin, read_margins
from trivium.tables.measures import Measure, read_measure
from trivium.tables.published import Published, read_published
from trivium.tables.published_results import Cell, refuse_unknown_method
from trivium.tables.row_search import (
    RowSearch,
    SearchedSettings,
    read_common_search,
    read_row_search,
    read_searched_settings,
)
from trivium.tables.situations import read_situations
from trivium.tables.trained_once import check_trained_once
from trivium.tables.yaml_keys import distinct, items, keys, texts


@dataclass(frozen=True)
class Row:
    """Holds one line of the table: a label, and the overrides of its runs beside those of every row.

    start: the label of the row whose run of the same seed this row's runs begin from (start_from); "": none.
    only: the data sets that the row is for; empty: all of the table's.
    search: how its settings are searched before its seeds are trained (trivium.tables.studies), None for no search.
    results: the method whose published results stand beside the row (published_results.yaml), "" for none; cells: these
    results on the data set of a table's part (trivium.tables.datasets).
    """

    label: str
    overrides: tuple[str, ...]
    start: str = ""
    published: tuple[Published, ...] = ()
    only: tuple[str, ...] = ()
    results: str = ""
    cells: tuple[Cell, ...] = field(default=(), repr=False)
    search: RowSearch | None = None

    @property
    def slug(self) -> str:
        """Returns the label as part of a file name."""
        return slug(self.label)


@dataclass(frozen=True)
class Table:
    """Holds a table, or the part of one for one data set.

    bars: of the figure, a group of bars -> the measures whose mean over a run's values they show.
    baseline: the label of the row that the others are compared with, seed by seed; "": none. settings: overrides of the
    command line, over those of the rows. datasets: those that the rows are repeated for, as NAME or
    NAME/FEATURES; data: the one of this part (trivium.tables.datasets), "" where there are none. request: the value of
    table=, or "" for the name. audit: the epochs of every run are scored on test too (trivium.tables.audit).
    margins: metric, or acc or f1 for all of these -> the difference below which two rows count as the same.
    words: of a table without a file (trivium.tables.runs_table), its command line. folds: the number that each row is
    trained on, for every seed; 0 for data without folds.
    situations: name -> overrides, for each of which the rows are repeated on each data set; over those of the rows.
    situation: the name of this part's, "" without any. settings_from: the settings that an earlier table's searches
    have chosen. trials: the command line's number for each searched row, 0 without any. trained_once: labels of rows
    whose training no situation changes (trivium.tables.trained_once).
    """

    name: str
    title: str
    overrides: tuple[str, ...]
    seeds: int
    rows: tuple[Row, ...]
    measures: tuple[Measure, ...]
    bars: Mapping[str, tuple[str, ...]]
    baseline: str = ""
    settings: tuple[str, ...] = ()
    datasets: tuple[str, ...] = ()
    data: str = ""
    request: str = ""
    words: tuple[str, ...] = ()
    folds: int = 0
    audit: bool = False
    margins: Mapping[str, float] = field(default_factory=dict)
    situations: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    situation: str = ""
    settings_from: SearchedSettings | None = field(default=None, repr=False)
    trials: int = 0
    trained_once: tuple[str, ...] = ()

    @property
    def section(self) -> str:
        """Names the part: its data set, and its situation if it has one; "" in a table without data sets."""
        return section_name(self.data, self.situation)

    @property
    def changes(self) -> tuple[str, ...]:
        """Returns the overrides of this part's situation."""
        return self.situations.get(self.situation, ())

    def with_trials(self, trials: int) -> Table:
        """Returns the table with so many trials for each row that is searched. Raises ValueError if none is."""
        searched = [row for row in self.rows if row.search]
        if not searched or self.settings_from:
            reason = (
                f"its settings are those of {self.settings_from.file}"
                if self.settings_from
                else "no row of it is searched"
            )
            raise ValueError(f"trials={trials}: table {self.name}: {reason}")
        rows = (replace(row, search=row.search and replace(row.search, trials=trials)) for row in self.rows)
        return replace(self, rows=tuple(rows), trials=trials)

    def margin(self, measure: Measure) -> float | None:
        """Returns the difference in a measure below which two rows count as the same; None where none is known."""
        return margin(self.margins, measure.metric)

    @property
    def probes(self) -> dict[str, tuple[str, ...]]:
        """Returns the vectors that are probed, by target."""
        vectors: dict[str, tuple[str, ...]] = {}
        for measure in self.measures:
            if measure.probe:
                vectors[measure.probe] = (*vectors.get(measure.probe, ()), measure.of)
        return vectors

    @property
    def asks_subsets(self) -> bool:
        return any(measure.subset for measure in self.measures)

    @property
    def asks_erased(self) -> bool:
        return any(measure.erased for measure in self.measures)

    @property
    def units(self) -> dict[str, list[Measure]]:
        """Returns the measures by unit, in the order of the table."""
        measures: dict[str, list[Measure]] = {}
        for measure in self.measures:
            measures.setdefault(measure.unit, []).append(measure)
        return measures


def find_table(name: str, folders: Sequence[Path]) -> Path:
    """Returns the file of a table's name in one of `folders`, or of a path.

    Raises ValueError naming the tables that exist.
    """
    if name.endswith(".yaml"):
        if Path(name).is_file():
            return Path(name)
        raise ValueError(f"table={name}: no such file")
    known = {file.stem: file for folder in reversed(folders) for file in sorted(folder.glob("*.yaml"))}
    if name not in known:
        raise ValueError(f"table={name}: no such table{suggest(name, known)}; there are {', '.join(sorted(known))}")
    return known[name]


def read_table(file: Path) -> Table:
    """Reads a table. Raises ValueError naming the file, the key, what was expected and what was found."""
    try:
        return _table(file, yaml.safe_load(file.read_text(encoding="utf-8")))
    except (ValueError, yaml.YAMLError) as error:
        raise ValueError(f"{file}: {error}") from error


_OPTIONAL = (
    *("overrides", "seeds", "folds", "figure", "baseline", "datasets", "margins", "search"),
    *("situations", "settings_from", "trained_once"),
)


def _table(file: Path, values: Any) -> Table:
    node = keys("the table", values, ("title", "rows", "measures"), _OPTIONAL)
    common_search = read_common_search(node.get("search"))
    if isinstance(node["rows"], dict):
        rows = _rows_of(file.parent, node["rows"])
    else:
        rows = tuple(_row(row, common_search) for row in items("rows", node["rows"]))
    distinct("rows", [row.slug for row in rows])
    measures = tuple(read_measure(measure) for measure in items("measures", node["measures"]))
    distinct("measures", [measure.name for measure in measures])
    seeds = node.get("seeds", 3)
    if not isinstance(seeds, int) or seeds < 1:
        raise ValueError(f"seeds: expected how many, 1 or more, found {seeds!r}")
    folds = node.get("folds", 0)
    if "folds" in node and (not isinstance(folds, int) or folds < FEWEST_FOLDS):
        raise ValueError(f"folds: expected how many the store has, {FEWEST_FOLDS} or more, found {folds!r}")
    baseline = str(node.get("baseline", ""))
    if baseline and baseline not in [row.label for row in rows]:
        raise ValueError(f"baseline: {baseline!r} is none of the rows {', '.join(row.label for row in rows)}")
    common = texts("overrides", node.get("overrides", []))
    datasets = texts("datasets", items("datasets", node["datasets"]) if "datasets" in node else [])
    distinct("datasets", datasets)
    bars = _bars(node.get("figure"), measures)
    margins = read_margins(node.get("margins", {}), [measure.metric for measure in measures])
    table = Table(
        *(file.stem, str(node["title"]), common, seeds, rows, measures, bars, baseline),
        datasets=datasets,
        folds=folds,
        margins=margins,
        situations=read_situations(node.get("situations", {}), datasets),
        settings_from=_searched_settings(file, node),
        trained_once=texts("trained_once", node.get("trained_once", [])),
    )
    check_trained_once(table)
    _check_rows(table)
    if folds and (searched := [row.label for row in rows if row.search]):
        raise ValueError(
            f"rows: {searched[0]}: search: the table has folds, whose validation clips are other folds' test clips; "
            "leave the search or the folds out"
        )
    return table


def _searched_settings(file: Path, node: Mapping[str, Any]) -> SearchedSettings | None:
    return read_searched_settings(file.parent / str(node["settings_from"])) if "settings_from" in node else None


def _check_rows(table: Table) -> None:
    """Checks what rows say of each other, of the measures and of the data sets."""
    labels, measures = [row.label for row in table.rows], [measure.name for measure in table.measures]
    names = [dataset.partition("/")[0] for dataset in table.datasets] or [""]
    for number, row in enumerate(table.rows):
        if row.start and row.start not in labels[:number]:
            before = ", ".join(labels[:number]) or "there are none"
            raise ValueError(f"rows: {row.label}: start_from_row: {row.start!r} is no row above it: {before}")
        if unknown := [name for name in row.only if name not in names]:
            raise ValueError(f"rows: {row.label}: only: {unknown[0]!r} is none of {', '.join(names)}")
        for other in (row.start, table.baseline):
            its = next((above.only for above in table.rows if above.label == other), ())
            if its and not set(row.only or names) <= set(its):
                raise ValueError(f"rows: {row.label}: {other} is a row of {', '.join(its)} only, and this one of more")
        if row.results and not table.datasets:
            raise ValueError(
                f"rows: {row.label}: published: {row.results}: the table needs `datasets`, to know of which"
            )
        for published in row.published:
            if published.data not in names:
                raise ValueError(f"rows: {row.label}: published.data: {published.data!r} is none of {', '.join(names)}")
            for name in published.values:
                if name not in measures:
                    near = suggest(name, measures)
                    raise ValueError(f"rows: {row.label}: published.values: no measure {name!r}{near}")


def _bars(values: Any, measures: Sequence[Measure]) -> dict[str, tuple[str, ...]]:
    """Returns the figure's bars; without a key `figure`, one for each accuracy."""
    if values is None:
        return {measure.name: (measure.name,) for measure in measures if measure.is_share}
    known = [measure.name for measure in measures]
    others = [measure.name for measure in measures if not measure.is_share]
    if others:
        raise ValueError(f"figure: bars are for accuracies, and {others[0]} is none; leave the key out")
    if not isinstance(values, dict) or not values:
        raise ValueError(f"figure: expected groups of the measures {', '.join(known)}, found {values!r}")
    for group, names in values.items():
        unknown = [n for n in texts(f"figure.{group}", names) if n not in known]
        if unknown or not names:
            raise ValueError(f"figure.{group}: expected some of the measures {', '.join(known)}, found {names}")
    return {group: tuple(names) for group, names in values.items()}


def _row(values: Any, common_search: dict[str, Any]) -> Row:
    node = keys("rows", values, ("label",), ("overrides", "start_from_row", "published", "only", "search"))
    label = str(node["label"])
    entry = node.get("published")
    results = entry if isinstance(entry, str) else ""
    if isinstance(entry, str):
        _refuse_unpublished(label, results)
    published = () if entry is None or results else read_published(label, entry)
    overrides = texts("rows.overrides", node.get("overrides", []))
    only = texts("rows.only", items("rows.only", node["only"]) if "only" in node else [])
    search = read_row_search(label, node.get("search"), common_search)
    row = Row(label, overrides, str(node.get("start_from_row", "")), published, only, results, search=search)
    if not row.slug:
        raise ValueError(f"rows.label: expected some letters or digits, found {row.label!r}")
    return row


def _rows_of(folder: Path, values: Any) -> tuple[Row, ...]:
    """Returns rows of another table, in the order in which they are named: `rows: {of: TABLE, labels: [A, B]}`."""
    node = keys("rows", values, ("of", "labels"), ())
    other_file = find_table(str(node["of"]), [folder])
    if isinstance(yaml.safe_load(other_file.read_text(encoding="utf-8")).get("rows"), dict):
        raise ValueError(f"rows.of: {node['of']} takes its rows from a table itself; name that one")
    other = read_table(other_file)
    known = {row.label: row for row in other.rows}
    labels = texts("rows.labels", items("rows.labels", node["labels"]))
    for label in labels:
        if label not in known:
            raise ValueError(f"rows.labels: table {other.name} has no row {label!r}{suggest(label, known)}")
    return tuple(known[label] for label in labels)


def _refuse_unpublished(label: str, method: str) -> None:
    try:
        refuse_unknown_method(method)
    except ValueError as error:
        raise ValueError(f"rows: {label}: published: {error}") from None
