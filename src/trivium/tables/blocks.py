"""A measured table as blocks of text cells, which Markdown and LaTeX show each in their way."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from trivium.evaluation.significance import LEVEL, Paired
from trivium.metric_names import metric_text
from trivium.reports.spread import Spread
from trivium.tables.collect import Cost, Measured
from trivium.tables.definition import Measure, Table
from trivium.tables.published import Published

OTHER_FEATURES = "†"  # behind a published number that is of other features than ours
INTERVAL = "95 % interval"
TRAIN_MEAN = "train mean"  # predicting it for every clip
UNDEFINED = "undefined"
_BESIDE = 10  # measures of several units that one table holds


@dataclass(frozen=True)
class Block:
    """One table of text. above, asides: rows above and below the others that are no results. A cell may hold [^N], note
    N.
    """

    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    asides: tuple[tuple[str, ...], ...] = ()
    above: tuple[tuple[str, ...], ...] = ()


@dataclass(frozen=True)
class Section:
    """title: "" for none."""

    title: str
    blocks: tuple[Block, ...]


class Notes:
    """Sources of published numbers, numbered as they come; one that comes again has its number."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def mark(self, text: str) -> str:
        if text not in self.texts:
            self.texts.append(text)
        return f"[^{self.texts.index(text) + 1}]"


def sections_of(measured: Measured, seeds: int, notes: Notes) -> list[Section]:
    """Means, their intervals, differences from the baseline: of all measures, or, if they are many or of subsets, a
    section for each unit; then what is published, and what the rows take.
    """
    table = measured.table
    complete = all(measured.spread(row.label, m.name).n == seeds for row in table.rows for m in table.measures)
    corrected = {row.label: measured.corrected(row.label) for row in table.rows}
    sections = []
    for title, measures in _groups(table).items():
        blocks = [_means(measured, measures, complete), *_intervals(measured, measures)]
        if table.baseline:
            blocks.append(_differences(measured, measures, corrected, complete))
        sections.append(Section(title, tuple(blocks)))
    published, costs = _published(measured, complete, notes), _costs(measured)
    sections += [Section("Beside published numbers", (published,))] if published.rows else []
    return [*sections, Section("Size, time and selection", (costs,))] if costs.rows else sections


def _groups(table: Table) -> dict[str, Sequence[Measure]]:
    """Title, "" where there is but one -> measures that share a table."""
    if not _by_unit(table):
        return {"": table.measures}
    better = {True: "lower is better", False: "higher is better"}
    return {f"{unit} ({better[found[0].lower_is_better]})": found for unit, found in table.units.items()}


def _by_unit(table: Table) -> bool:
    many = len(table.measures) > _BESIDE or all(measure.subset for measure in table.measures)
    return len(table.units) > 1 and many


def _means(measured: Measured, measures: Sequence[Measure], complete: bool) -> Block:
    rows = [
        (row.label, *(_mean(measure, measured.spread(row.label, measure.name), complete) for measure in measures))
        for row in measured.table.rows
    ]
    above = [(TRAIN_MEAN, *(number(m, measured.reference(m)) for m in measures))]
    asides: list[tuple[str, ...]] = []
    if any(measure.name in measured.bounds for measure in measures):
        for name, label in (("chance", "chance"), ("bayes", "Bayes-optimal")):
            found = [(m, getattr(measured.bounds.get(m.name), name, math.nan)) for m in measures]
            asides.append((label, *(number(measure, value) for measure, value in found)))
    known = any(not math.isnan(measured.reference(measure)) for measure in measures)
    return Block(_heads("row", measures, measured.table), tuple(rows), tuple(asides), tuple(above) if known else ())


def _intervals(measured: Measured, measures: Sequence[Measure]) -> list[Block]:
    """None where no row has two seeds."""
    rows = []
    for row in measured.table.rows:
        cells = [(m, *measured.interval(row.label, m.name)) for m in measures]
        if not all(math.isnan(low) for _, low, _ in cells):
            texts = ["-" if math.isnan(low) else f"{number(m, low)} to {number(m, high)}" for m, low, high in cells]
            rows.append((row.label, *texts))
    return [Block(_heads(INTERVAL, measures, measured.table), tuple(rows))] if rows else []


