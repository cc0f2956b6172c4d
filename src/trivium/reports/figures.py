"""Figures of tables: matplotlib without a display, readable in one column of a paper and to the colour-blind."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from trivium.files import atomic_file
from trivium.reports.collect import Measured

# Okabe and Ito's palette (2008) without yellow, too light on white, and with grey for black, so that lines show on it.
# A hatch tells a second round apart.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#56B4E9", "#D55E00", "#CC79A7", "#666666")
BOUNDS: dict[str, Any] = {"chance": (0, (2, 1.5)), "Bayes-optimal": "solid"}  # line styles
HATCHES = ("", "///", "...")
COLUMN_INCHES, PAGE_INCHES = 3.4, 7.0  # of a paper's column, and of its two
_STYLE: dict[Any, Any] = {
    "font.size": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "hatch.linewidth": 0.5,
    "pdf.fonttype": 42,  # text stays text
    "svg.hashsalt": "trivium",
    "svg.fonttype": "none",
}


def write_bars(stem: Path, measured: Measured) -> None:
    """STEM.png and STEM.pdf: a group of bars for each of the table's `bars`, one colour a row."""
    with open_figure() as (figure, grid):
        axes = grid[0, 0]
        draw_bars(axes, measured)
        found = dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
        labels = sorted(found, key=lambda label: label in BOUNDS)  # the rows first
        layout: dict[str, Any] = {
            "ncols": 3,
            "frameon": False,
            "handlelength": 1.2,
            "columnspacing": 1.0,
            "fontsize": 7,
        }
        figure.legend([found[label] for label in labels], labels, loc="outside upper center", **layout)
        save_figure(figure, stem)


def draw_bars(axes: Axes, measured: Measured) -> None:
    """Means in %, error bars of one standard deviation over seeds; over each group lines at chance and Bayes."""
    groups, rows = list(measured.table.bars), [row.label for row in measured.table.rows]
    width = 0.84 / len(rows)
    for r, row in enumerate(rows):
        spreads = [measured.bar(row, group) for group in groups]
        places = [g + (r - (len(rows) - 1) / 2) * width for g in range(len(groups))]
        axes.bar(
            places,
            [100 * spread.mean for spread in spreads],  # NaN, a row without a value, draws nothing
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


@contextmanager
def open_figure(height: float = 2.5, width: float = COLUMN_INCHES, **subplots: Any) -> Iterator[tuple[Figure, Any]]:
    """A figure of `width` (one column's) by `height` inches, with its grid of Axes; closed afterwards.

    subplots: what plt.subplots takes, such as nrows=2.
    """
    with plt.rc_context(_STYLE):
        figure, grid = plt.subplots(figsize=(width, height), layout="constrained", squeeze=False, **subplots)
        try:
            yield figure, grid
        finally:
            plt.close(figure)


def save_figure(figure: Figure, stem: Path) -> None:
    """STEM.png and STEM.pdf, the latter the same bytes for the same figure."""
    for ending in ("png", "pdf"):
        with atomic_file(stem.with_name(f"{stem.name}.{ending}")) as file:
            fixed: dict[str, Any] = {"metadata": {"CreationDate": None}} if ending == "pdf" else {"dpi": 300}
            figure.savefig(file, format=ending, **fixed)


def figure_svg(figure: Figure) -> bytes:
    """The figure as SVG whose text is text, the same bytes for the same figure. To be called inside open_figure."""
    with io.BytesIO() as file:
        figure.savefig(file, format="svg", metadata={"Date": None}, dpi=200)  # dpi: of what is drawn as pixels
        return file.getvalue()
