"""Draws a run's clips: predicted against true, confusion of classes, a map of the joint vectors.

Legend: N clips, E features of a joint vector, C classes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib import colormaps
from matplotlib.axes import Axes

from trivium.core.metric_names import CLASSES, LABELS
from trivium.evaluation.metrics import score_classes
from trivium.report.album import Album, Picture
from trivium.report.bands import wrapped
from trivium.report.figure_style import COLOURS, COLUMN_INCHES, DARK, PAGE_INCHES, SHADES, legend_above, open_figure
from trivium.results.records import Predicted, Record, Values

# dots of a scatter plot beyond which a vector file would become large and slow
_AS_PIXELS = 1000
# dots of a map
_DOTS = 1000
# classes beyond which a confusion has no numbers, and no names
_NUMBERED, _NAMED = 12, 40
# brighter is higher, in grey too; a map of two hues would lose the sign there
_SCORES = colormaps["cividis"].resampled(32)
_MARKS = ("o", "s", "^", "D", "v", "P", "X")
# bars of a marginal, at most
_BINS = 16


def draw_predictions(album: Album, record: Record, prefix: str = "") -> list[Picture]:
    """Draws predictions and confusion of the test split, or of the validation split where a store has no other.

    prefix: of the figures' names. Confusion is for classes, and for protocols that cut a score into some. Other targets
    have the figures of trivium.report.task_figures.
    """
    split = "test" if "test" in record.predictions else next(iter(record.predictions))
    clips, of = record.predictions[split], f"{record.label}, seed {record.repeat}, {split} split"
    if not record.target.is_score:
        from trivium.report.task_figures import draw_classes, draw_labels, draw_scores

        draw = {"classes": draw_classes, "labels": draw_labels, "scores": draw_scores}[record.target.task]
        return draw(album, clips, record.target.names, prefix, of)
    drawn = [draw_scatter(album, clips, f"{prefix}predictions", f"Predicted against true score: {of}.")]
    if record.protocol in CLASSES:
        drawn.append(draw_confusion(album, clips, record.protocol, f"{prefix}confusion", of))
    return drawn


def draw_scatter(album: Album, clips: Predicted, name: str, caption: str) -> Picture:
    """Draws predicted over true score, with both marginals and the line on which they are equal."""
    layout: dict[str, Any] = {"width_ratios": (5, 1), "height_ratios": (1, 5)}
    with open_figure(3.2, nrows=2, ncols=2, sharex="col", sharey="row", **layout) as (figure, grid):
        scatter(grid[1, 0], clips)
        bins = marginal_bins(*_range(clips))
        bars: dict[str, Any] = {"color": COLOURS[0], "alpha": 0.7}
        grid[0, 0].hist(clips.target, bins=bins, **bars)
        grid[1, 1].hist(clips.prediction, bins=bins, orientation="horizontal", **bars)
        grid[0, 0].set_title(scores_text(clips), loc="left")
        for axes in (grid[0, 0], grid[1, 1]):
            axes.tick_params(left=False, bottom=False, labelleft=False, labelbottom=False)
            axes.spines[:].set_visible(False)
        grid[0, 1].set_axis_off()
        return album.keep(figure, name, caption)


def scatter(axes: Axes, clips: Predicted) -> None:
    """Draws each clip as a dot, beside the line on which both scores are equal."""
    low, high = _range(clips)
    axes.plot([low, high], [low, high], color="black", linewidth=0.7, linestyle=(0, (3, 2)))
    dots: dict[str, Any] = {"s": 7, "color": COLOURS[0], "alpha": 0.45, "linewidths": 0}
    axes.scatter(clips.target, clips.prediction, rasterized=len(clips.ids) > _AS_PIXELS, **dots)
    axes.set_xlim(low, high)
    axes.set_ylim(low, high)
    axes.set_xlabel("true score")
    axes.set_ylabel("predicted score")


def scores_text(clips: Predicted) -> str:
    mae = float(np.abs(clips.prediction - clips.target).mean())
    # numpy's, to three digits: the metrics' own takes scipy.stats, half a second to import.
    varies = np.ptp(clips.prediction) > 0 and np.ptp(clips.target) > 0
    corr = float(np.corrcoef(clips.prediction, clips.target)[0, 1]) if varies else math.nan
    return f"MAE {mae:.3f}, Corr {corr:.3f}, n = {len(clips.ids)}"


def marginal_bins(low: float, high: float) -> Values:
    """Returns edges halfway between multiples of 0.1, 0.2, 0.5, 1, ... of which _BINS at most cover low to high.

    Scores are means of a few ratings, so they lie on such multiples: edges on them would make a comb.
    """
    steps = [digit * 10.0**power for power in range(-6, 7) for digit in (1, 2, 5)]
    step = next((step for step in steps if (high - low) / step <= _BINS - 1), high - low)
    first, last = round(low / step), round(high / step)
    edges: Values = (np.arange(first, last + 2, dtype=np.float64) - 0.5) * step
    return edges


def _range(clips: Predicted) -> tuple[float, float]:
    """Returns a range a little wider than both scores: one scale for both axes."""
    both = np.concatenate([clips.target, clips.prediction])
    margin = 0.04 * (float(np.ptp(both)) or 1.0)
    return float(both.min()) - margin, float(both.max()) + margin


def confusion(protocol: str, clips: Predicted) -> npt.NDArray[np.int64]:
    """Returns (C, C) clips by true (row) and predicted class, cut as the protocol's accuracy cuts scores."""
    size = len(CLASSES[protocol][1])
    pairs = score_classes(protocol, clips.target) * size + score_classes(protocol, clips.prediction)
    return np.bincount(pairs, minlength=size * size).reshape(size, size)