def _differences(
    measured: Measured, measures: Sequence[Measure], corrected: Mapping[str, Mapping[str, float]], complete: bool
) -> Block:
    rows = []
    for row in measured.table.rows:
        if row.label != measured.table.baseline:
            found = [(measure, measured.difference(row.label, measure.name)) for measure in measures]
            p_values = corrected[row.label]
            cells = [_difference(measure, one, p_values[measure.name], complete) for measure, one in found]
            rows.append((row.label, *cells))
    return Block(_heads(f"minus {measured.table.baseline}", measures, measured.table), tuple(rows))


def _published(measured: Measured, complete: bool, notes: Notes) -> Block:
    """A line for each published number of a measure that the table has; one alone for a row of which none is known."""
    rows: list[tuple[str, ...]] = []
    for row in measured.table.rows:
        for published in row.published:
            note = notes.mark(f"{published.source}; features: {published.features}")
            if not published.values:
                rows.append((row.label, "-", "-", f"none known{note}", "-"))
            for measure in measured.table.measures:
                if measure.name in published.values:
                    rows.append(_beside(measured, row.label, measure, published, complete, note))
    return Block(("row", "measure", "ours", "published", "ours minus published"), tuple(rows))


def _beside(
    measured: Measured, row: str, measure: Measure, published: Published, complete: bool, note: str
) -> tuple[str, ...]:
    mean, std = published.values[measure.name]
    digits = 1 if measure.is_share else 3
    spread = measured.spread(row, measure.name)
    around = "" if math.isnan(std) else f" ± {std:.{digits}f}"
    mark = OTHER_FEATURES if measured.other_features(row, published) else ""
    difference = published_difference(measure, spread, published)
    told = "-" if math.isnan(difference) else f"{difference:+.{digits}f}{mark}"
    name = f"{measure.name}, %" if measure.is_share else measure.name
    return row, name, _mean(measure, spread, complete), f"{mean:.{digits}f}{around}{mark}{note}", told


def published_difference(measure: Measure, spread: Spread, published: Published) -> float:
    """Ours minus the published mean, in the unit of the latter; NaN where there is nothing of ours."""
    return (100 if measure.is_share else 1) * spread.mean - published.values[measure.name][0]


def _costs(measured: Measured) -> Block:
    """Of rows that have a run."""
    rows = [
        (label, _size(cost), _seconds(statistics.median(cost.seconds)), ", ".join(cost.selected) or "-")
        for label, cost in measured.costs.items()
        if cost.seconds
    ]
    return Block(("row", "parameters", "training a run, s", "epoch tested"), tuple(rows))


def _size(cost: Cost) -> str:
    if not cost.parameters:
        return "-"
    frozen = cost.trained is not None and cost.trained != cost.parameters
    return f"{cost.parameters:,}" + (f", {cost.trained:,} trained" if frozen else "")


def _seconds(value: float) -> str:
    return f"{value:.1f}" if value < 10 else f"{value:.0f}"


def _heads(first: str, measures: Sequence[Measure], table: Table) -> tuple[str, ...]:
    """With the direction where measures of several units are beside each other."""
    if len(table.units) == 1:
        return first, *(measure.name for measure in measures)
    if _by_unit(table):
        return first, *(measure.head for measure in measures)
    shares = {True: ", %", False: ""}
    return first, *(f"{m.name}{shares[m.is_share]} {'↓' if m.lower_is_better else '↑'}" for m in measures)


def _mean(measure: Measure, spread: Spread, complete: bool) -> str:
    if not spread.n:
        return "-"
    if math.isnan(spread.mean):
        return UNDEFINED
    std = "" if math.isnan(spread.std) else f" ± {number(measure, spread.std)}"
    return f"{number(measure, spread.mean)}{std}" + (f" [{spread.n}]" if not complete else "")


