"""Draws figures of the missing-modality protocols, one column wide."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes

from trivium.core.metric_names import DIRECTION, LABELS, guess_name
from trivium.report.album import Album, Picture
from trivium.report.figure_style import COLOURS, DARK, SHADES, legend_above, open_figure

# a line of what trivium.evaluation.missing_modalities scores
Scored = Mapping[str, Any]

_CURVES = (
    *("mae", "corr", "acc2_non0", "acc2", "acc7", "acc5"),
    *("acc", "weighted_acc", "f1_micro", "f1_macro", "map", "auroc", "balanced_acc", "f1_weighted", "subset_acc"),
)
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
# columns of the heat map from one modality's dots to the next
_DOTS = 0.62
_KINDS = {"noise": "noise (feature std)", "dropped": "steps set to zero (share)"}


def shown(metrics: Iterable[str]) -> list[str]:
    """Returns the metrics that there are curves of, four at most."""
    return [metric for metric in _CURVES if metric in metrics][:4]


def draw_subsets(album: Album, rows: Sequence[Scored], name: str, of: str) -> Picture:
    """Draws subsets by metrics: dots say which modalities are present; in each metric the best subset is darkest.

    rows: of trivium.evaluation.missing_modalities.score_subsets. of: the run, for the caption.
    """
    modalities = list(dict.fromkeys(modality for row in rows for modality in row["modalities"].split("+")))
    metrics = [key for key in rows[0] if key in LABELS]
    with open_figure(0.85 + 0.19 * len(rows)) as (figure, grid):
        heat_map(grid[0, 0], rows, modalities, metrics)
        caption = f"Predicted from each subset of modalities: {of}; in each metric the best is the darkest."
        return album.keep(figure, name, caption)


def heat_map(axes: Axes, rows: Sequence[Scored], modalities: Sequence[str], metrics: Sequence[str]) -> None:
    """Draws a line a subset, from the top."""
    values = np.array([[row[metric] for metric in metrics] for row in rows])
    shades = 0.05 + 0.85 * np.nan_to_num(_goodness(values, metrics))
    axes.imshow(SHADES(shades), aspect="auto")
    for (r, c), value in np.ndenumerate(values):
        colour = "white" if shades[r, c] > DARK else "black"
        digits = 3 if abs(value) < 1 else 2
        text = "-" if math.isnan(value) else f"{value:.{digits}f}".replace("0.", ".", 1)
        axes.text(c, r, text, ha="center", va="center", color=colour)
    places = [-0.5 - _DOTS * (len(modalities) - m - 0.25) for m in range(len(modalities))]
    for r, row in enumerate(rows):
        subset = row["modalities"].split("+")
        colours = ["black" if name in subset else "#d9d9d9" for name in modalities]
        axes.scatter(places, [r] * len(places), s=14, c=colours, linewidths=0)
    names = [*modalities, *(LABELS[metric] for metric in metrics)]
    axes.set_xticks([*places, *range(len(metrics))], names, rotation=50, ha="left", rotation_mode="anchor")
    axes.tick_params(top=True, labeltop=True, bottom=False, labelbottom=False, length=0, pad=2)
    axes.set_xlim(places[0] - _DOTS / 2, len(metrics) - 0.5)
    axes.set_yticks([])
    axes.spines[:].set_visible(False)


def _goodness(values: npt.NDArray[np.float64], metrics: Sequence[str]) -> npt.NDArray[np.float64]:
    """Returns each metric's column scaled to 0 (worst) ... 1 (best); NaN stays, a column of equal values is 0."""
    signed = values * [-1.0 if DIRECTION[metric] == "min" else 1.0 for metric in metrics]
    low, high = np.nanmin(signed, axis=0), np.nanmax(signed, axis=0)
    scaled: npt.NDArray[np.float64] = (signed - low) / np.where(high > low, high - low, 1.0)
    return scaled


def draw_shapley(album: Album, rows: Sequence[Scored], name: str, of: str) -> Picture:
    """Draws Shapley values as bars: what each modality adds to a constant prediction, metric by metric.

    rows: of trivium.evaluation.missing_modalities.metric_shares. of: the run, for the caption.
    """
    metrics, modalities = (list(dict.fromkeys(row[key] for row in rows)) for key in ("metric", "modality"))
    # Which way a metric of one's own is better is not known here.
    metrics = [metric for metric in metrics if metric in LABELS]
    with open_figure(0.6 + (0.09 * len(modalities) + 0.12) * len(metrics)) as (figure, grid):
        shapley_bars(grid[0, 0], rows, modalities, metrics)
        legend_above(figure, *grid[0, 0].get_legend_handles_labels(), columns=4, handlelength=1.6)
        return album.keep(figure, name, f"What each modality adds to every metric (Shapley values): {of}.")


