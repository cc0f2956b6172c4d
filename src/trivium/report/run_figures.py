"""Draws a training's epochs: learning curves, loss terms, Self-MI's generated labels; bands are over seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from trivium.report.album import Album, Picture
from trivium.report.bands import HALF, LEGEND, ROW, Groups, column_title, draw_band, finish, legend, seed_band
from trivium.report.curve_panels import METRICS, draw_panels
from trivium.report.figure_style import COLOURS, open_figure
from trivium.results.records import Record

# groups whose lines are distinct in one panel; of more, each has a panel
OVERLAID = 5


def draw_curves(album: Album, groups: Groups, name: str) -> Picture:
    """Draws losses and two validation metrics of up to OVERLAID groups; of more, one metric with a panel a group."""
    shown = {label.removesuffix(f", {runs[0].data}"): runs for label, runs in groups.items()}
    return _overlaid(album, shown, name) if len(groups) <= OVERLAID else draw_panels(album, shown, name)


def _overlaid(album: Album, groups: Groups, name: str) -> Picture:
    columns, runs = curve_columns(groups), [run for group in groups.values() for run in group]
    beside = 2 if max(map(len, groups)) <= HALF else 1
    lines, entries = math.ceil(len(columns) / 2), math.ceil(len(groups) / beside) if len(groups) > 1 else 0
    with open_figure(0.3 + ROW * lines + LEGEND * entries, nrows=lines, ncols=2, sharex=True) as (figure, grid):
        for axes, column in zip(grid.flat, columns, strict=False):
            for style, (label, group) in enumerate(groups.items()):
                values = [run.epochs[column] for run in group if column in run.epochs]
                if values:
                    draw_band(axes, values, label=label, style=style)
            axes.set_title(column_title(column))
            if len(runs) == 1:
                axes.axvline(runs[0].result["best_epoch"], color="#999999", linewidth=0.8, zorder=0)
        finish(figure, grid, len(columns))
        if entries:
            legend(figure, grid, beside)
        return album.keep(figure, name, _caption(groups, runs))


def _caption(groups: Groups, runs: Sequence[Record]) -> str:
    of = f" of {next(iter(groups))}" if len(groups) == 1 else ""
    band = ": mean over seeds, band of one standard deviation" if len(runs) > len(groups) else ""
    selected = "; the grey line is at the selected epoch" if len(runs) == 1 else ""
    several = len({run.result["method"] for run in runs}) > 1
    scales = " Losses of different methods are not on one scale." if several else ""
    return f"Learning curves{of} on {runs[0].data}{band}{selected}.{scales}"


def curve_columns(groups: Groups) -> list[str]:
    """Returns columns of metrics.csv: both losses, and two metrics of the validation split where runs have them.

    MAE is not one of them where it is the validation loss itself.
    """
    runs = [run for group in groups.values() for run in group]
    known = {column for run in runs for column in run.epochs}
    metrics = [f"val/{metric}" for metric in METRICS if f"val/{metric}" in known]
    if len(metrics) > 2 and all(_same(run, "val/mae", "val/loss") for run in runs):
        metrics.remove("val/mae")
    return [column for column in ("train/loss", "val/loss") if column in known] + metrics[:2]


def _same(run: Record, first: str, second: str) -> bool:
    epochs = run.epochs
    return {first, second} <= epochs.keys() and np.allclose(epochs[first], epochs[second], atol=1e-5, equal_nan=True)


def term_columns(runs: Sequence[Record]) -> list[str]:
    """Returns the train/ columns of metrics.csv without their weighted sum and the shifts of generated labels."""
    columns = dict.fromkeys(column for run in runs for column in run.epochs)
    return [c for c in columns if c.startswith("train/") and c != "train/loss" and not c.startswith("train/shift_")]


def draw_terms(album: Album, runs: Sequence[Record], name: str) -> Picture | None:
    """Draws each loss term over the epochs, unweighted, a panel each; None where the loss has but one term."""
    columns = term_columns(runs)
    if len(columns) < 2:
        return None
    lines = math.ceil(len(columns) / 2)
    with open_figure(0.3 + 1.1 * lines, nrows=lines, ncols=2, sharex=True) as (figure, grid):
        for axes, column in zip(grid.flat, columns, strict=False):
            draw_band(axes, [run.epochs[column] for run in runs if column in run.epochs], label=column, style=0)
            axes.set_title(column.removeprefix("train/"), pad=3)
        finish(figure, grid, len(columns))
        return album.keep(figure, name, f"Loss terms of {runs[0].label} in training, unweighted{_over(runs)}.")


def shifted(runs: Sequence[Record]) -> list[str]:
    """Returns the modalities whose labels were generated."""
    columns = dict.fromkeys(column for run in runs for column in run.epochs)
    names = [c.removeprefix("train/shift_") for c in columns if c.startswith("train/shift_")]
    return [name for name in names if f"train/shift_{name}_q50" in columns]


def draw_shifts(album: Album, runs: Sequence[Record], name: str) -> Picture | None:
    """Draws how far generated labels are from human ones: mean distance, and each modality's median and 80 % range.

    None where no labels were generated.
    """
    modalities = shifted(runs)
    if not modalities:
        return None
    lines = math.ceil((1 + len(modalities)) / 2)
    with open_figure(0.35 + ROW * lines, nrows=lines, ncols=2, sharex=True) as (figure, grid):
        first, *others = grid.flat
        for style, modality in enumerate(modalities):
            column = f"train/shift_{modality}"
            draw_band(first, [run.epochs[column] for run in runs], label=modality, style=style)
            # One scale for all, as their distances are to be compared.
            others[style].sharey(others[0])
            draw_fan(others[style], runs, column, style=style)
            others[style].set_title(modality, pad=3)
        first.set_title("mean distance", pad=3)
        finish(figure, grid, 1 + len(modalities))
        legend(figure, grid, 3)
        ranges = "a line at the median, shaded from the first to the ninth decile"
        caption = f"Generated labels of {runs[0].label}: generated minus human score over the train clips; {ranges}"
        return album.keep(figure, name, f"{caption}{_over(runs)}.")


def draw_fan(axes: Axes, runs: Sequence[Record], column: str, *, style: int) -> None:
    """Draws the median and the range from the first to the ninth decile, each a mean over seeds."""
    low, median, high = (seed_band([run.epochs[f"{column}_q{q}"] for run in runs])[0] for q in (10, 50, 90))
    epochs = np.arange(1, len(median) + 1)
    colour = COLOURS[style % len(COLOURS)]
    axes.fill_between(epochs, low, high, color=colour, alpha=0.25, linewidth=0)
    axes.plot(epochs, median, color=colour, linewidth=1.1)
    axes.axhline(0, color="black", linewidth=0.5)


def _over(runs: Sequence[Record]) -> str:
    return f", mean over {len(runs)} seeds with a band of one standard deviation" if len(runs) > 1 else ""
