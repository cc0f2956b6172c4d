"""configs/table/NAME.yaml: the rows of a table, what is measured of each run, and the figure. Form: docs/tables.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from trivium.config.nearest import suggest
from trivium.metric_names import DIRECTION, LABELS, is_share
from trivium.results.records import slug
from trivium.tables.published import Published, read_published
from trivium.tables.yaml_keys import distinct, items, keys, texts


@dataclass(frozen=True)
class Row:
    """One line of the table: a label, and the overrides of its runs beside those of every row.

    start: the label of the row whose run of the same seed is where this one's begin (start_from); "": none.
    """

    label: str
    overrides: tuple[str, ...]
    start: str = ""
    published: tuple[Published, ...] = ()

    @property
    def slug(self) -> str:
        """The label as part of a file name."""
        return slug(self.label)


@dataclass(frozen=True)
class Measure:
    """One number of a run's test split.

    Either metric, a key of result.json's "test", or probe, the target of a linear probe of the vector `of`, whose
    balanced accuracy it is. subset: of a metric, the modalities ("text+audio") that are predicted from; "": all that a
    clip has. factor, given: of the store's knowable factors, and the modalities from which it is best told; they give
    chance and the Bayes-optimal accuracy. "": not known.
    """

    name: str
    metric: str = ""
    probe: str = ""
    of: str = ""
    subset: str = ""
    factor: str = ""
    given: str = ""

    @property
    def is_share(self) -> bool:
        """Whether it is in [0, 1] and written in %: accuracies and F1; else it is in the data's unit, or Corr."""
        return bool(self.probe) or is_share(self.metric)

    @property
    def unit(self) -> str:
        """What its numbers may stand in one table with: "%", or a metric's own label."""
        return "%" if self.is_share else LABELS.get(self.metric, self.metric)

    @property
    def head(self) -> str:
        """The name without the unit, where a table says that."""
        return self.name.replace(self.unit, "").strip() or self.name

    @property
    def lower_is_better(self) -> bool:
        return not self.probe and DIRECTION.get(self.metric, "min") == "min"  # "loss" is no metric of a protocol


@dataclass(frozen=True)
class Table:
    """bars: of the figure, a group of bars -> the measures whose mean over a run's values they show.

    baseline: the label of the row that the others are compared with, seed by seed; "": none. given: overrides of the
    command line, over those of the rows. datasets: what the rows are repeated for, as NAME or NAME/FEATURES; data: the
    one of these that this part of the table is about (trivium.tables.datasets), "" where there are none. wish: what
    table= is called with; the name where it is "".
    """

    name: str
    title: str
    overrides: tuple[str, ...]
    seeds: int
    rows: tuple[Row, ...]
    measures: tuple[Measure, ...]
    bars: Mapping[str, tuple[str, ...]]
    baseline: str = ""
    given: tuple[str, ...] = ()
    datasets: tuple[str, ...] = ()
    data: str = ""
    wish: str = ""

    @property
    def probes(self) -> dict[str, tuple[str, ...]]:
        """Target -> the vectors that are probed for it."""
        found: dict[str, tuple[str, ...]] = {}
        for measure in self.measures:
            if measure.probe:
                found[measure.probe] = (*found.get(measure.probe, ()), measure.of)
        return found

    @property
    def asks_subsets(self) -> bool:
        return any(measure.subset for measure in self.measures)

    @property
    def units(self) -> dict[str, list[Measure]]:
        """Unit -> its measures, in the order of the table."""
        found: dict[str, list[Measure]] = {}
        for measure in self.measures:
            found.setdefault(measure.unit, []).append(measure)
        return found


def find_table(wish: str, folder: Path) -> Path:
    """The file of a table's name in `folder`, or of a path. Raises ValueError naming what there is."""
    if wish.endswith(".yaml"):
        if Path(wish).is_file():
            return Path(wish)
        raise ValueError(f"table={wish}: no such file")
    known = sorted(path.stem for path in folder.glob("*.yaml"))
    if wish not in known:
        raise ValueError(f"table={wish}: no such table{suggest(wish, known)}; there are {', '.join(known)}")
    return folder / f"{wish}.yaml"


