"""The panels say what the table says: seeds, means, intervals, what the test tells, published numbers, their mark."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from numpy.testing import assert_allclose
from table_cases import ERRORS, LABELS, compared, measured

from trivium.tables.bars import write_bars
from trivium.tables.blocks import OTHER_FEATURES
from trivium.tables.collect import Measured
from trivium.tables.figure import write_figure, write_figures
from trivium.tables.measures import Measure
from trivium.tables.panels import ALIKE, BASELINE, BETTER, OTHER, PLAIN, SAME, WORSE, draw_panel, style_of, write_panels
from trivium.tables.published import Published

USED = {"Mix": {"feature_set": "mosi/theirs"}, "GMC": {"feature_set": "mosi/ours"}}


def found(published: bool = False) -> Measured:
    """GMC (the baseline), Mix, whose MAE of text is better and of both worse, and Empty."""
    own = compared(facts=USED, modalities="text+audio", train_mean_mae=1.3)
    one = Published("S", "theirs", {"MAE text": (0.85, math.nan)})
    rows = tuple(replace(row, published=(one,) if published else ()) for row in own.table.rows)
    return replace(own, table=replace(own.table, rows=rows))


@pytest.fixture
def axes() -> Iterator[Axes]:
    figure, own = plt.subplots()
    yield own
    plt.close(figure)


def lines(axes: Axes, marker: str) -> list[Line2D]:
    return [line for line in axes.lines if line.get_marker() == marker and len(line.get_xdata()) > 0]


def test_every_seed_mean_and_interval_is_drawn_at_its_row(axes: Axes) -> None:
    own = found()
    draw_panel(axes, own, own.table.measures[0])
    seeds = [line for line in axes.lines if line.get_markersize() == 2]
    assert_allclose(seeds[0].get_xdata(), ERRORS[0, 0], rtol=1e-12)
    assert_allclose(seeds[1].get_xdata(), ERRORS[1, 0, :4], rtol=1e-12)  # the fifth has no run
    assert len(seeds[2].get_xdata()) == 0
    (baseline,), (better,) = lines(axes, BASELINE.marker), lines(axes, BETTER.marker)
    assert_allclose([*baseline.get_xdata(), *baseline.get_ydata()], [ERRORS[0, 0].mean(), 0], rtol=1e-12)
    assert_allclose([*better.get_xdata(), *better.get_ydata()], [ERRORS[1, 0, :4].mean(), 1], rtol=1e-12)
    intervals = [line for line in axes.lines if line.get_linewidth() == 1.4]
    assert_allclose(
        intervals[1].get_xdata(), [own.compared["Mix", LABELS[0]][end] for end in ("mean_low", "mean_high")], rtol=1e-12
    )
    assert [label.get_text() for label in axes.get_yticklabels()] == ["GMC", "Mix", "Empty"]
    assert axes.get_ylim()[0] > axes.get_ylim()[1]  # the first row is at the top
    assert axes.get_title() == "MAE text ↓"


def test_lines_stand_at_the_baseline_and_at_the_train_mean_of_mae_alone(axes: Axes) -> None:
    own = found()
    draw_panel(axes, own, own.table.measures[0])
    assert_allclose([line.get_xdata()[0] for line in axes.lines[:2]], [ERRORS[0, 0].mean(), 1.3], rtol=1e-12)
    axes.clear()
    draw_panel(axes, own, own.table.measures[2])  # Corr
    assert_allclose(axes.lines[0].get_xdata()[0], ERRORS[0, 2].mean(), rtol=1e-12)
    assert not np.isclose([line.get_xdata()[0] for line in axes.lines if len(line.get_xdata())], 1.3).any()
    assert axes.get_title() == "Corr text ↑"


@pytest.mark.parametrize(
    ("verdict", "style"),
    [("better", BETTER), ("worse", WORSE), ("same", SAME), ("higher", OTHER), ("lower", OTHER), ("not told", ALIKE)],
)
def test_colour_and_marker_are_those_of_the_verdict(verdict: str, style: object) -> None:
    own = found()
    chosen = own.table.measures[0]
    own.compared["Mix", chosen.name].update(verdict=verdict)
    assert style_of(own, "Mix", chosen) == style
    assert style_of(own, "GMC", chosen) == BASELINE
    assert style_of(own, "Empty", chosen) == ALIKE
    assert style_of(compared(""), "Mix", chosen) == PLAIN


def test_published_numbers_are_open_and_those_of_other_features_have_the_tables_mark(axes: Axes) -> None:
    own = found(published=True)
    draw_panel(axes, own, own.table.measures[0])
    shown = lines(axes, "D")
    assert [float(line.get_xdata()[0]) for line in shown] == [0.85] * 3
    assert {line.get_markerfacecolor() for line in shown} == {"white"}
    ours, theirs, none = (line.get_color() for line in shown)  # GMC's runs were on other features, Mix's on theirs
    assert ours != theirs == none
    assert [text.get_text() for text in axes.texts] == [OTHER_FEATURES]


def test_shares_are_in_percent(axes: Axes) -> None:
    own = measured()
    measure = replace(own.table.measures[0], factor="", modalities="")
    draw_panel(axes, own, measure)
    assert_allclose(lines(axes, PLAIN.marker)[1].get_xdata(), [66.66666], rtol=1e-5)
    assert axes.get_title() == "x, % ↑"


def test_which_figure_a_table_gets(tmp_path: Path) -> None:
    """Subsets a heat map, what is knowable bars, all else panels."""
    whole = tuple(replace(measure, subset="") for measure in compared().table.measures)
    panels = replace(compared(), table=replace(compared().table, measures=whole, data="mosi/a"))
    assert write_figure(tmp_path, panels)[0] == "figure_mosi_a.png"
    write_panels(tmp_path / "own", panels)
    assert (tmp_path / "own.pdf").read_bytes() == (tmp_path / "figure_mosi_a.pdf").read_bytes()
    write_figure(tmp_path, measured())
    write_bars(tmp_path / "own", measured())
    assert (tmp_path / "own.pdf").read_bytes() == (tmp_path / "figure.pdf").read_bytes()
    assert "subset" in write_figure(tmp_path, compared())[1]
    assert not plt.get_fignums()


def test_figures_of_sections_that_are_no_more_are_removed(tmp_path: Path) -> None:
    for name in ("figure_old.png", "figure_old.pdf", "figure.png", "figures.txt", "figure_notes.md"):
        (tmp_path / name).touch()
    part = replace(measured(), table=replace(measured().table, data="mosi"))
    assert list(write_figures(tmp_path, [part])) == ["mosi"]
    kept = {"figure_mosi.png", "figure_mosi.pdf", "figures.txt", "figure_notes.md"}
    assert {path.name for path in tmp_path.iterdir()} == kept


def test_many_measures_are_as_wide_as_a_page_and_two_as_a_column(tmp_path: Path) -> None:
    own = compared()
    for number, inches in ((2, 3.4), (6, 7.0)):
        measures = tuple(Measure(f"{own.table.measures[0].name}", metric="mae") for _ in range(number))
        write_panels(tmp_path / "own", replace(own, table=replace(own.table, measures=measures)))
        width = int.from_bytes((tmp_path / "own.png").read_bytes()[16:20])  # of the PNG's header
        assert width == round(300 * inches)
