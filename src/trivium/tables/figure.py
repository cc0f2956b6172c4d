"""Draws the figure of a table: bars of what is knowable, a heat map of subsets, or a panel a measure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize

from trivium.evaluation.significance import LEVEL, is_told
from trivium.report.figure_style import open_figure, save_figure
from trivium.results.sections import file_stem
from trivium.tables.bars import write_bars
from trivium.tables.collect import Measured
from trivium.tables.measures import Measure
from trivium.tables.panels import PANELS, write_panels
from trivium.tables.situation_lines import LINES, RATES, rates_of, write_lines, write_rates

# Diverging (orange, white, purple), and one side of it.
_DIFFERENCES, _VALUES = colormaps["PuOr"], colormaps["Purples"]
# How far pale colours go to white.
_PALE = 0.65
_NO_MEAN = (0.95, 0.95, 0.95, 1.0)

Cells = npt.NDArray[np.float64]


def write_figures(folder: Path, parts: Sequence[Measured]) -> dict[str, list[tuple[str, str]]]:
    """Draws one for each part, and one over the situations of each data set; removes earlier ones of others.

    Returns section -> file and what it shows. That over situations is in the first section of its data set.
    """
    drawn = {part.table.section: [write_figure(folder, part)] for part in parts}
    for part in parts:
        if rates_of(part.table):
            name = file_stem("figure_rates", part.table.section)
            write_rates(folder / name, part)
            drawn[part.table.section].insert(0, (f"{name}.png", RATES))
    for data in dict.fromkeys(part.table.data for part in parts if part.table.situation):
        of_data = [part for part in parts if part.table.data == data and part.table.situation]
        measures = [{measure.name for measure in part.table.measures} for part in of_data]
        if len(of_data) > 1 and set.intersection(*measures):
            name = file_stem("figure_over", data)
            write_lines(folder / name, of_data)
            drawn[of_data[0].table.section].insert(0, (f"{name}.png", LINES))
    names = {Path(file).stem for figures in drawn.values() for file, _ in figures}
    for file in [*folder.glob("figure.*"), *folder.glob("figure_*.*")]:
        if file.suffix in (".png", ".pdf") and file.stem not in names:
            file.unlink()
    return drawn


def write_figure(folder: Path, measured: Measured) -> tuple[str, str]:
    """Draws figure.png and .pdf (figure_DATA for one data set of several); returns the former's name and what it shows.

    Bars if chance and Bayes are known of a measure, or if the table groups them; a heat map of the first unit that is
    no accuracy if every measure is of a subset; else panels.
    """
    table = measured.table
    name = file_stem("figure", table.section)
    others = [measure for measure in table.measures if not measure.is_share]
    if any(measure.factor for measure in table.measures) or any(names != (bar,) for bar, names in table.bars.items()):
        write_bars(folder / name, measured)
        return f"{name}.png", "Mean accuracies, with one standard deviation over seeds; lines: chance and Bayes-optimal"
    if others and all(measure.subset for measure in table.measures):
        with open_figure(1.1 + 0.19 * len(table.rows)) as (figure, grid):
            draw_heat_map(grid[0, 0], measured, table.units[others[0].unit])
            save_figure(figure, folder / name)
        return f"{name}.png", f"Mean {others[0].unit} from each subset of modalities"
    write_panels(folder / name, measured)
    return f"{name}.png", PANELS


def draw_heat_map(axes: Axes, measured: Measured, measures: list[Measure]) -> None:
    """Draws the means of measures of one unit and direction, a line a row.

    The colour is the mean paired difference from the baseline (purple: better), with a star where its corrected p is
    below LEVEL, and pale where it is not; without a baseline, how good the mean is within its column.
    """
    rows = [row.label for row in measured.table.rows]
    means = _cells(measured, measures, "mean")
    image, key, label = _coloured(measured, measures, means)
    axes.imshow(image, aspect="auto")
    p_values = _cells(measured, measures, "p_holm")
    for (r, c), mean in np.ndenumerate(means):
        star = "*" if is_told(float(p_values[r, c])) else ""
        dark = image[r, c, :3] @ [0.2126, 0.7152, 0.0722] < 0.45
        text = "-" if math.isnan(mean) else f"{mean:.3f}{star}"
        axes.text(c, r, text, ha="center", va="center", fontsize=5.5, color="white" if dark else "black")
    heads = [measure.head for measure in measures]
    slanted: dict[str, Any] = {"rotation": 35, "ha": "left"} if max(map(len, heads)) > 5 else {}
    axes.set_xticks(range(len(measures)), heads, fontsize=6, **slanted)
    axes.set_yticks(range(len(rows)), rows, fontsize=6)
    axes.tick_params(top=True, labeltop=True, bottom=False, labelbottom=False, length=0, pad=2)
    axes.spines[:].set_visible(False)
    if key is None:
        axes.set_xlabel(label, fontsize=6)
    else:
        _bar(axes, key, label)


def _cells(measured: Measured, measures: list[Measure], column: str) -> Cells:
    """Returns (rows, measures) of one column of the comparison."""
    rows = measured.table.rows
    return np.array([[measured.compared[row.label, m.name][column] for m in measures] for row in rows], np.float64)


def _coloured(measured: Measured, measures: list[Measure], means: Cells) -> tuple[Cells, ScalarMappable | None, str]:
    """Returns (rows, measures, RGBA), grey where there is no mean; the key to the colours, if any; and their label."""
    first, baseline = measures[0], measured.table.baseline
    better, key = -1.0 if first.lower_is_better else 1.0, None
    if baseline:
        differences = _cells(measured, measures, "difference")
        # 0 in the middle of the colours
        most = float(np.nanmax(np.abs(differences))) if np.isfinite(differences).any() else 0.0
        key = ScalarMappable(Normalize(-(most or 1.0), most or 1.0), _DIFFERENCES)
        image = key.to_rgba(np.nan_to_num(better * differences))
        p_values = _cells(measured, measures, "p_holm")
        real = np.array([[is_told(p) for p in row] for row in p_values.tolist()])
        image[..., :3] += np.where(real, 0.0, _PALE)[..., None] * (1 - image[..., :3])
        where = "below" if first.lower_is_better else "above"
        label = f"{first.unit}, how far {where} {baseline}; pale: p of {LEVEL:g} or more"
    else:
        # The darkest would hide the digits.
        image = _VALUES(np.nan_to_num(_scaled(better * means)) / 1.4)
        label = f"{first.unit}, darker is better"
    image[np.isnan(means)] = _NO_MEAN
    return image, key, label


def _scaled(goodness: Cells) -> Cells:
    """Returns each column scaled from 0 (worst) to 1 (best); NaN stays, and a column of equal values is 0."""
    known = np.isfinite(goodness)
    low = np.where(known, goodness, np.inf).min(axis=0)
    high = np.where(known, goodness, -np.inf).max(axis=0)
    scaled: Cells = (goodness - low) / np.where(high > low, high - low, 1.0)
    return scaled


def _bar(axes: Axes, mapping: ScalarMappable, label: str) -> None:
    figure: Any = axes.figure
    bar = figure.colorbar(mapping, ax=axes, orientation="horizontal", fraction=0.04, pad=0.02, aspect=40)
    ends = mapping.get_clim()
    bar.set_ticks([ends[0], 0, ends[1]], labels=[f"{ends[0]:.2g}", "0", f"{ends[1]:.2g}"])
    bar.set_label(label, fontsize=6)
    bar.ax.tick_params(labelsize=5.5, length=2)
    bar.outline.set_visible(False)
