"""Makes blocks of text cells of what a table measured; Markdown and LaTeX write each in their way."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from trivium.core.metric_names import guess_name, metric_text
from trivium.evaluation.significance import is_told
from trivium.results.score_text import p_text
from trivium.tables.audit import spreads
from trivium.tables.collect import Measured
from trivium.tables.definition import Table
from trivium.tables.measures import Measure
from trivium.tables.pairs import square
from trivium.tables.published import Published
from trivium.tables.published_blocks import HEADS, source_lines, sources_text, verdict_lines
from trivium.tables.search_blocks import HEADS as SEARCHED
from trivium.tables.search_blocks import search_lines

# Stands behind a published number that is of other features than ours.
OTHER_FEATURES = "†"
# Stands behind a mean that cannot be told apart from the best.
TIED = "≈"
INTERVAL = "95 % interval"
MARGIN = "margin"
SEARCHES = "Settings chosen by search"
OVER_CLIPS = "over seeds and clips"
AUDIT = "Audit: epochs chosen on the test split. Not comparable with any number above"
_AUDIT_HEADS = (
    *("row", "measure", "chosen on validation", "best test epoch, one for all", "flatters by"),
    *("best test epoch of each measure", "flatters by"),
)
UNDEFINED = "undefined"
# Lower is better -> what stands behind a measure's name.
ARROWS: dict[bool | None, str] = {True: " ↓", False: " ↑", None: ""}
# Measures of several units that one table holds.
_BESIDE = 10

Line = tuple[str, ...]
Cell = Callable[[Measure, Mapping[str, Any]], str]


@dataclass(frozen=True)
class Block:
    """Holds one table of text. above, below: lines of references, which are no results.

    A cell may hold [^N], which refers to note N, and **...**, which is bold.
    """

    heads: Line
    rows: tuple[Line, ...]
    below: tuple[Line, ...] = ()
    above: tuple[Line, ...] = ()


class Notes:
    """Numbers the sources of published numbers in the order in which they come."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def mark(self, text: str) -> str:
        if text not in self.texts:
            self.texts.append(text)
        return f"[^{self.texts.index(text) + 1}]"


def sections_of(measured: Measured, repeats: int, notes: Notes) -> list[tuple[str, list[Block]]]:
    """Returns titles ("" for none) and blocks: means, intervals, differences; then published numbers, and costs.

    All measures share the first three, or, if they are many or of subsets, there is a section for each unit.
    repeats: the number of runs of a complete row.
    """
    table = measured.table
    complete = all(line["n"] == repeats for line in measured.compared.values())
    sections = []
    for title, measures in _groups(table).items():
        heads = _heads(measures, table)
        means = Block(("row", *heads), _rows(measured, measures, _mean(complete)), *_references(measured, measures))
        intervals = _rows(measured, measures, _interval)
        blocks = [means, Block((INTERVAL, *heads), tuple(row for row in intervals if set(row[1:]) != {"-"}))]
        if table.baseline:
            rows = _rows(measured, measures, _difference(complete))
            others = tuple(row for row in rows if row[0] != table.baseline)
            blocks.append(Block((f"minus {table.baseline}", *heads), others))
            blocks += _verdicts(measured, measures, heads)
        sections.append((title, blocks))
    sections.append(("", [Block(*square(measured))]))
    sections.append(("Beside published numbers", [_published(measured, complete, notes)]))
    sections.append(("Beside published results, by source", _by_source(measured, complete, notes)))
    sections.append((AUDIT, [_audit(measured)]))
    sections.append((SEARCHES, [Block(SEARCHED, tuple(search_lines(measured)))]))
    sections.append(("Size, time and selection", [_costs(measured)]))
    return [(title, filled) for title, blocks in sections if (filled := [block for block in blocks if block.rows])]


def _groups(table: Table) -> dict[str, Sequence[Measure]]:
    """Returns title, "" where there is but one -> measures that share a table."""
    if not _by_unit(table):
        return {"": table.measures}
    better = {True: " (lower is better)", False: " (higher is better)", None: ""}
    directions = {unit: {m.lower_is_better for m in measures} for unit, measures in table.units.items()}
    return {
        unit + (better[measures[0].lower_is_better] if len(directions[unit]) == 1 else ""): measures
        for unit, measures in table.units.items()
    }


