"""Figures over a training's epochs: learning curves, loss terms, Self-MI's generated labels; bands are over seeds.

Legend: n runs of one group (seeds), E epochs of the longest.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from trivium.evaluation.metrics import LABELS
from trivium.reports.album import Album, Picture
from trivium.reports.figures import COLOURS, open_figure
from trivium.reports.records import Record, Values

Groups = Mapping[str, Sequence[Record]]

GROUPS = 14  # that one figure can tell apart
_METRICS = ("corr", "acc7", "acc5", "mae", "acc2")
_DASHES: tuple[Any, ...] = ("solid", (0, (4, 1.5)))
_HALF = 24  # letters of a legend that half a column's width holds
_ROW, _LEGEND = 1.3, 0.15  # inches of a line of panels, and of a line of the legend


def seed_band(runs: Sequence[Values]) -> tuple[Values, Values, int]:
    """(E,) mean and standard deviation (n - 1; 0 of one run) at each epoch, over the runs that reached it.

    The third is the number of epochs that all runs reached: beyond it the mean is one of fewer runs.
    """
    table_nE = np.full((len(runs), max(map(len, runs))), np.nan)
    for row, values in zip(table_nE, runs, strict=True):
        row[: len(values)] = values
    known_E = np.isfinite(table_nE).sum(axis=0)
    mean_E = np.nansum(table_nE, axis=0) / np.maximum(known_E, 1)
    squares_E = np.nansum((table_nE - mean_E) ** 2, axis=0)
    std_E: Values = np.sqrt(squares_E / np.maximum(known_E - 1, 1))
    return np.where(known_E > 0, mean_E, np.nan), std_E, min(map(len, runs))


def draw_band(axes: Axes, runs: Sequence[Values], *, label: str, style: int) -> None:
    """Mean over seeds with a band of one standard deviation; dotted where some of the runs had stopped."""
    mean_E, std_E, whole = seed_band(runs)
    epochs = np.arange(1, len(mean_E) + 1)
    colour = COLOURS[style % len(COLOURS)]
    dashes = _DASHES[style // len(COLOURS) % len(_DASHES)]
    marker = "o" if len(mean_E) == 1 else None
    axes.plot(
        epochs[:whole], mean_E[:whole], color=colour, linestyle=dashes, linewidth=1.1, label=label, marker=marker, ms=3
    )
    axes.plot(epochs[whole - 1 :], mean_E[whole - 1 :], color=colour, linestyle=(0, (1, 1.5)), linewidth=0.9)
    axes.fill_between(epochs, mean_E - std_E, mean_E + std_E, color=colour, alpha=0.2, linewidth=0)


def draw_curves(album: Album, groups: Groups, name: str) -> Picture:
    """Losses and two validation metrics of every group; of more than GROUPS, of those of the lowest loss."""
    best = sorted(groups, key=lambda label: min(_best(run) for run in groups[label]))[:GROUPS]
    shown = {label: groups[label] for label in groups if label in best}
    columns = curve_columns(shown)
    beside = 2 if max(map(len, shown)) <= _HALF else 1
    lines, entries = math.ceil(len(columns) / 2), math.ceil(len(shown) / beside)
    with open_figure(0.3 + _ROW * lines + _LEGEND * entries, nrows=lines, ncols=2, sharex=True) as (figure, grid):
        for axes, column in zip(grid.flat, columns, strict=False):
            for style, (label, runs) in enumerate(shown.items()):
                found = [run.epochs[column] for run in runs if column in run.epochs]
                if found:
                    draw_band(axes, found, label=label, style=style)
            axes.set_title(_title(column), fontsize=8)
        _finish(grid, len(columns))
        _legend(figure, grid, beside)
        left_out = f" The {GROUPS} of the lowest validation loss, of {len(groups)}." if len(groups) > GROUPS else ""
        return album.keep(figure, name, f"Learning curves: mean over seeds, band of one standard deviation.{left_out}")


def curve_columns(groups: Groups) -> list[str]:
    """Of metrics.csv: both losses, and two metrics of the validation split where runs have them."""
    known = {column for runs in groups.values() for run in runs for column in run.epochs}
    metrics = [f"val/{metric}" for metric in _METRICS if f"val/{metric}" in known]
    return [column for column in ("train/loss", "val/loss") if column in known] + metrics[:2]


def term_columns(runs: Sequence[Record]) -> list[str]:
    """train/ columns of metrics.csv, without their weighted sum and the shifts of generated labels."""
    columns = dict.fromkeys(column for run in runs for column in run.epochs)
    return [c for c in columns if c.startswith("train/") and c != "train/loss" and not c.startswith("train/shift_")]


def draw_terms(album: Album, runs: Sequence[Record], name: str) -> Picture | None:
    """Each loss term over the epochs, unweighted, a panel each; None where the loss has but one term."""
    columns = term_columns(runs)
    if len(columns) < 2:
        return None
    wide = min(3, len(columns))
    lines = math.ceil(len(columns) / wide)
    with open_figure(0.25 + 1.0 * lines, nrows=lines, ncols=wide, sharex=True) as (figure, grid):
        for axes, column in zip(grid.flat, columns, strict=False):
            draw_band(axes, [run.epochs[column] for run in runs if column in run.epochs], label=column, style=0)
            axes.set_title(column.removeprefix("train/"), fontsize=7)
            axes.tick_params(labelsize=6.5)
        _finish(grid, len(columns))
        return album.keep(figure, name, f"Loss terms of {runs[0].label} in training, unweighted{_over(runs)}.")


def shifted(runs: Sequence[Record]) -> list[str]:
    """Modalities whose labels were generated."""
    columns = dict.fromkeys(column for run in runs for column in run.epochs)
    names = [c.removeprefix("train/shift_") for c in columns if c.startswith("train/shift_")]
    return [name for name in names if f"train/shift_{name}_q50" in columns]


def draw_shifts(album: Album, runs: Sequence[Record], name: str) -> Picture | None:
    """How far generated labels are from the human ones: mean distance, and for each modality median and 80 % range.

    None where no labels were generated.
    """
    modalities = shifted(runs)
    if not modalities:
        return None
    lines = math.ceil((1 + len(modalities)) / 2)
    with open_figure(0.35 + _ROW * lines, nrows=lines, ncols=2, sharex=True) as (figure, grid):
        first, *others = grid.flat
        for style, modality in enumerate(modalities):
            column = f"train/shift_{modality}"
            draw_band(first, [run.epochs[column] for run in runs], label=modality, style=style)
            draw_fan(others[style], runs, column, style=style)
            others[style].set_title(f"{modality}: median, 10 to 90 %", fontsize=7)
        first.set_title("mean distance", fontsize=7)
        _finish(grid, 1 + len(modalities))
        _legend(figure, grid, 3)
        caption = f"Generated labels of {runs[0].label}: generated minus human score over the train clips{_over(runs)}."
        return album.keep(figure, name, caption)


def draw_fan(axes: Axes, runs: Sequence[Record], column: str, *, style: int) -> None:
    """Median and the range from the first to the ninth decile, each a mean over seeds."""
    low, median, high = (seed_band([run.epochs[f"{column}_q{q}"] for run in runs])[0] for q in (10, 50, 90))
    epochs = np.arange(1, len(median) + 1)
    colour = COLOURS[style % len(COLOURS)]
    axes.fill_between(epochs, low, high, color=colour, alpha=0.25, linewidth=0)
    axes.plot(epochs, median, color=colour, linewidth=1.1)
    axes.axhline(0, color="black", linewidth=0.5)


def _best(run: Record) -> float:
    return float(np.nanmin(run.epochs["val/loss"]))


def _over(runs: Sequence[Record]) -> str:
    return f", mean over {len(runs)} seeds with a band of one standard deviation" if len(runs) > 1 else ""


def _title(column: str) -> str:
    split, _, metric = column.partition("/")
    return f"{ {'val': 'validation', 'train': 'train'}[split] } {LABELS.get(metric, metric)}".replace("  ", " ").strip()


def _short(label: str) -> str:
    return label if len(label) <= 2 * _HALF else label[: 2 * _HALF - 1] + "…"


def _finish(grid: Any, used: int) -> None:
    for axes in grid.flat[used:]:
        axes.set_axis_off()
    for k, axes in enumerate(grid.flat[:used]):
        axes.xaxis.set_major_locator(MaxNLocator(4, integer=True, min_n_ticks=1))
        axes.yaxis.set_major_locator(MaxNLocator(4))
        if k + grid.shape[1] >= used:  # nothing below it
            axes.tick_params(labelbottom=True)
            axes.set_xlabel("epoch")


def _legend(figure: Figure, grid: Any, columns: int) -> None:
    found: dict[str, Any] = {}
    for axes in grid.flat:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            found.setdefault(label, handle)
    layout: dict[str, Any] = {"frameon": False, "handlelength": 1.8, "columnspacing": 1.0, "fontsize": 7}
    figure.legend(
        list(found.values()), [_short(label) for label in found], loc="outside upper center", ncols=columns, **layout
    )
