"""Draws a panel for each measure: every seed, means with their intervals, and which differ from the baseline."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from trivium.core.metric_names import guess_name
from trivium.evaluation.significance import LEVEL
from trivium.report.figure_style import COLUMN_INCHES, PAGE_INCHES, legend_above, open_figure, save_figure
from trivium.tables.blocks import ARROWS, INTERVAL, OTHER_FEATURES
from trivium.tables.collect import Measured
from trivium.tables.measures import Measure
from trivium.tables.published_range import cells_of_measure, is_same, sound
from trivium.tables.published_results import Cell

PANELS = f"Every seed (dots), means and their {INTERVAL}s, beside the baseline's mean (line); arrows: what is better"
# Panels beside each other in a page's width.
_WIDE = 4
# Inches of a row, and of what is around the rows of a panel.
_ROW, _HEAD = 0.155, 0.5


@dataclass(frozen=True)
class Style:
    """Describes how a mean is drawn: colour and marker both tell the result of the test."""

    label: str
    colour: str
    marker: str
    filled: bool = True


BASELINE = Style("baseline", "black", "s")
BETTER = Style(f"better, p < {LEVEL:g}", "#0072B2", "^")
WORSE = Style(f"worse, p < {LEVEL:g}", "#D55E00", "v")
SAME = Style("same within the margin", "#666666", "o")
ALIKE = Style("not told apart", "#666666", "o", filled=False)
# Of a measure of which neither direction is better.
OTHER = Style(f"other, p < {LEVEL:g}", "black", "P")
VERDICTS = {"better": BETTER, "worse": WORSE, "same": SAME, "lower": OTHER, "higher": OTHER}
# Of a table without a baseline.
PLAIN = Style("mean", "#0072B2", "o")


def write_panels(stem: Path, measured: Measured) -> None:
    """Writes STEM.png and STEM.pdf, one column wide for one or two measures, else two."""
    measures, rows = measured.table.measures, measured.table.rows
    wide = min(_WIDE, len(measures))
    lines = math.ceil(len(measures) / wide)
    width = COLUMN_INCHES if len(measures) <= 2 else PAGE_INCHES
    legend = 0.2 if width == PAGE_INCHES else 0.5
    height = legend + lines * (_HEAD + _ROW * len(rows))
    with open_figure(height, width, nrows=lines, ncols=wide, sharey=True) as (figure, grid):
        for axes, measure in zip(grid.flat, measures, strict=False):
            draw_panel(axes, measured, measure)
        for axes in grid.flat[len(measures) :]:
            axes.set_axis_off()
        _legend(figure, measured, 7 if width == PAGE_INCHES else 3)
        save_figure(figure, stem)


def draw_panel(axes: Axes, measured: Measured, measure: Measure) -> None:
    """Draws one measure, rows from the top; shares in %."""
    scale = 100 if measure.is_share else 1
    rows = [row.label for row in measured.table.rows]
    _lines(axes, measured, measure, scale)
    for y, row in enumerate(rows):
        values = [scale * value for value in measured.values.get((row, measure.name), [])]
        axes.plot(values, [y + 0.24] * len(values), "o", color="black", alpha=0.35, markersize=2, markeredgewidth=0)
        line, style = measured.compared[row, measure.name], style_of(measured, row, measure)
        ends = [scale * line["mean_low"], scale * line["mean_high"]]
        axes.plot(ends, [y, y], color=style.colour, linewidth=1.4, solid_capstyle="butt", zorder=3)
        axes.plot([scale * line["mean"]], [y], **_marker(style), zorder=4)
    for y, row_of in enumerate(measured.table.rows):
        for published in row_of.published:
            if measure.name in published.values:
                value = published.values[measure.name][0]
                _published(axes, value, y - 0.22, other=measured.other_features(row_of.label, published))
        for cell in sound(cells_of_measure(row_of, measure)):
            same = is_same(measured, row_of.label, cell)
            axes.plot([scale * cell.value], [y - 0.26], **_tick(cell, same=same))
    axes.set_title(f"{measure.name}{', %' * measure.is_share}{ARROWS[measure.lower_is_better]}", fontsize=7, pad=3)
    axes.set_yticks(range(len(rows)), rows, fontsize=6.5)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.tick_params(axis="x", labelsize=6, length=2, pad=1.5)
    axes.xaxis.set_major_locator(MaxNLocator(4, min_n_ticks=2))
    axes.margins(x=0.06)
    axes.grid(axis="y", color="0.92", linewidth=0.5)
    axes.set_axisbelow(True)
    axes.spines["left"].set_visible(False)


def style_of(measured: Measured, row: str, measure: Measure) -> Style:
    """Returns the style of the verdict on the row and the baseline."""
    if not measured.table.baseline:
        return PLAIN
    if row == measured.table.baseline:
        return BASELINE
    return VERDICTS.get(measured.compared[row, measure.name]["verdict"], ALIKE)


def _lines(axes: Axes, measured: Measured, measure: Measure, scale: float) -> None:
    """Draws lines at the baseline's mean and at what predicting the train mean gives."""
    if measured.table.baseline:
        at = scale * measured.compared[measured.table.baseline, measure.name]["mean"]
        if not math.isnan(at):
            axes.axvline(at, **_BASELINE_LINE)
    reference = scale * measured.reference(measure)
    if not math.isnan(reference):
        axes.axvline(reference, **_TRAIN_MEAN_LINE)