def read_table(file: Path) -> Table:
    """Raises ValueError naming the file, the key, what was expected and what was found."""
    try:
        return _table(file.stem, yaml.safe_load(file.read_text(encoding="utf-8")))
    except (ValueError, yaml.YAMLError) as error:
        raise ValueError(f"{file}: {error}") from error


_OPTIONAL = ("overrides", "seeds", "figure", "baseline", "datasets")


def _table(name: str, values: Any) -> Table:
    given = keys("the table", values, ("title", "rows", "measures"), _OPTIONAL)
    rows = tuple(_row(row) for row in items("rows", given["rows"]))
    distinct("rows", [row.slug for row in rows])
    measures = tuple(_measure(measure) for measure in items("measures", given["measures"]))
    distinct("measures", [measure.name for measure in measures])
    seeds = given.get("seeds", 3)
    if not isinstance(seeds, int) or seeds < 1:
        raise ValueError(f"seeds: expected how many, 1 or more, found {seeds!r}")
    baseline = str(given.get("baseline", ""))
    if baseline and baseline not in [row.label for row in rows]:
        raise ValueError(f"baseline: {baseline!r} is none of the rows {', '.join(row.label for row in rows)}")
    common = texts("overrides", given.get("overrides", []))
    datasets = texts("datasets", items("datasets", given["datasets"]) if "datasets" in given else [])
    distinct("datasets", datasets)
    bars = _bars(given.get("figure"), measures)
    table = Table(name, str(given["title"]), common, seeds, rows, measures, bars, baseline, datasets=datasets)
    _check_rows(table)
    return table


def _check_rows(table: Table) -> None:
    """What rows say of each other, of the measures and of the data sets."""
    labels, measures = [row.label for row in table.rows], [measure.name for measure in table.measures]
    names = [wish.partition("/")[0] for wish in table.datasets] or [""]
    for number, row in enumerate(table.rows):
        if row.start and row.start not in labels[:number]:
            before = ", ".join(labels[:number]) or "there are none"
            raise ValueError(f"rows: {row.label}: start_from_row: {row.start!r} is no row above it: {before}")
        for published in row.published:
            if published.data not in names:
                raise ValueError(f"rows: {row.label}: published.data: {published.data!r} is none of {', '.join(names)}")
            for name in published.values:
                if name not in measures:
                    near = suggest(name, measures)
                    raise ValueError(f"rows: {row.label}: published.values: no measure {name!r}{near}")


def _bars(values: Any, measures: Sequence[Measure]) -> dict[str, tuple[str, ...]]:
    """Without a key `figure`, one bar a measure."""
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
    given = keys("rows", values, ("label",), ("overrides", "start_from_row", "published"))
    label = str(given["label"])
    published = read_published(label, given["published"]) if "published" in given else ()
    overrides = texts("rows.overrides", given.get("overrides", []))
    row = Row(label, overrides, str(given.get("start_from_row", "")), published)
    if not row.slug:
        raise ValueError(f"rows.label: expected some letters or digits, found {row.label!r}")
    return row


def _measure(values: Any) -> Measure:
    given = keys("measures", values, ("name",), ("metric", "probe", "of", "subset", "factor", "given"))
    if ("metric" in given) == ("probe" in given) or ("of" in given) != ("probe" in given):
        raise ValueError(f"measures: expected either metric, or probe and of, found {', '.join(given)}")
    if "subset" in given and "metric" not in given:
        raise ValueError(f"measures: {given['name']}: subset is for a metric; a probe is of all modalities")
    if ("factor" in given) != ("given" in given):
        raise ValueError(f"measures: {given['name']}: factor and given go together, found {', '.join(given)}")
    measure = Measure(**{key: str(value) for key, value in given.items()})
    if measure.metric and measure.metric not in (*LABELS, "loss"):
        raise ValueError(f"measures: {measure.name}: no metric {measure.metric!r}{suggest(measure.metric, LABELS)}")
    if measure.factor and not measure.is_share:
        raise ValueError(f"measures: {measure.name}: factor and given are for accuracies, not {measure.metric}")
    return measure