def _by_unit(table: Table) -> bool:
    many = len(table.measures) > _BESIDE or not any(measure.of_whole_clips for measure in table.measures)
    return len(table.units) > 1 and many


def _heads(measures: Sequence[Measure], table: Table) -> Line:
    """Returns the measures' names, with the direction where measures of several units are beside each other."""
    if len(table.units) == 1 or _by_unit(table):
        # The calibration error is a share that is better when lower.
        mixed = len({measure.lower_is_better for measure in measures}) > 1
        arrows = [" ↓" * bool(mixed and measure.lower_is_better) for measure in measures]
        names = [measure.head if len(table.units) > 1 else measure.name for measure in measures]
        return tuple(name + arrow for name, arrow in zip(names, arrows, strict=True))
    return tuple(f"{m.name}{', %' * m.is_share}{ARROWS[m.lower_is_better]}" for m in measures)


def _rows(measured: Measured, measures: Sequence[Measure], cell: Cell) -> tuple[Line, ...]:
    labels = [row.label for row in measured.table.rows]
    return tuple((label, *(cell(m, measured.compared[label, m.name]) for m in measures)) for label in labels)


def _references(measured: Measured, measures: Sequence[Measure]) -> tuple[tuple[Line, ...], tuple[Line, ...]]:
    """Returns the lines below (chance and Bayes-optimal) and above (the train mean or frequencies), where known."""
    bounds = [measured.bounds.get(measure.name) for measure in measures]
    below = {
        "chance": [b.chance if b else math.nan for b in bounds],
        "Bayes-optimal": [b.bayes if b else math.nan for b in bounds],
    }
    above = {guess_name(measure.metric for measure in measures): [measured.reference(measure) for measure in measures]}

    def lines(references: Mapping[str, Sequence[float]]) -> tuple[Line, ...]:
        known = {label: values for label, values in references.items() if not all(map(math.isnan, values))}
        return tuple((label, *map(_number, measures, values)) for label, values in known.items())

    return lines(below), lines(above)


def _mean(complete: bool, marks: bool = True) -> Cell:
    """Returns what writes mean ± std, bold where it is the best; complete: n is the same everywhere and left out."""

    def cell(measure: Measure, line: Mapping[str, Any]) -> str:
        if not line["n"]:
            return "-"
        if math.isnan(line["mean"]):
            return UNDEFINED
        text = _number(measure, line["mean"]) + _std(measure, line["std"])
        text = f"**{text}**" if marks and line["best"] else text
        return text + ("" if complete else f" [{line['n']}]") + f" {TIED}" * (marks and line["tied"])

    return cell


def _interval(measure: Measure, line: Mapping[str, Any]) -> str:
    low, high = line["mean_low"], line["mean_high"]
    return "-" if math.isnan(low) else f"{_number(measure, low)} to {_number(measure, high)}"


def _difference(complete: bool) -> Cell:
    def cell(measure: Measure, line: Mapping[str, Any]) -> str:
        if math.isnan(line["difference"]):
            return "-"
        p = line["p_holm"]
        tested = "" if math.isnan(p) else f" ({p_text(p)}{'*' if is_told(p) else ''})"
        text = metric_text(line["difference"], measure.is_share, sign=True) + _std(measure, line["difference_std"])
        return text + tested + ("" if complete else f" [{line['difference_n']}]")

    return cell


def _verdicts(measured: Measured, measures: Sequence[Measure], heads: Line) -> list[Block]:
    """Returns what can be told of each row and the baseline, and the intervals over seeds and clips.

    Without two seeds nothing can be told.
    """
    table = measured.table
    verdicts, intervals = (
        tuple(row for row in _rows(measured, measures, cell) if row[0] != table.baseline and set(row[1:]) != {"-"})
        for cell in (_verdict, _over_clips)
    )
    margins = [table.margin(measure) for measure in measures]
    margin = (MARGIN, *("-" if m is None else _number(of, m) for of, m in zip(measures, margins, strict=True)))
    return [
        Block((f"against {table.baseline}", *heads), verdicts, above=(margin,)),
        Block((f"minus {table.baseline}, {OVER_CLIPS}", *heads), intervals),
    ]


def _verdict(measure: Measure, line: Mapping[str, Any]) -> str:
    """Returns better, worse, same or not told, and the smallest difference that so many seeds would show."""
    smallest = line["smallest"]
    return "-" if math.isnan(smallest) else f"{line['verdict']} ({_number(measure, smallest)})"


