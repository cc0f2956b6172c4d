"""Draws how the rows of a table change from situation to situation: a panel a measure, a line a row."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from trivium.report.figure_style import COLOURS, COLUMN_INCHES, PAGE_INCHES, legend_above, open_figure, save_figure
from trivium.tables.blocks import ARROWS, INTERVAL
from trivium.tables.collect import Measured
from trivium.tables.measures import Measure

LINES = f"Means over seeds and their {INTERVAL}s in each situation; arrows: what is better"
# Panels of the first measures, beside each other.
_PANELS = 2
# How far the rows of one situation lie apart, of the distance to the next one.
_SPREAD = 0.16
_DASHES: tuple[Any, ...] = ("solid", (0, (4, 1.5)), (0, (1, 1)))


def write_lines(stem: Path, parts: Sequence[Measured]) -> None:
    """Writes STEM.png and STEM.pdf. parts: those of one data set, one a situation, in order."""
    # The data of a situation may lack what a measure needs.
    in_all = set.intersection(*({measure.name for measure in part.table.measures} for part in parts))
    measures = [measure for measure in parts[0].table.measures if measure.name in in_all][:_PANELS]
    rows = [row.label for row in parts[0].table.rows]
    width = COLUMN_INCHES if len(measures) == 1 else PAGE_INCHES
    columns = 2 if width == COLUMN_INCHES else 5
    with open_figure(2.3 + 0.16 * math.ceil(len(rows) / columns), width, ncols=len(measures)) as (figure, grid):
        for axes, measure in zip(grid[0], measures, strict=True):
            _draw(axes, parts, measure, rows)
        handles = [Line2D([], [], label=row, **_style(parts[0], row, n)) for n, row in enumerate(rows)]
        legend_above(figure, handles, rows, columns=columns, fontsize=6.5, handlelength=2.2)
        save_figure(figure, stem)


def _draw(axes: Axes, parts: Sequence[Measured], measure: Measure, rows: Sequence[str]) -> None:
    """Draws one measure, shares in %, and with dots what a constant prediction gives."""
    scale = 100 if measure.is_share else 1
    for n, row in enumerate(rows):
        shift = _SPREAD * (n / max(1, len(rows) - 1) - 0.5)
        lines = [part.compared[row, measure.name] for part in parts]
        places, style = [x + shift for x in range(len(parts))], _style(parts[0], row, n)
        axes.plot(places, [scale * line["mean"] for line in lines], **style, zorder=3)
        for x, line in zip(places, lines, strict=True):
            ends = [scale * line["mean_low"], scale * line["mean_high"]]
            axes.plot([x, x], ends, color=style["color"], linewidth=0.8, alpha=0.6, zorder=2)
    constant = [scale * part.reference(measure) for part in parts]
    axes.plot(range(len(parts)), constant, color="black", linewidth=0.8, linestyle=(0, (1, 2)), zorder=1)
    axes.set_title(f"{measure.name}{', %' * measure.is_share}{ARROWS[measure.lower_is_better]}", fontsize=7, pad=3)
    axes.set_xticks(range(len(parts)), [part.table.situation for part in parts], fontsize=6)
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
