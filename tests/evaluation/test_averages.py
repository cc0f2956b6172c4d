"""Tests the averages that papers print: over rates with and without complete clips, over subsets, over kinds."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.integrate import trapezoid

from trivium.evaluation.averages import areas, average, over_kinds, over_rates, over_subsets


def test_average_over_rates_is_a_mean_of_metrics_with_the_spread_of_draws() -> None:
    values = np.array([[1.0, 1.0], [1.2, 1.6], [1.7, 1.9]])  # a row a rate, a column a draw
    rows = [
        {"rate": rate, "draw": draw, "mae": values[r, draw - 1]}
        for r, rate in enumerate((0.0, 0.1, 0.9))
        for draw in (1, 2)
    ]
    averages = average(rows, over_rates(rows), ["mae"])
    assert list(averages) == ["rates 0 to 0.9", "rates 0.1 to 0.9"]
    for name, part in (("rates 0 to 0.9", values), ("rates 0.1 to 0.9", values[1:])):
        by_draw = part.mean(axis=0)
        assert averages[name]["mae"] == pytest.approx({"mean": by_draw.mean(), "std": by_draw.std(ddof=1)})


def test_average_over_subsets_leaves_out_the_whole_one_and_has_no_spread() -> None:
    rows = [{"modalities": name, "mae": mae} for name, mae in (("text", 1.0), ("audio", 2.0), ("text+audio", 0.6))]
    averages = average(rows, over_subsets(rows), ["mae"])
    assert averages == {
        "incomplete subsets": {"mae": {"mean": 1.5}},
        "all subsets": {"mae": {"mean": pytest.approx(1.2)}},
    }
    assert list(over_subsets(rows[:1])) == ["all subsets"]


def test_average_over_kinds_keeps_them_apart() -> None:
    rows = [{"kind": kind, "mae": mae} for kind, mae in (("shared", 1.0), ("spread", 2.0), ("spread", 4.0))]
    averages = average(rows, over_kinds(rows), ["mae"])
    assert {kind: cells["mae"]["mean"] for kind, cells in averages.items()} == {"shared": 1.0, "spread": 3.0}


def test_a_metric_that_is_undefined_once_is_undefined_on_average() -> None:
    rows = [
        {"rate": rate, "draw": draw, "corr": corr} for rate, corr in ((0.0, 0.5), (0.9, math.nan)) for draw in (1, 2)
    ]
    cells = average(rows, over_rates(rows), ["corr"])["rates 0 to 0.9"]["corr"]
    assert math.isnan(cells["mean"])
    assert "std" not in cells


def test_auilc_is_the_trapezoid_area_of_each_draw_with_its_spread() -> None:
    rates = np.array([0.0, 0.1, 0.2, 0.5, 0.9])  # unevenly spaced, so that the widths count
    values = np.random.default_rng(0).normal(size=(5, 3))  # a row a rate, a column a draw
    rows = [
        {"rate": float(rate), "draw": draw + 1, "mae": values[r, draw]}
        for r, rate in reversed(list(enumerate(rates)))
        for draw in (2, 0, 1)
    ]
    area = trapezoid(values, rates, axis=0)
    assert areas(rows, ["mae"]) == {
        "AUILC 0 to 0.9": {"mae": pytest.approx({"mean": area.mean(), "std": area.std(ddof=1)}, abs=1e-12)}
    }


def test_auilc_of_a_straight_line_is_its_middle_times_the_range_and_of_one_draw_has_no_spread() -> None:
    rows = [{"rate": rate / 10, "acc7": 0.6 - 0.05 * rate} for rate in range(8)]
    assert areas(rows, ["acc7"]) == {"AUILC 0 to 0.7": {"acc7": {"mean": pytest.approx(0.7 * 0.425)}}}
    undefined = [*rows[:-1], {"rate": 0.7, "acc7": math.nan}]
    assert math.isnan(areas(undefined, ["acc7"])["AUILC 0 to 0.7"]["acc7"]["mean"])
