"""Tests curves over missing rates: a line is the mean over seeds, and a figure holds what was measured."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from trivium.report import rate_curves
from trivium.report.album import Album
from trivium.report.rate_curves import draw_rate_curves, over_seeds
from trivium.results.records import Record

RATES = (0.0, 0.5, 0.9)


def run(folder: Path, label: str, seed: int, name: str = "erased", data: str = "mosi/a") -> Record:
    """A run that has been evaluated with two draws, MAE = seed + rate, and 1 more in the second draw."""
    path = folder / f"{label}_{seed}_{data.replace('/', '_')}"
    path.mkdir()
    cells = [
        {"rate": rate, "draw": draw, "mae": seed + rate + draw - 1, "corr": 0.1} for rate in RATES for draw in (1, 2)
    ]
    if name:
        pd.DataFrame(cells).to_csv(path / f"{name}.csv", index=False)
    result = {"seed": seed, "feature_set": data, "train_mean_mae": {"test": 1.4}}
    return Record(path, {}, result, {}, label)


def test_rows_are_means_over_the_draws_of_each_seed(tmp_path: Path) -> None:
    rows = over_seeds([run(tmp_path, "a", 1), run(tmp_path, "a", 4)], "erased")
    found = {(row["seed"], row["rate"]): row["mae"] for row in rows}
    assert found == {(seed, rate): pytest.approx(seed + rate + 0.5) for seed in (1, 4) for rate in RATES}


def test_a_metric_undefined_in_one_draw_has_no_mean(tmp_path: Path) -> None:
    record = run(tmp_path, "a", 1)
    frame = pd.read_csv(record.path / "erased.csv")
    frame.loc[1, "corr"] = np.nan
    frame.to_csv(record.path / "erased.csv", index=False)
    assert [np.isnan(row["corr"]) for row in over_seeds([record], "erased")] == [True, False, False]


def test_a_figure_for_each_data_set_and_protocol_with_the_settings_that_were_evaluated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = {}
    monkeypatch.setattr(
        rate_curves,
        "draw_rates",
        lambda album, groups, name, mean, **words: drawn.update({name: (groups, mean, words)}),
    )
    records = [run(tmp_path, label, seed) for label in ("a", "b") for seed in (1, 2)]
    records += [run(tmp_path, "c", 1, name=""), run(tmp_path, "a", 1, "rates_gcnet", "mosi/b")]
    records += [run(tmp_path, "b", 1, "rates_gcnet", "mosi/b"), run(tmp_path, "a", 1, "rates", "mosi/c")]
    assert len(draw_rate_curves(Album(tmp_path), records)) == 2  # of one run there is the run's own figure
    assert {name: list(groups) for name, (groups, _, _) in drawn.items()} == {
        "erased_mosi/a": ["a", "b"],
        "rates_gcnet_mosi/b": ["a", "b"],
    }
    groups, mean, words = drawn["erased_mosi/a"]
    assert len(groups["a"]) == 2 * len(RATES)
    assert mean == {"mae": 1.4}
    assert words["axis"] == "share of steps erased"
    assert words["caption"].startswith("Metrics when single frames and words are erased, on mosi/a: mean over seeds")


def test_more_settings_than_colours_are_left_out_and_said(tmp_path: Path) -> None:
    records = [run(tmp_path, f"setting {n}", 1) for n in range(9)]
    (picture,) = draw_rate_curves(Album(tmp_path / "figures"), records)
    assert "The first 7 of 9 settings." in picture.caption
    assert [*(tmp_path / "figures").glob("erased_mosi*.png")]
