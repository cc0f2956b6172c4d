"""Draws how the rows of a table change from situation to situation, or with the rate of erased steps."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from trivium.core.metric_names import label_of
from trivium.report.figure_style import COLOURS, COLUMN_INCHES, PAGE_INCHES, legend_above, open_figure, save_figure
from trivium.tables.blocks import ARROWS, INTERVAL
from trivium.tables.collect import Measured
from trivium.tables.definition import Table
from trivium.tables.measures import OVER_RATES, Measure

RATES = f"Means over seeds and their {INTERVAL}s at each rate of erased frames and words; arrows: what is better"
LINES = f"Means over seeds and their {INTERVAL}s in each situation; arrows: what is better"
# Panels of the first measures, beside each other.
_PANELS = 2
# How far the rows of one situation lie apart, of the distance to the next one.
_SPREAD = 0.16
_DASHES: tuple[Any, ...] = ("solid", (0, (4, 1.5)), (0, (1, 1)))


@dataclass(frozen=True)
class _Point:
    """Names a place on the x axis of a panel, and where its values are."""

    tick: str
    part: Measured
    measure: Measure


def write_lines(stem: Path, parts: Sequence[Measured]) -> None:
    """Writes STEM.png and STEM.pdf. parts: those of one data set, one a situation, in order."""
    # The data of a situation may lack what a measure needs.
    in_all = set.intersection(*({measure.name for measure in part.table.measures} for part in parts))
    measures = [measure for measure in parts[0].table.measures if measure.name in in_all]
    _write(
        stem,
        {measure.name: [_Point(part.table.situation, part, measure) for part in parts] for measure in measures},
    )


def rates_of(table: Table) -> dict[str, list[Measure]]:
    """Returns metric -> its measures at rates of erased steps, in the order of the rates, if there are several."""
    by_metric: dict[str, list[Measure]] = {}
    for measure in table.measures:
        if measure.erased not in ("", *OVER_RATES):
            by_metric.setdefault(measure.metric, []).append(measure)
    by_rate = {metric: sorted(measures, key=lambda m: float(m.erased)) for metric, measures in by_metric.items()}
    return {metric: measures for metric, measures in by_rate.items() if len(measures) > 1}


def write_rates(stem: Path, measured: Measured) -> None:
    """Writes STEM.png and STEM.pdf, a panel a metric of `rates_of`, its rates along the x axis."""
    panels = rates_of(measured.table).items()
    _write(
        stem,
        {
            f"{label_of(metric)} by rate": [_Point(measure.erased, measured, measure) for measure in measures]
            for metric, measures in panels
        },
    )


def _write(stem: Path, panels: Mapping[str, Sequence[_Point]]) -> None:
    """Writes STEM.png and STEM.pdf. panels: title -> its places; the first are drawn."""
    shown = dict(list(panels.items())[:_PANELS])
    first = next(iter(shown.values()))[0].part
    rows = [row.label for row in first.table.rows]
    width = COLUMN_INCHES if len(shown) == 1 else PAGE_INCHES
    columns = 2 if width == COLUMN_INCHES else 5
    with open_figure(2.3 + 0.16 * math.ceil(len(rows) / columns), width, ncols=len(shown)) as (figure, grid):
        for axes, (title, points) in zip(grid[0], shown.items(), strict=True):
            _draw(axes, title, points, rows)
        handles = [Line2D([], [], label=row, **_style(first, row, n)) for n, row in enumerate(rows)]
        legend_above(figure, handles, rows, columns=columns, fontsize=6.5, handlelength=2.2)
        save_figure(figure, stem)


def _draw(axes: Axes, title: str, points: Sequence[_Point], rows: Sequence[str]) -> None:
    """Draws one measure, shares in %, and with dots what a constant prediction gives."""
    first = points[0].measure
    scale = 100 if first.is_share else 1
    for n, row in enumerate(rows):
        shift = _SPREAD * (n / max(1, len(rows) - 1) - 0.5)
        lines = [point.part.compared[row, point.measure.name] for point in points]
        places, style = [x + shift for x in range(len(points))], _style(points[0].part, row, n)
        axes.plot(places, [scale * line["mean"] for line in lines], **style, zorder=3)
        for x, line in zip(places, lines, strict=True):
            ends = [scale * line["mean_low"], scale * line["mean_high"]]
            axes.plot([x, x], ends, color=style["color"], linewidth=0.8, alpha=0.6, zorder=2)
    constant = [scale * point.part.reference(point.measure) for point in points]
    axes.plot(range(len(points)), constant, color="black", linewidth=0.8, linestyle=(0, (1, 2)), zorder=1)
    axes.set_title(f"{title}{', %' * first.is_share}{ARROWS[first.lower_is_better]}", fontsize=7, pad=3)
    axes.set_xticks(range(len(points)), [point.tick for point in points], fontsize=6)
    axes.tick_params(axis="y", labelsize=6, length=2)
    axes.yaxis.set_major_locator(MaxNLocator(6))
    axes.grid(axis="y", color="0.92", linewidth=0.5)
    axes.set_axisbelow(True)


def _style(part: Measured, row: str, number: int) -> dict[str, Any]:
    """Returns colour, dashes and marker of a row; the baseline is black."""
    if row == part.table.baseline:
        return {"color": "black", "linewidth": 1.4, "marker": "s", "markersize": 3}
    dashes, colour = list(product(_DASHES, COLOURS))[number % (len(_DASHES) * len(COLOURS))]
    return {"color": colour, "linewidth": 1.0, "linestyle": dashes, "marker": "o", "markersize": 2.5}
