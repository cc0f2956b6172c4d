"""Draws a run's clips where the target is of classes, of labels or of several scores.

Legend: N clips, C classes or labels, K scores.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from trivium.report.album import Album, Picture
from trivium.report.bands import wrapped
from trivium.report.figure_style import COLOURS, legend_above, open_figure
from trivium.report.prediction_figures import draw_counts, scatter, scores_text
from trivium.results.records import Predicted, Values

# Bins of the reliability diagram, as many as those of the calibration error in trivium.evaluation.task_metrics.
BINS = 15
# Bars, and panels of scores, that one figure has room for; of more, the first are drawn.
_BARS, _PANELS = 40, 12


def draw_classes(album: Album, clips: Predicted, names: Sequence[str], prefix: str, of: str) -> list[Picture]:
    """Draws the confusion of classes, each class's recall, and a reliability diagram."""
    counts_CC = class_counts(clips, len(names))
    accuracy = counts_CC.trace() / counts_CC.sum()
    title = f"Acc {accuracy:.3f}, n = {len(clips.ids)}"
    return [
        draw_counts(album, counts_CC, names, title, f"{prefix}confusion", f"Confusion of classes: {of}"),
        _draw_recall(album, counts_CC, names, f"{prefix}recall", of),
        _draw_reliability(album, clips, f"{prefix}reliability", of),
    ]


def class_counts(clips: Predicted, classes: int) -> Any:
    """Returns (C, C) numbers of clips by true (row) and predicted class."""
    pairs_N = (clips.target * classes + clips.prediction).astype(np.int64)
    return np.bincount(pairs_N, minlength=classes * classes).reshape(classes, classes)


def _draw_recall(album: Album, counts_CC: Any, names: Sequence[str], name: str, of: str) -> Picture:
    clips_C = counts_CC.sum(axis=1)
    recall_C = np.where(clips_C > 0, counts_CC.diagonal() / np.maximum(clips_C, 1), np.nan)
    marked = [f"{label} ({count})" for label, count in zip(names, clips_C, strict=True)]
    caption = f"Recall of each class, with its number of clips; the line is their mean, the balanced accuracy: {of}."
    return _draw_bars(album, marked, {"recall": recall_C}, name, caption, mean=True)


def draw_labels(album: Album, clips: Predicted, names: Sequence[str], prefix: str, of: str) -> list[Picture]:
    """Draws the F1 and the average precision of each label."""
    assert clips.probabilities is not None
    values = {
        "F1": np.array([f1(clips.target[:, c], clips.prediction[:, c]) for c in range(len(names))]),
        "average precision": np.array(
            [average_precision(clips.target[:, c], clips.probabilities[:, c]) for c in range(len(names))]
        ),
    }
    marked = [f"{label} ({int(count)})" for label, count in zip(names, clips.target.sum(axis=0), strict=True)]
    caption = f"F1 and average precision of each label, with the number of clips that have it: {of}."
    return [_draw_bars(album, marked, values, f"{prefix}labels", caption)]


def f1(true_N: Values, predicted_N: Values) -> float:
    """Returns the F1 of a label, 2 TP / (2 TP + FP + FN); 0 where it is neither there nor predicted."""
    both = float((true_N * predicted_N).sum())
    total = float(true_N.sum() + predicted_N.sum())
    return 2 * both / total if total else 0.0


def average_precision(true_N: Values, likely_N: Values) -> float:
    """Returns the mean, over the clips that have a label, of the precision among all at least as likely; NaN of none.

    Clips of equal probability are taken together, as scikit-learn does.
    """
    if not true_N.sum():
        return math.nan
    order_N = np.argsort(-likely_N, kind="stable")
    sorted_N, hits_N = likely_N[order_N], np.cumsum(true_N[order_N])
    last_N = np.append(sorted_N[1:] != sorted_N[:-1], True)
    hits, ranks = hits_N[last_N], 1 + np.flatnonzero(last_N)
    return float((np.diff(hits, prepend=0.0) * hits / ranks).sum() / true_N.sum())