def _difference(measure: Measure, found: Paired | None, p: float, complete: bool) -> str:
    if found is None:
        return "-"
    std = "" if math.isnan(found.std) else f" ± {number(measure, found.std)}"
    tested = "" if math.isnan(p) else f" ({p_text(p)}{'*' if p < LEVEL else ''})"
    return f"{number(measure, found.mean, sign=True)}{std}{tested}{'' if complete else f' [{found.n}]'}"


def p_text(p: float) -> str:
    """Three digits, as in .031."""
    return "<.001" if p < 0.0005 else f"{p:.3f}".removeprefix("0")


def number(measure: Measure, value: float, sign: bool = False) -> str:
    return metric_text(value, measure.is_share, sign)


def legend(parts: Sequence[Measured], seeds: int, complete: bool) -> list[str]:
    """What the cells are, in sentences."""
    tables = [part.table for part in parts]
    table = tables[0]
    measures = list(dict.fromkeys(measure for one in tables for measure in one.measures))
    each = f"n = {seeds} seeds" if complete else f"n of {seeds} seeds in brackets"
    shares = [measure.is_share for measure in measures]
    unit = ", %," if all(shares) else "; shares in %;" if any(shares) else ","
    numbers = f"mean ± standard deviation over seeds (n - 1), {each}" if seeds > 1 else "one seed"
    lines = [f"Test split{unit} {numbers}."]
    if seeds > 1:
        lines.append(f"{INTERVAL}: of the mean, percentile bootstrap over seeds; too narrow for few of them.")
    if any(not math.isnan(part.reference(measure)) for part in parts for measure in part.table.measures):
        lines.append(f"{TRAIN_MEAN}: MAE of predicting it for every clip.")
    if _some_undefined(parts):
        lines.append(f"{UNDEFINED}: in one of the runs at least, as Corr is of predictions that are all the same.")
    lines += _on_measures(tables, measures)
    if table.baseline:
        counts = " or ".join(dict.fromkeys(str(len(one.measures)) for one in tables))
        lines.append(_on_differences(table.baseline, counts, seeds))
    if any(_marked(part) for part in parts):
        lines.append(
            f"{OTHER_FEATURES}: our runs were on other features, so the difference says nothing of the method."
        )
    if any(cost.seconds for part in parts for cost in part.costs.values()):
        lines.append("Parameters: of the whole model, encoders included; time: median over the runs, testing left out.")
    return lines


def _marked(part: Measured) -> bool:
    return any(part.other_features(row.label, one) for row in part.table.rows for one in row.published)


def _on_differences(baseline: str, measures: str, seeds: int) -> str:
    """measures: how many a row has."""
    told = f"Differences: a seed's value minus {baseline}'s of the same seed"
    if seeds == 1:
        return f"{told}."
    corrected = f", corrected (Holm) over the row's {measures} measures" if measures != "1" else ""
    return (
        f"{told}, mean ± standard deviation; in brackets p of the paired t test{corrected}, * below {LEVEL:g}. "
        f"table.csv has {'p uncorrected, ' if corrected else ''}Wilcoxon's, and a bootstrap interval."
    )


def _some_undefined(parts: Sequence[Measured]) -> bool:
    values = (
        value for part in parts for row in part.values.values() for seeds in row.values() for value in seeds.values()
    )
    return any(map(math.isnan, values))


def _on_measures(tables: Sequence[Table], measures: Sequence[Measure]) -> list[str]:
    lines = []
    probed = [m.name for m in measures if m.probe]
    if probed:
        which = "All are" if len(probed) == len(measures) else f"{', '.join(probed)}:"
        lines.append(f"{which} balanced accuracies of linear probes on frozen vectors; docs/protocol.md.")
    if any(one.asks_subsets for one in tables):
        lines.append("One set of weights a run, predicting from the modalities named; docs/protocol.md.")
    return lines