def draw_confusion(album: Album, clips: Predicted, protocol: str, name: str, caption: str) -> Picture:
    """Draws numbers of clips by class, cut as the protocol's accuracy cuts scores."""
    metric, names = CLASSES[protocol]
    counts_CC = confusion(protocol, clips)
    title = f"{LABELS[metric]} {counts_CC.trace() / counts_CC.sum():.3f}, n = {len(clips.ids)}"
    return draw_counts(album, counts_CC, names, title, name, caption)


def draw_counts(
    album: Album, counts_CC: npt.NDArray[np.int64], names: Sequence[str], title: str, name: str, caption: str
) -> Picture:
    """Draws numbers of clips by true (row) and predicted class; darker is a larger share of the true class.

    Of more than _NUMBERED classes the cells have no numbers, and of more than _NAMED the classes no names.
    """
    classes = len(names)
    width = PAGE_INCHES if classes > _NUMBERED else COLUMN_INCHES
    with open_figure(width * 0.85, width=width) as (figure, grid):
        axes = grid[0, 0]
        shares_CC = counts_CC / np.maximum(counts_CC.sum(axis=1, keepdims=True), 1)
        axes.imshow(SHADES(0.9 * shares_CC))
        for (row, column), count in np.ndenumerate(counts_CC if classes <= _NUMBERED else counts_CC[:0]):
            colour = "white" if 0.9 * shares_CC[row, column] > DARK else "black"
            axes.text(column, row, str(count) if count else "·", ha="center", va="center", color=colour)
        if classes <= _NAMED:
            words = [wrapped(word, 16) for word in names]
            slanted: dict[str, Any] = {"rotation": 35, "ha": "right"} if max(map(len, names)) > 2 else {}
            axes.set_xticks(range(classes), words, **slanted)
            axes.set_yticks(range(classes), words)
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        axes.set_xlabel("predicted class")
        axes.set_ylabel("true class")
        axes.set_title(title)
        return album.keep(figure, name, f"{caption}; darker is a larger share of the true class.")


def draw_map(
    album: Album,
    places_N2: Values,
    target_N: Values,
    labels: tuple[str, str],
    name: str,
    caption: str,
    classes: Sequence[str] = (),
    coloured_by: str = "true score",
) -> Picture:
    """Draws dots coloured by true score or class; a random _DOTS of more clips, as more would hide each other.

    classes: names of the classes, whose numbers target_N then has. Beyond the colours, classes differ in their marks.
    coloured_by: words for the scale of scores.
    """
    if len(target_N) > _DOTS:
        chosen = np.sort(np.random.default_rng(0).permutation(len(target_N))[:_DOTS])
        caption = f"{caption} {_DOTS} of {len(target_N)} clips, drawn at random."
        places_N2, target_N = places_N2[chosen], target_N[chosen]
    with open_figure(2.7 + 0.09 * len(classes)) as (figure, grid):
        axes = grid[0, 0]
        edges: dict[str, Any] = {"s": 9, "edgecolors": "#444444", "linewidths": 0.2}
        for number, word in enumerate(classes):
            marker = _MARKS[number // len(COLOURS) % len(_MARKS)]
            colour = COLOURS[number % len(COLOURS)]
            axes.scatter(*places_N2[target_N == number].T, color=colour, marker=marker, label=word, **edges)
        if classes:
            handles, words = axes.get_legend_handles_labels()
            legend_above(figure, handles, [wrapped(word, 20) for word in words], columns=3, handlelength=0.8)
        else:
            dots = axes.scatter(*places_N2.T, c=target_N, cmap=_SCORES, **edges)
            bar = figure.colorbar(dots, ax=axes, fraction=0.05, pad=0.02)
            bar.set_label(coloured_by)
            bar.outline.set_visible(False)
        axes.set_xlabel(labels[0])
        axes.set_ylabel(labels[1])
        axes.set_xticks([])
        axes.set_yticks([])
        return album.keep(figure, name, caption)