def _over_clips(measure: Measure, line: Mapping[str, Any]) -> str:
    low, high = (metric_text(line[key], measure.is_share, sign=True) for key in ("clips_low", "clips_high"))
    smallest = line["clips_smallest"]
    shown = "" if math.isnan(smallest) else f" ({_number(measure, smallest)})"
    return "-" if low == "-" else f"{low} to {high}{shown}"


def _number(measure: Measure, value: float) -> str:
    return metric_text(value, measure.is_share)


def _std(measure: Measure, value: float) -> str:
    return "" if math.isnan(value) else f" ± {_number(measure, value)}"


def _published(measured: Measured, complete: bool, notes: Notes) -> Block:
    """Returns a line for each published number of the table's measures; one alone for a row of which none is known."""
    rows: list[Line] = []
    for row in measured.table.rows:
        for published in row.published:
            note = notes.mark(f"{published.source}; features: {published.features}")
            if not published.values:
                rows.append((row.label, "-", "-", f"none known{note}", "-"))
            mark = OTHER_FEATURES if measured.other_features(row.label, published) else ""
            for measure in measured.table.measures:
                if measure.name in published.values:
                    line = measured.compared[row.label, measure.name]
                    ours, (mean, std) = _mean(complete, marks=False)(measure, line), published.values[measure.name]
                    digits = 1 if measure.is_share else 3
                    theirs = f"{mean:.{digits}f}" + ("" if math.isnan(std) else f" ± {std:.{digits}f}")
                    difference = published_difference(measure, line["mean"], published)
                    beside = "-" if math.isnan(difference) else f"{difference:+.{digits}f}{mark}"
                    name = f"{measure.name}{', %' * measure.is_share}"
                    rows.append((row.label, name, ours, theirs + mark + note, beside))
    return Block(("row", "measure", "ours", "published", "ours minus published"), tuple(rows))


def _by_source(measured: Measured, complete: bool, notes: Notes) -> list[Block]:
    """Returns the ranges over sources of each row and measure, and a verdict a row."""
    data, rows = measured.table.data.partition("/")[0], []
    for row in measured.table.rows:
        if row.cells:
            note = notes.mark(sources_text(row, data))
            compared = [(m, measured.compared[row.label, m.name]) for m in measured.table.measures]
            ours = [_mean(complete, marks=False)(measure, line) for measure, line in compared]
            rows += source_lines(measured, row, ours, OTHER_FEATURES, note)
    return [Block(HEADS, tuple(rows)), verdict_block(measured)]


def verdict_block(measured: Measured) -> Block:
    """Returns a line for each row of which something is published: ours beside the spread over comparable sources."""
    return Block(("row", "ours beside the published spread"), tuple(verdict_lines(measured)))


def published_difference(measure: Measure, mean: float, published: Published) -> float:
    """Returns our mean minus the published one, in the unit of the latter; NaN where there is nothing of ours."""
    return (100 if measure.is_share else 1) * mean - published.values[measure.name][0]


def _audit(measured: Measured) -> Block:
    """Returns a line for each row and measure: by validation, by one test epoch for all measures, and by each's own."""
    rows: list[Line] = []
    for row in measured.table.rows:
        for measure in measured.table.measures:
            by_choice = spreads(measured.audit, row.label, measure)
            if by_choice is not None:
                cells = [
                    metric_text(spread.mean, measure.is_share, sign=name.endswith("gain")) + _std(measure, spread.std)
                    for name in ("selected", "monitor_best", "monitor_best gain", "metric_best", "metric_best gain")
                    for spread in [by_choice[name]]
                ]
                rows.append((row.label, f"{measure.name}{', %' * measure.is_share}", *cells))
    return Block(_AUDIT_HEADS, tuple(rows))


def _costs(measured: Measured) -> Block:
    rows = []
    for cost in measured.costs.reset_index().to_dict("records"):
        size, trained, seconds = cost["parameters"], cost["trained_parameters"], cost["seconds"]
        text = "-" if pd.isna(size) else f"{size:,}"
        text += f", {trained:,} trained" if pd.notna(trained) and trained != size else ""
        rows.append((cost["label"], text, f"{seconds:.{1 if seconds < 10 else 0}f}", cost["selected_by"] or "-"))
    return Block(("row", "parameters", "training a run, s", "epoch tested"), tuple(rows))