def shapley_bars(axes: Axes, rows: Sequence[Scored], modalities: Sequence[str], metrics: Sequence[str]) -> None:
    """Draws a bar a metric and modality. To the right is better: MAE and ECE count as their fall."""
    value = {(row["metric"], row["modality"]): row["value"] for row in rows}
    width = 0.8 / len(modalities)
    for m, name in enumerate(modalities):
        gains = [value[metric, name] * (-1 if DIRECTION[metric] == "min" else 1) for metric in metrics]
        places = [k + (m - (len(modalities) - 1) / 2) * width for k in range(len(metrics))]
        axes.barh(places, gains, 0.9 * width, color=COLOURS[m % len(COLOURS)], label=name)
    axes.axvline(0, color="black", linewidth=0.6)
    falls = {"min": " (fall)", "max": ""}
    axes.set_yticks(range(len(metrics)), [LABELS[metric] + falls[DIRECTION[metric]] for metric in metrics])
    axes.tick_params(axis="y", length=0)
    axes.invert_yaxis()
    axes.set_xlabel("Shapley value")


def draw_rates(
    album: Album,
    groups: Mapping[str, Sequence[Scored]],
    name: str,
    train_mean: Mapping[str, float],
    *,
    axis: str = "missing rate",
    caption: str = "Metrics when modalities are missing at random",
) -> Picture:
    """Draws metrics over the rate, a line a group: mean over its rows and a band of one standard deviation.

    groups: label -> rows, of draws or of seeds. train_mean: metrics of predicting the train mean or frequencies, dashed
    lines.
    """
    first = next(iter(groups.values()))
    chosen, highest = shown(first[0]), max(row["rate"] for row in first)
    lines = math.ceil(len(chosen) / 2)
    with open_figure(0.35 + 1.35 * lines, nrows=lines, ncols=2, sharex=True) as (figure, grid):
        for axes, metric in zip(grid.flat, chosen, strict=False):
            for style, (label, rows) in enumerate(groups.items()):
                curve(axes, rows, "rate", metric, label=label, style=style)
            if metric in train_mean:
                axes.axhline(
                    train_mean[metric], color="black", linewidth=0.8, linestyle=(0, (3, 2)), label=guess_name(chosen)
                )
            axes.set_ylabel(LABELS[metric])
        for axes in grid.flat[len(chosen) :]:
            axes.set_axis_off()
        for axes in grid[-1]:
            axes.set_xlabel(axis)
            axes.set_xticks([tick for tick in (0, 0.2, 0.4, 0.6, 0.8) if tick < highest])
        legend_above(figure, *grid[0, 0].get_legend_handles_labels(), columns=3, handlelength=1.6)
        return album.keep(figure, name, caption)


def draw_noise(album: Album, rows: Sequence[Scored], name: str) -> Picture:
    """Draws two metrics over the level, a panel a kind of disturbance, a line a disturbed modality and one for all."""
    from trivium.evaluation.feature_noise import LEVELS  # brings torch, which the other figures do without

    chosen = shown(rows[0])[:2]
    groups = list(dict.fromkeys(row["modalities"] for row in rows))
    looks = {group: ("all", -1) if "+" in group else (group, g) for g, group in enumerate(groups)}
    layout: dict[str, Any] = {"nrows": len(chosen), "ncols": len(_KINDS), "sharex": "col", "sharey": "row"}
    with open_figure(0.35 + 1.35 * len(chosen), **layout) as (figure, grid):
        for panels, metric in zip(grid, chosen, strict=True):
            for axes, kind in zip(panels, _KINDS, strict=True):
                for group, (label, style) in looks.items():
                    lines = [row for row in rows if (row["kind"], row["modalities"]) == (kind, group)]
                    curve(axes, lines, "level", metric, label=label, style=style)
            panels[0].set_ylabel(LABELS[metric])
        for axes, (kind, label) in zip(grid[-1], _KINDS.items(), strict=True):
            axes.set_xlabel(label)
            axes.set_xticks(LEVELS[kind], [f"{level:g}" for level in LEVELS[kind]])
        legend_above(figure, *grid[0, 0].get_legend_handles_labels(), columns=4, handlelength=1.6)
        return album.keep(figure, name, "Metrics when features are disturbed")


def curve(axes: Axes, rows: Sequence[Scored], over: str, metric: str, *, label: str, style: int) -> None:
    """Draws the metric's mean over draws at each value of `over`, and one standard deviation (n - 1) either way."""
    draws = pd.DataFrame(rows).groupby(over)[metric]
    # a draw without a value, as Corr of a constant prediction, leaves a gap
    mean, std = draws.agg(lambda values: values.mean(skipna=False)), draws.std().fillna(0.0)
    style_keys: dict[str, Any] = {"color": COLOURS[style % len(COLOURS)], "linewidth": 1.0}
    axes.plot(mean.index, mean, marker=MARKERS[style % len(MARKERS)], markersize=3, label=label, **style_keys)
    axes.fill_between(mean.index, mean - std, mean + std, color=style_keys["color"], alpha=0.25, linewidth=0)
