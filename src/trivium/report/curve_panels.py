"""Draws learning curves of many groups: one validation metric, a panel a group, the others behind it in grey."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from trivium.core.metric_names import DIRECTION
from trivium.report.album import Album, Picture
from trivium.report.bands import Groups, column_title, draw_band, finish, seed_band, wrapped
from trivium.report.figure_style import COLOURS, open_figure
from trivium.results.records import Record

# groups that one figure has room for
PANELS = 30
# metrics of validation, in the order of preference
METRICS = ("mae", "corr", "acc7", "acc5", "acc2", "acc", "weighted_acc", "f1_micro", "f1_macro", "f1_weighted")
# panels beside each other, and letters that a line of their titles holds
_WIDE, _LETTERS = 3, 14
# inches of a line of panels, and of a second line of their titles
_LINE, _SECOND = 1.02, 0.13


def draw_panels(album: Album, groups: Groups, name: str) -> Picture:
    """Draws the metric that most groups have; of more than PANELS groups, the best."""
    column = shared_column(groups)
    measured = {label: [run for run in runs if _has(run, column)] for label, runs in groups.items()}
    measured = {label: runs for label, runs in measured.items() if runs}
    best = sorted(measured, key=lambda label: _badness(measured[label], column))[:PANELS]
    shown = {label: runs for label, runs in measured.items() if label in best}
    titles = [wrapped(label, _LETTERS) for label in shown]
    lines, tall = math.ceil(len(shown) / _WIDE), any("\n" in title for title in titles)
    layout = {"nrows": lines, "ncols": _WIDE, "sharex": True, "sharey": True}
    with open_figure(0.3 + lines * (_LINE + _SECOND * tall), **layout) as (figure, grid):
        for axes, title, runs in zip(grid.flat, titles, shown.values(), strict=False):
            _draw_panel(axes, runs, [other for other in shown.values() if other is not runs], column)
            axes.set_title(title, pad=2)
        finish(figure, grid, len(shown))
        grid[0, 0].set_ylim(*_limits(list(shown.values()), column))
        figure.supylabel(column_title(column))
        return album.keep(figure, name, _caption(groups, measured, shown, column))


def _draw_panel(axes: Axes, runs: Sequence[Record], others: Sequence[Sequence[Record]], column: str) -> None:
    for other in others:
        mean_E, _, _ = seed_band([run.epochs[column] for run in other])
        axes.plot(range(1, len(mean_E) + 1), mean_E, color="#cccccc", linewidth=0.5, zorder=0)
    draw_band(axes, [run.epochs[column] for run in runs], label="", style=0)
    for run in runs:
        epoch = int(run.result["best_epoch"])
        axes.plot(epoch, run.epochs[column][epoch - 1], "o", color=COLOURS[4], markersize=2.2)


def _limits(groups: Sequence[Sequence[Record]], column: str) -> tuple[float, float]:
    """Returns limits without the worst tenth of the epochs: the first ones would take the room of all others."""
    values = np.concatenate([run.epochs[column] for runs in groups for run in runs])
    values = values[np.isfinite(values)]
    low, high = (0.0, 0.9) if _sign(column) > 0 else (0.1, 1.0)
    bottom, top = np.quantile(values, [low, high]).tolist()
    margin = 0.06 * ((top - bottom) or 1.0)
    return bottom - margin, top + margin


def _caption(groups: Groups, measured: Groups, shown: Groups, column: str) -> str:
    runs = [run for group in shown.values() for run in group]
    band = ", mean over seeds with a band of one standard deviation" if len(runs) > len(shown) else ""
    unmeasured = [label for label in groups if label not in measured]
    without = f" Not measured while training: {'; '.join(unmeasured)}." if unmeasured else ""
    left_out = f" The best {len(shown)} of {len(measured)}." if len(shown) < len(measured) else ""
    title = f"Learning curves on {runs[0].data}: {column_title(column)}{band}"
    return (
        f"{title}; a dot at each selected epoch, the others' means in grey. "
        f"The worst tenth of the epochs is cut off.{without}{left_out}"
    )


def shared_column(groups: Groups) -> str:
    """Returns the validation metric that most groups have, the first of METRICS among equals; else the loss."""
    counts = {f"val/{m}": sum(any(_has(run, f"val/{m}") for run in runs) for runs in groups.values()) for m in METRICS}
    most = max(counts, key=lambda column: counts[column])
    return most if counts[most] else "val/loss"


def _has(run: Record, column: str) -> bool:
    return column in run.epochs and bool(np.isfinite(run.epochs[column]).any())


def _badness(runs: Sequence[Record], column: str) -> float:
    return float(np.mean([np.nanmin(_sign(column) * run.epochs[column]) for run in runs]))


def _sign(column: str) -> float:
    """Returns 1 where lower is better, -1 where higher is."""
    return 1.0 if DIRECTION.get(column.removeprefix("val/"), "min") == "min" else -1.0