def _draw_bars(
    album: Album, names: Sequence[str], values: dict[str, Values], name: str, caption: str, mean: bool = False
) -> Picture:
    """Draws a bar in [0, 1] for each name and measure, names from the top."""
    shown = list(names[:_BARS])
    if len(shown) < len(names):
        caption = f"{caption} The first {len(shown)} of {len(names)}."
    width = 0.8 / len(values)
    with open_figure(0.5 + (0.14 * len(values) + 0.07) * len(shown) + 0.2 * (len(values) > 1)) as (figure, grid):
        axes = grid[0, 0]
        for k, (label, value_C) in enumerate(values.items()):
            places = np.arange(len(shown)) + (k - (len(values) - 1) / 2) * width
            axes.barh(places, np.nan_to_num(value_C[: len(shown)]), 0.9 * width, color=COLOURS[k], label=label)
            for place, value in zip(places, value_C, strict=False):
                text = "-" if math.isnan(value) else f"{value:.2f}"
                axes.text(1.03, place, text, va="center")
        if mean:
            axes.axvline(float(np.nanmean(value_C)), color="black", linewidth=0.8, linestyle=(0, (3, 2)))
        axes.set_yticks(range(len(shown)), [wrapped(label, 22) for label in shown])
        axes.tick_params(axis="y", length=0)
        axes.invert_yaxis()
        axes.set_xlim(0, 1.12)
        axes.set_xticks([0, 0.25, 0.5, 0.75, 1])
        axes.set_xlabel(next(iter(values)) if len(values) == 1 else "")
        if len(values) > 1:
            legend_above(figure, *axes.get_legend_handles_labels(), columns=2, handlelength=1.2)
        return album.keep(figure, name, caption)


def _draw_reliability(album: Album, clips: Predicted, name: str, of: str) -> Picture:
    assert clips.probabilities is not None
    sure_N, right_N = clips.probabilities.max(axis=1), clips.target == clips.prediction
    with open_figure(3.0, nrows=2, ncols=1, sharex=True, height_ratios=(4, 1)) as (figure, grid):
        error = reliability(grid[0, 0], sure_N, right_N)
        grid[0, 0].set_title(f"ECE {error:.3f}, n = {len(sure_N)}", loc="left")
        grid[1, 0].hist(sure_N, bins=np.linspace(0, 1, BINS + 1), color=COLOURS[0], alpha=0.7)
        grid[1, 0].set_xlabel("probability of the likeliest class")
        grid[1, 0].set_ylabel("clips")
        caption = (
            f"Reliability: in {BINS} bins of the likeliest class's probability, the share of clips whose class it is "
            f"(bars) beside the mean probability (dots; on the line where both are equal): {of}."
        )
        return album.keep(figure, name, caption)


def reliability(axes: Axes, sure_N: Values, right_N: Any) -> float:
    """Draws accuracy by bin of the likeliest class's probability, and returns the expected calibration error."""
    bin_N = np.minimum((sure_N * BINS).astype(np.int64), BINS - 1)
    count_B = np.bincount(bin_N, minlength=BINS)
    filled = count_B > 0
    right_B = np.bincount(bin_N, weights=right_N, minlength=BINS)[filled] / count_B[filled]
    sure_B = np.bincount(bin_N, weights=sure_N, minlength=BINS)[filled] / count_B[filled]
    centres_B = ((np.arange(BINS) + 0.5) / BINS)[filled]
    axes.bar(centres_B, right_B, 0.92 / BINS, color=COLOURS[0], alpha=0.7)
    axes.plot(sure_B, sure_B, "o", color=COLOURS[4], markersize=3)
    axes.plot([0, 1], [0, 1], color="black", linewidth=0.7, linestyle=(0, (3, 2)), zorder=0)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1.03)
    axes.set_ylabel("share right")
    return float((np.abs(right_B - sure_B) * count_B[filled]).sum() / len(sure_N))


def draw_scores(album: Album, clips: Predicted, names: Sequence[str], prefix: str, of: str) -> list[Picture]:
    """Draws predicted over true, a panel a score."""
    shown = list(names[:_PANELS])
    lines = math.ceil(len(shown) / 2)
    with open_figure(0.1 + 1.95 * lines, nrows=lines, ncols=2) as (figure, grid):
        for k, (axes, name) in enumerate(zip(grid.flat, shown, strict=False)):
            score = Predicted(clips.ids, clips.target[:, k], clips.prediction[:, k])
            scatter(axes, score)
            axes.set_title(f"{wrapped(name, 22)}\n{scores_text(score).partition(', n')[0]}")
        for axes in grid.flat[len(shown) :]:
            axes.set_axis_off()
        caption = f"Predicted against true, a panel a score, n = {len(clips.ids)}: {of}."
        if len(shown) < len(names):
            caption = f"{caption} The first {len(shown)} of {len(names)}."
        return [album.keep(figure, f"{prefix}predictions", caption)]
