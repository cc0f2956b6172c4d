"""Draws the figure of a table of generated data: bars of accuracies between chance and what is knowable."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.patheffects import withStroke

from trivium.report.figure_style import COLOURS, COLUMN_INCHES, PAGE_INCHES, legend_above, open_figure, save_figure
from trivium.tables.collect import Measured

# Line styles of the two bounds.
BOUNDS: dict[str, Any] = {"chance": (0, (2, 1.5)), "Bayes-optimal": "solid"}
# Tell a second round of colours apart.
HATCHES = ("", "///", "...")
# Bars that a paper's column has room for; more take both columns.
IN_A_COLUMN = 24


def write_bars(stem: Path, measured: Measured) -> None:
    """Writes STEM.png and STEM.pdf: a group of bars for each of the table's `bars`, one colour a row."""
    wide = len(measured.table.bars) * len(measured.table.rows) > IN_A_COLUMN
    with open_figure(width=PAGE_INCHES if wide else COLUMN_INCHES) as (figure, grid):
        axes = grid[0, 0]
        draw_bars(axes, measured)
        handles = dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
        # The rows first.
        labels = sorted(handles, key=lambda label: label in BOUNDS)
        legend_above(figure, [handles[label] for label in labels], labels, columns=5 if wide else 3, handlelength=1.2)
        save_figure(figure, stem)


def draw_bars(axes: Axes, measured: Measured) -> None:
    """Draws means in %, error bars of one standard deviation over seeds, and lines at chance and Bayes."""
    groups, rows = list(measured.table.bars), [row.label for row in measured.table.rows]
    width = 0.84 / len(rows)
    for r, row in enumerate(rows):
        spreads = [measured.bar(row, group) for group in groups]
        places = [g + (r - (len(rows) - 1) / 2) * width for g in range(len(groups))]
        axes.bar(
            places,
            # NaN, a row without a value, draws nothing.
            [100 * spread.mean for spread in spreads],
            0.92 * width,
            yerr=[100 * spread.std if spread.n > 1 else 0.0 for spread in spreads],
            error_kw={"elinewidth": 0.7, "capsize": 1.2, "capthick": 0.7},
            color=COLOURS[r % len(COLOURS)],
            hatch=HATCHES[r // len(COLOURS) % len(HATCHES)],
            edgecolor="white",
            linewidth=0.3,
            label=row,
        )
    _bounds(axes, measured, groups)
    axes.set_xticks(range(len(groups)), groups)
    axes.tick_params(axis="x", length=0)
    axes.set_xlim(-0.5, len(groups) - 0.5)
    axes.set_ylim(0, 105)
    axes.set_ylabel("test accuracy, %")


def _bounds(axes: Axes, measured: Measured, groups: Sequence[str]) -> None:
    known = {g: bounds for g, group in enumerate(groups) if (bounds := measured.bar_bounds(group)) is not None}
    ends = [g - 0.46 for g in known], [g + 0.46 for g in known]
    heights = {
        "chance": [100 * bounds.chance for bounds in known.values()],
        "Bayes-optimal": [100 * bounds.bayes for bounds in known.values()],
    }
    style: dict[str, Any] = {"colors": "black", "linewidth": 0.9, "zorder": 3}
    # a rim for the one that crosses the bars; around the other it would hide their ends
    rims = {"chance": [withStroke(linewidth=2.0, foreground="white")], "Bayes-optimal": None}
    for label, at in heights.items():
        axes.hlines(at, *ends, label=label, linestyles=BOUNDS[label], path_effects=rims[label], **style)
