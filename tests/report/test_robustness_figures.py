"""What the figures of the missing-modality protocols show, and that they are written whole."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from matplotlib import pyplot as plt
from numpy.testing import assert_allclose

from trivium.evaluation.feature_noise import LEVELS
from trivium.evaluation.subsets import all_subsets
from trivium.report.album import Album, Picture
from trivium.report.robustness_figures import (
    curve,
    draw_noise,
    draw_rates,
    draw_shapley,
    draw_subsets,
    heat_map,
    shapley_bars,
    shown,
)

NAMES = ("text", "audio", "vision")
METRICS = ("mae", "corr", "acc2_non0", "acc7")
GROUPS = (*NAMES, "text+audio+vision")


def subsets(metrics: tuple[str, ...] = METRICS) -> list[dict[str, object]]:
    rng = np.random.default_rng(0)
    return [{"modalities": "+".join(s), **dict(zip(metrics, rng.random(4), strict=True))} for s in all_subsets(NAMES)]


def shares() -> list[dict[str, object]]:
    rng = np.random.default_rng(1)
    return [{"metric": k, "modality": m, "value": float(rng.normal())} for k in METRICS for m in NAMES]


def rates(metrics: tuple[str, ...] = METRICS) -> list[dict[str, object]]:
    rng = np.random.default_rng(2)
    return [
        {"rate": rate, "draw": draw, **dict(zip(metrics, rng.random(4), strict=False))}
        for rate in (0.0, 0.1, 0.2)
        for draw in (1, 2, 3)
    ]


def noise() -> list[dict[str, object]]:
    rng = np.random.default_rng(3)
    return [
        {"kind": kind, "modalities": group, "level": level, **dict(zip(METRICS, rng.random(4), strict=True))}
        for kind in LEVELS
        for group in GROUPS
        for level in LEVELS[kind]
        for _ in range(2)
    ]


def test_heat_map_has_every_number_and_shades_the_best_darkest() -> None:
    rows = subsets()
    rows[0]["corr"] = math.nan
    rows[1]["mae"] = 1.0668
    figure, axes = plt.subplots()
    heat_map(axes, rows, NAMES, METRICS)
    texts = [text.get_text() for text in axes.texts]
    assert texts[0] == f"{rows[0]['mae']:.3f}".replace("0.", ".", 1)
    assert texts[1] == "-"
    assert texts[4] == "1.07"
    assert len(texts) == 7 * 4
    brightness = axes.images[0].get_array()[..., :3].sum(axis=-1)
    for k, metric in enumerate(METRICS):
        values = [float(row[metric]) for row in rows]  # type: ignore[arg-type]
        best = np.nanargmin(values) if metric == "mae" else np.nanargmax(values)
        assert brightness[:, k].argmin() == best
    plt.close(figure)


def test_dots_of_the_heat_map_say_which_modalities_are_there() -> None:
    figure, axes = plt.subplots()
    heat_map(axes, subsets(), NAMES, METRICS)
    for dots, subset in zip(axes.collections, all_subsets(NAMES), strict=True):
        filled = (dots.get_facecolors()[:, :3].sum(axis=1) == 0).tolist()
        assert filled == [name in subset for name in NAMES]
    plt.close(figure)


def test_bars_are_shapley_values_with_a_fall_of_mae_to_the_right() -> None:
    figure, axes = plt.subplots()
    shapley_bars(axes, shares(), NAMES, METRICS)
    value = {(row["metric"], row["modality"]): row["value"] for row in shares()}
    for name, bars in zip(NAMES, axes.containers, strict=True):
        expected = [-value["mae", name], *(value[metric, name] for metric in METRICS[1:])]  # type: ignore[operator]
        assert_allclose([bar.get_width() for bar in bars], expected)
    assert [label.get_text() for label in axes.get_yticklabels()] == ["MAE (fall)", "Corr", "Acc-2 Non0", "Acc-7"]
    plt.close(figure)


def test_curve_is_the_mean_over_draws_with_a_band_of_one_deviation() -> None:
    figure, axes = plt.subplots()
    curve(axes, rates(), "rate", "mae", label="model", style=0)
    draws = np.array([row["mae"] for row in rates()]).reshape(3, 3)
    (line,) = axes.lines
    assert_allclose(line.get_xdata(), [0.0, 0.1, 0.2])
    assert_allclose(line.get_ydata(), draws.mean(axis=1))
    outline = axes.collections[0].get_paths()[0].vertices
    for place, mean, std in zip((0.0, 0.1, 0.2), draws.mean(axis=1), draws.std(axis=1, ddof=1), strict=True):
        heights = outline[np.isclose(outline[:, 0], place), 1]
        assert_allclose([heights.min(), heights.max()], [mean - std, mean + std])
    plt.close(figure)


def test_one_draw_has_a_line_and_no_band() -> None:
    figure, axes = plt.subplots()
    curve(axes, [row for row in rates() if row["draw"] == 1], "rate", "mae", label="model", style=0)
    heights = axes.collections[0].get_paths()[0].vertices[:, 1]
    assert np.isfinite(heights).all()
    assert len({*heights.round(12)}) == 3
    plt.close(figure)


def test_curves_show_four_metrics_at_most_and_two_where_there_are_two() -> None:
    assert shown(["mae", "corr", "acc7", "acc5", "acc2_has0", "acc2_non0"]) == ["mae", "corr", "acc2_non0", "acc7"]
    assert shown(["mae", "corr"]) == ["mae", "corr"]


@pytest.mark.parametrize(
    "draw",
    [
        lambda album, name: draw_subsets(album, subsets(), name, "a run"),
        lambda album, name: draw_shapley(album, shares(), name, "a run"),
        lambda album, name: draw_rates(album, {"model": rates()}, name, dict.fromkeys(METRICS, 0.5)),
        lambda album, name: draw_rates(
            album, {"a": rates(METRICS[:3]), "b": rates(METRICS[:3])}, name, dict.fromkeys(METRICS, 0.5)
        ),
        lambda album, name: draw_rates(album, {"model": rates(METRICS[:2])}, name, dict.fromkeys(METRICS, 0.5)),
        lambda album, name: draw_noise(album, noise(), name),
    ],
)
def test_both_files_are_there_the_vector_one_the_same_each_time(
    tmp_path: Path, draw: Callable[[Album, str], Picture]
) -> None:
    draw(Album(tmp_path), "figure_v1.2")
    assert {file.name for file in tmp_path.iterdir()} == {"figure_v1.2.png", "figure_v1.2.pdf"}
    before = (tmp_path / "figure_v1.2.pdf").read_bytes()
    draw(Album(tmp_path), "figure_v1.2")
    assert (tmp_path / "figure_v1.2.pdf").read_bytes() == before
    assert not plt.get_fignums()
