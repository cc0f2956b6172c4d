"""What the bars show: means, deviations, and lines at chance and Bayes."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.collections import LineCollection
from matplotlib.container import BarContainer
from numpy.testing import assert_allclose
from table_cases import ERRORS, LABELS, VALUES, compared, measured

from trivium.report.figure_style import COLOURS, COLUMN_INCHES, PAGE_INCHES
from trivium.tables.bars import draw_bars, write_bars
from trivium.tables.figure import draw_heat_map, write_figure


def test_bars_and_error_bars_are_means_and_deviations_in_percent() -> None:
    figure, axes = plt.subplots()
    draw_bars(axes, measured())
    bars = [part for part in axes.containers if isinstance(part, BarContainer)]
    assert [part.get_label() for part in bars] == ["A", "B"]
    for r, part in enumerate(bars):
        runs = np.stack([VALUES[r, 0], VALUES[r].mean(axis=0)])  # the groups "first" and "both"
        assert_allclose([bar.get_height() for bar in part], 100 * runs.mean(axis=1), rtol=1e-12)
        (lines,) = part.errorbar.lines[2]
        ends = np.array([segment[:, 1] for segment in lines.get_segments()])
        assert_allclose(ends[:, 1] - ends[:, 0], 2 * 100 * runs.std(axis=1, ddof=1), rtol=1e-12)
    plt.close(figure)


def test_lines_stand_at_chance_and_bayes_of_each_group() -> None:
    figure, axes = plt.subplots()
    draw_bars(axes, measured())
    heights = {
        part.get_label(): [segment[0, 1] for segment in part.get_segments()]
        for part in axes.collections
        if isinstance(part, LineCollection) and not str(part.get_label()).startswith("_")
    }
    assert_allclose(heights["Bayes-optimal"], [95, 85], rtol=1e-12)
    assert_allclose(heights["chance"], [50, 37.5], rtol=1e-12)
    plt.close(figure)


def test_a_row_without_values_leaves_its_place_empty() -> None:
    figure, axes = plt.subplots()
    draw_bars(axes, measured(missing=True))
    assert np.isnan([bar.get_height() for bar in axes.containers[-1]]).all()
    figure.canvas.draw()
    plt.close(figure)


def test_many_bars_take_two_columns_and_their_legend_stays_inside(tmp_path: Path) -> None:
    own = measured()
    rows = tuple(replace(own.table.rows[0], label=f"Supervised, cross-entropy {n}") for n in range(13))
    write_bars(tmp_path / "narrow", own)
    write_bars(tmp_path / "wide", replace(own, table=replace(own.table, rows=rows)))
    for name, inches in {"narrow": COLUMN_INCHES, "wide": PAGE_INCHES}.items():
        pixels = plt.imread(tmp_path / f"{name}.png")
        assert pixels.shape[1] == round(300 * inches)
        assert (pixels[:, [0, -1]] == 1).all(), f"{name}: something is cut off at a side"


def test_both_files_are_there_the_vector_one_the_same_each_time(tmp_path: Path) -> None:
    write_bars(tmp_path / "figure", measured())
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")
    before = (tmp_path / "figure.pdf").read_bytes()
    write_bars(tmp_path / "figure", measured())
    assert (tmp_path / "figure.pdf").read_bytes() == before
    assert not plt.get_fignums()


def test_colours_can_be_told_apart_in_grey() -> None:
    """Luminance, as printers and many eyes see it; neighbours in the legend differ by a tenth at least."""
    rgb = np.array([[int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)] for colour in COLOURS])
    grey = rgb @ [0.2126, 0.7152, 0.0722]
    assert np.abs(np.diff(grey)).min() > 0.1


def heat_map(baseline: str, p: float | None = None) -> tuple[list[str], np.ndarray]:
    """Its texts and its pixels, of rows GMC, Mix and Empty by two subsets. p: in the place of each test's."""
    figure, axes = plt.subplots()
    found = compared(baseline)
    for line in found.compared.values() if p is not None else ():
        line["p_holm"] = p
    draw_heat_map(axes, found, found.table.units["MAE"])
    pixels = np.asarray(axes.images[0].get_array())
    plt.close(figure)
    return [text.get_text() for text in axes.texts], pixels


def test_heat_map_says_means_and_stars_and_colours_what_is_better() -> None:
    texts, pixels = heat_map("GMC")
    mix = [ERRORS[1, 0, :4].mean(), ERRORS[1, 1].mean()]
    assert texts[:2] == [f"{mean:.3f}" for mean in ERRORS[0, :2].mean(axis=1)]
    assert [text.rstrip("*") for text in texts[2:4]] == [f"{mean:.3f}" for mean in mix]
    corrected = {name: compared().compared["Mix", name]["p_holm"] for name in LABELS}
    assert [text.endswith("*") for text in texts[2:4]] == [
        corrected[f"MAE {name}"] < 0.05 for name in ("text", "text+audio")
    ]
    assert texts[4:] == ["-", "-"]
    assert pixels.shape == (3, 2, 4)
    assert pixels[0, :, :3].min() > 0.95  # the baseline: white
    fallen, risen = pixels[1, 0], pixels[1, 1]  # Mix's MAE of text falls by .1, of both it rises by .05
    assert fallen[2] > fallen[0] > fallen[1]  # purple
    assert risen[0] > risen[1] > risen[2]  # orange
    assert np.ptp(pixels[2, :, :3]) == 0  # no run: grey


def test_heat_map_is_pale_where_the_test_tells_nothing() -> None:
    """Else strong colours would say what the numbers do not."""
    pixels = [heat_map("GMC")[1][1, :, :3]]
    for p in (0.0, 1.0):
        pixels.append(heat_map("GMC", p)[1][1, :, :3])
    found, real, none = pixels
    assert_allclose(1 - none, 0.35 * (1 - real), rtol=1e-12)
    for m, name in enumerate(LABELS[:2]):
        expected = real if compared().compared["Mix", name]["p_holm"] < 0.05 else none
        assert_allclose(found[m], expected[m], rtol=1e-12)


def test_heat_map_without_a_baseline_darkens_the_best_of_each_column() -> None:
    _, pixels = heat_map("")
    grey = pixels[:2, :, :3] @ [0.2126, 0.7152, 0.0722]
    assert (grey.argmin(axis=0) == ERRORS[:2, :2].mean(axis=2).argmin(axis=0)).all()


def test_accuracies_become_bars_and_other_units_a_heat_map(tmp_path: Path) -> None:
    for found, folder in ((measured(), tmp_path / "bars"), (compared(), tmp_path / "map"), (compared(""), tmp_path)):
        folder.mkdir(exist_ok=True)
        write_figure(folder, found)
        assert (folder / "figure.pdf").read_bytes().startswith(b"%PDF")
    write_bars(tmp_path / "figure", measured())
    assert (tmp_path / "figure.pdf").read_bytes() == (tmp_path / "bars" / "figure.pdf").read_bytes()
    assert not plt.get_fignums()
