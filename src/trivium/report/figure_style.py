"""Sets the style of every figure: readable in one column of a paper and to the colour-blind, without a display."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

from matplotlib import colormaps
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from trivium.core.files import atomic_file

# Okabe and Ito's palette (2008) without yellow, too light on white, and with grey for black, so that lines show on it.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#56B4E9", "#D55E00", "#CC79A7", "#666666")
# The colours of cells. Beyond DARK, white text contrasts more than black (WCAG).
SHADES, DARK = colormaps["Blues"], 0.71
COLUMN_INCHES, PAGE_INCHES = 3.4, 7.0  # of a paper's column, and of its two
# All text has one size: on the page's narrowest screen, 360 pixels for COLUMN_INCHES, it is 11.8 pixels high.
POINTS = 8
_STYLE: dict[Any, Any] = {
    "font.size": POINTS,
    "axes.titlesize": "medium",
    "figure.labelsize": "medium",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "hatch.linewidth": 0.5,
    "pdf.fonttype": 42,  # text stays text
    "svg.hashsalt": "trivium",
    "svg.fonttype": "none",
}


@contextmanager
def open_figure(height: float = 2.5, width: float = COLUMN_INCHES, **subplots: Any) -> Iterator[tuple[Figure, Any]]:
    """Yields a figure of `width` (one column's) by `height` inches with its grid of Axes, and closes it afterwards.

    subplots: what plt.subplots takes, such as nrows=2.
    """
    with plt.rc_context(_STYLE):
        figure, grid = plt.subplots(figsize=(width, height), layout="constrained", squeeze=False, **subplots)
        try:
            yield figure, grid
        finally:
            plt.close(figure)


def legend_above(
    figure: Figure,
    handles: Sequence[Any],
    labels: Sequence[str],
    *,
    columns: int,
    fontsize: float = POINTS,
    **layout: Any,
) -> None:
    """Draws a legend without a frame above all panels, in as many of the columns as the figure is wide enough for."""
    style: dict[str, Any] = {"frameon": False, "columnspacing": 1.0, "fontsize": fontsize, **layout}
    for ncols in range(columns, 0, -1):
        legend = figure.legend(handles, labels, loc="outside upper center", ncols=ncols, **style)
        if ncols == 1 or legend.get_window_extent().width <= figure.bbox.width:
            return
        legend.remove()


def save_figure(figure: Figure, stem: Path) -> None:
    """Writes STEM.png and STEM.pdf, the latter the same bytes for the same figure."""
    for ending in ("png", "pdf"):
        with atomic_file(stem.with_name(f"{stem.name}.{ending}")) as file:
            fixed: dict[str, Any] = {"metadata": {"CreationDate": None}} if ending == "pdf" else {"dpi": 300}
            figure.savefig(file, format=ending, **fixed)


def figure_svg(figure: Figure) -> bytes:
    """Returns the figure as SVG whose text is text, the same bytes for the same figure. Call it inside open_figure."""
    with io.BytesIO() as file:
        # dpi: of what is drawn as pixels
        figure.savefig(file, format="svg", metadata={"Date": None}, dpi=200, transparent=True)
        return file.getvalue()
