"""Reads configs/table/NAME.yaml: rows, measures and figure of a table. docs/tables.md has the form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from trivium.core.choices import suggest
from trivium.core.metric_names import LABELS, OF, is_share, label_of, lower_is_better
from trivium.data.clips import FEWEST_FOLDS
from trivium.results.records import slug
from trivium.tables.margins import margin, read_margins
from trivium.tables.published import Published, read_published
from trivium.tables.published_results import Cell, refuse_unknown_method
from trivium.tables.yaml_keys import distinct, items, keys, texts


@dataclass(frozen=True)
class Row:
    """Holds one line of the table: a label, and the overrides of its runs beside those of every row.

    start: the label of the row whose run of the same seed this row's runs begin from (start_from); "": none.
    only: the data sets that the row is for; empty: all of the table's.
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

    @property
    def slug(self) -> str:
        """Returns the label as part of a file name."""
        return slug(self.label)


@dataclass(frozen=True)
class Measure:
    """Names one number of a run.

    Either metric, a key of result.json's part of `split`, or probe, the target of a linear probe of the vector `of`,
    whose balanced accuracy it is. subset: of a metric, the modalities ("text+audio") that are predicted from; "": all
    that a clip has. factor, given: of the store's knowable factors, and the modalities from which it is best told; they
    give chance and the Bayes-optimal accuracy. "": not known. better: higher or lower, of a metric of one's own.
    A metric that result.json does not have is computed from the run's predictions, where that is possible.
    """

    name: str
    metric: str = ""
    probe: str = ""
    of: str = ""
    subset: str = ""
    factor: str = ""
    given: str = ""
    better: str = ""
    split: str = "test"

    @property
    def is_share(self) -> bool:
        """Returns whether it is in [0, 1] and written in %: accuracies and F1, not errors or Corr."""
        return bool(self.probe) or is_share(self.metric)

    @property
    def unit(self) -> str:
        """Returns "%" or a metric's label: measures of one unit may share a table."""
        return "%" if self.is_share else label_of(self.metric.partition(OF)[0])

    @property
    def head(self) -> str:
        """Returns the name without the unit, where a table says that."""
        return self.name.replace(self.unit, "").strip() or self.name

    @property
    def lower_is_better(self) -> bool | None:
        """Returns whether lower is better; None for a measure of which neither direction is, such as the mean error."""
        if self.better:
            return self.better == "lower"
        return False if self.probe else lower_is_better(self.metric)


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
        return _table(file.stem, yaml.safe_load(file.read_text(encoding="utf-8")))
    except (ValueError, yaml.YAMLError) as error:
        raise ValueError(f"{file}: {error}") from error


_OPTIONAL = ("overrides", "seeds", "folds", "figure", "baseline", "datasets", "margins")


def _table(name: str, values: Any) -> Table:
    node = keys("the table", values, ("title", "rows", "measures"), _OPTIONAL)
    rows = tuple(_row(row) for row in items("rows", node["rows"]))
    distinct("rows", [row.slug for row in rows])
    measures = tuple(_measure(measure) for measure in items("measures", node["measures"]))
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
        *(name, str(node["title"]), common, seeds, rows, measures, bars, baseline),
        datasets=datasets,
        folds=folds,
        margins=margins,
    )
    _check_rows(table)
    return table


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
    """Returns the figure's bars; without a key `figure`, one a measure."""
    if values is None:
        return {measure.name: (measure.name,) for measure in measures}
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


def _row(values: Any) -> Row:
    node = keys("rows", values, ("label",), ("overrides", "start_from_row", "published", "only"))
    label = str(node["label"])
    entry = node.get("published")
    results = entry if isinstance(entry, str) else ""
    if isinstance(entry, str):
        _refuse_unpublished(label, results)
    published = () if entry is None or results else read_published(label, entry)
    overrides = texts("rows.overrides", node.get("overrides", []))
    only = texts("rows.only", items("rows.only", node["only"]) if "only" in node else [])
    row = Row(label, overrides, str(node.get("start_from_row", "")), published, only, results)
    if not row.slug:
        raise ValueError(f"rows.label: expected some letters or digits, found {row.label!r}")
    return row


def _refuse_unpublished(label: str, method: str) -> None:
    try:
        refuse_unknown_method(method)
    except ValueError as error:
        raise ValueError(f"rows: {label}: published: {error}") from None


def _measure(values: Any) -> Measure:
    node = keys("measures", values, ("name",), ("metric", "probe", "of", "subset", "factor", "given", "better"))
    if ("metric" in node) == ("probe" in node) or ("of" in node) != ("probe" in node):
        raise ValueError(f"measures: expected either metric, or probe and of, found {', '.join(node)}")
    if "subset" in node and "metric" not in node:
        raise ValueError(f"measures: {node['name']}: subset is for a metric; a probe is of all modalities")
    if ("factor" in node) != ("given" in node):
        raise ValueError(f"measures: {node['name']}: factor and given go together, found {', '.join(node)}")
    words = {key: str(value) for key, value in node.items()}
    if words.get("metric", "").startswith("val/"):
        words |= {"metric": words["metric"].removeprefix("val/"), "split": "val"}
        if "subset" in words:
            raise ValueError(f"measures: {words['name']}: subset is of the test split; leave val/ out")
    measure = Measure(**words)
    known = (*LABELS, "loss")
    # Of one class, label or score, as recall/happy, the part before the stroke is the metric.
    is_known = measure.metric.partition(OF)[0] in known
    if measure.better not in (("",) if measure.probe or is_known else ("", "higher", "lower")):
        of_own = "higher or lower, of a metric of your own alone"
        raise ValueError(f"measures: {measure.name}: better: expected {of_own}, found {measure.better!r}")
    if measure.metric and not measure.better and not is_known:
        hint = f"{suggest(measure.metric, LABELS)}; one of your own needs better: higher, or lower"
        raise ValueError(f"measures: {measure.name}: no metric {measure.metric!r}{hint}")
    if measure.factor and not measure.is_share:
        raise ValueError(f"measures: {measure.name}: factor and given are for accuracies, not {measure.metric}")
    return measure