_BASELINE_LINE: dict[str, Any] = {"color": "black", "linewidth": 0.6, "zorder": 1}
_TRAIN_MEAN_LINE: dict[str, Any] = {"color": "black", "linewidth": 0.8, "linestyle": (0, (1, 1.5)), "zorder": 1}
_OPEN: dict[str, Any] = {"marker": "D", "markersize": 3.6, "markerfacecolor": "white", "linestyle": "none", "zorder": 5}
_SAME, _OTHER = {**_OPEN, "color": "black"}, {**_OPEN, "color": "#CC79A7"}


def _published(axes: Axes, value: float, y: float, *, other: bool) -> None:
    axes.plot([value], [y], **(_OTHER if other else _SAME), markeredgewidth=0.8)
    if other:
        axes.annotate(OTHER_FEATURES, (value, y), (2.2, 0.4), textcoords="offset points", fontsize=6, color="#CC79A7")


# A published result by its kind; pale where it is not known to be on our features.
_KINDS = {
    "authors": ("published: authors", "#000000"),
    "rerun": ("re-run", "#009E73"),
    "quoted": ("quoted", "#E69F00"),
}
_PALE = 0.5


def _tick(cell: Cell, *, same: bool) -> dict[str, Any]:
    """Returns the style of one published result: a tick in its kind's colour, a cross where test chose the epoch."""
    on_test = cell.selection == "test"
    return {
        "marker": "x" if on_test else "|",
        "color": _KINDS[cell.kind][1],
        "alpha": 1.0 if same else _PALE,
        "markersize": 2.4 if on_test else 4.5,
        "markeredgewidth": 1.1 if same else 0.7,
        "linestyle": "none",
        "zorder": 2,
    }


def _marker(style: Style) -> dict[str, Any]:
    face = style.colour if style.filled else "white"
    return {
        "marker": style.marker,
        "color": style.colour,
        "markerfacecolor": face,
        "markersize": 3.6,
        "markeredgewidth": 0.8,
        "linestyle": "none",
    }


def _legend(figure: Figure, measured: Measured, columns: int) -> None:
    """Draws the legend of what occurs."""
    table = measured.table
    styles = {style_of(measured, row.label, measure): None for row in table.rows for measure in table.measures}
    order = [style for style in (BASELINE, BETTER, WORSE, SAME, OTHER, ALIKE, PLAIN) if style in styles]
    handles: list[Line2D] = []
    for style in order:
        label = f"{table.baseline}, line: mean" if style is BASELINE else style.label
        handles.append(Line2D([], [], label=label, **_marker(style)))
    if any(not math.isnan(measured.reference(measure)) for measure in table.measures):
        name = guess_name(measure.metric for measure in table.measures)
        handles.append(Line2D([], [], label=name, **_TRAIN_MEAN_LINE))
    handles += _published_handles(measured) + _tick_handles(measured)
    # Their labels are longer.
    columns = min(columns, 6) if any(row.cells for row in table.rows) else columns
    labels, layout = [str(handle.get_label()) for handle in handles], {"handlelength": 1.2, "handletextpad": 0.4}
    legend_above(figure, handles, labels, columns=min(columns, len(handles)), fontsize=6.5, **layout)


def _published_handles(measured: Measured) -> list[Line2D]:
    names = {measure.name for measure in measured.table.measures}
    others = {
        measured.other_features(row.label, published)
        for row in measured.table.rows
        for published in row.published
        if names & set(published.values)
    }
    labels = {False: ("published", _SAME), True: (f"published{OTHER_FEATURES}, other features", _OTHER)}
    return [Line2D([], [], label=label, **style) for other, (label, style) in labels.items() if other in others]


def _tick_handles(measured: Measured) -> list[Line2D]:
    """Returns a handle for each kind of published result that is drawn, and for what pale ticks and crosses are."""
    drawn = [
        (cell, is_same(measured, row.label, cell))
        for row in measured.table.rows
        for measure in measured.table.measures
        for cell in sound(cells_of_measure(row, measure))
    ]
    handles = []
    for kind, (label, _) in _KINDS.items():
        cell = next((cell for cell, _ in drawn if cell.kind == kind), None)
        if cell is not None:
            handles.append(Line2D([], [], label=label, **_tick(replace(cell, selection=""), same=True)))
    first = drawn[0][0] if drawn else None
    if first is not None and any(not same for _, same in drawn):
        pale = _tick(replace(first, selection=""), same=False)
        handles.append(Line2D([], [], label=f"pale: other features{OTHER_FEATURES}", **pale))
    if first is not None and any(cell.selection == "test" for cell, _ in drawn):
        handles.append(Line2D([], [], label="selected on test", **_tick(replace(first, selection="test"), same=True)))
    return handles
