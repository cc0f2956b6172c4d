"""Draws lines over epochs with a band over seeds, and what the panels of such figures share.

Legend: n runs of one group (seeds), E epochs of the longest.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from trivium.core.metric_names import LABELS
from trivium.report.figure_style import COLOURS, legend_above
from trivium.results.records import Record, Values

Groups = Mapping[str, Sequence[Record]]

# inches of a line of panels, and of a line of the legend
ROW, LEGEND = 1.35, 0.17
# letters of a legend or a title that half a column's width holds
HALF = 24
# They differ in grey too. None is dotted, as dots say that some seeds had stopped.
DASHES: tuple[Any, ...] = (
    "solid",
    (0, (5, 1.5)),
    (0, (5, 1.2, 1.2, 1.2)),
    (0, (2.4, 1)),
    (0, (9, 1.5)),
    (0, (9, 1.2, 1.2, 1.2, 1.2, 1.2)),
    (0, (3.5, 1, 3.5, 1, 1, 1)),
)
_SPLITS = {"val": "validation", "train": "train"}


def seed_band(runs: Sequence[Values]) -> tuple[Values, Values, int]:
    """Returns the (E,) mean and standard deviation (n - 1; 0 of one run) at each epoch, over the runs that reached it.

    The third is the number of epochs that all runs reached; beyond it, the mean is that of fewer runs.
    """
    table_En = pd.DataFrame([pd.Series(values) for values in runs]).T
    return table_En.mean(axis=1).to_numpy(), table_En.std(axis=1).fillna(0.0).to_numpy(), min(map(len, runs))


def draw_band(axes: Axes, runs: Sequence[Values], *, label: str, style: int) -> None:
    """Draws the mean over seeds with a band of one standard deviation; dotted where some of the runs had stopped."""
    mean_E, std_E, whole = seed_band(runs)
    epochs = np.arange(1, len(mean_E) + 1)
    colour = COLOURS[style % len(COLOURS)]
    style_keys: dict[str, Any] = {"color": colour, "linestyle": DASHES[style % len(DASHES)], "linewidth": 1.1}
    marker = "o" if len(mean_E) == 1 else None
    axes.plot(epochs[:whole], mean_E[:whole], label=label, marker=marker, ms=3, **style_keys)
    axes.plot(epochs[whole - 1 :], mean_E[whole - 1 :], color=colour, linestyle=(0, (1, 1.5)), linewidth=0.9)
    axes.fill_between(epochs, mean_E - std_E, mean_E + std_E, color=colour, alpha=0.2, linewidth=0)


def column_title(column: str) -> str:
    """Returns "validation Acc-7" for val/acc7."""
    split, _, metric = column.partition("/")
    return f"{_SPLITS[split]} {LABELS.get(metric, metric)}"


def wrapped(label: str, letters: int) -> str:
    """Returns the label on two lines at most, broken after blanks and marks, and cut where it is still too long."""
    lines = [""]
    for part in re.findall(r"[^\s_./=,-]+[\s_./=,-]*|[\s_./=,-]+", label):
        if lines[-1] and len(lines[-1] + part.rstrip()) > letters:
            lines.append("")
        lines[-1] += part
    if len(lines) > 2:
        lines = [lines[0], lines[1] + "".join(lines[2:])]
    return "\n".join(line.strip() if len(line.strip()) <= letters else f"{line[: letters - 1]}…" for line in lines)


def finish(figure: Figure, grid: Any, used: int) -> None:
    """Sets few ticks, whole epochs under the lowest panel of each column, and no frame where there is no panel."""
    for axes in grid.flat[used:]:
        axes.set_axis_off()
    for k, axes in enumerate(grid.flat[:used]):
        axes.xaxis.set_major_locator(MaxNLocator(4, integer=True, min_n_ticks=1))
        axes.yaxis.set_major_locator(MaxNLocator(4))
        is_lowest = k + grid.shape[1] >= used
        if is_lowest:
            axes.tick_params(labelbottom=True)
    figure.supxlabel("epoch")


def legend(figure: Figure, grid: Any, columns: int) -> None:
    """Draws a legend above the panels, each label once."""
    handles: dict[str, Any] = {}
    for axes in grid.flat:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    names = [label if len(label) <= 2 * HALF else label[: 2 * HALF - 1] + "…" for label in handles]
    legend_above(figure, list(handles.values()), names, columns=columns, handlelength=2.4)
