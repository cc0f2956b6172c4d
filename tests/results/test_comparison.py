"""compare() against scipy: which row is best, and whether differences are more than chance."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from scipy.stats import false_discovery_control, ttest_rel, wilcoxon

from comparison_cases import frame_of, made
from trivium import compare
from trivium.results.score_text import Kind, kind_of


def stepped_down(p_values: Sequence[float]) -> list[float]:
    """Holm, from its definition: the k-th smallest of m times m - k + 1, never below the one before."""
    order = sorted(range(len(p_values)), key=lambda k: p_values[k])
    found, last = [0.0] * len(p_values), 0.0
    for rank, k in enumerate(order):
        last = found[k] = max(last, min(1.0, p_values[k] * (len(p_values) - rank)))
    return found


def lines(values: Any, baseline: str = "", **settings: Any) -> dict[tuple[str, str], dict[str, Any]]:
    compared = compare(frame_of(values), baseline, within=(), **settings)
    return compared.set_index(["label", "metric"]).to_dict("index")


def test_means_and_deviations_are_numpys() -> None:
    for (row, measure), line in lines(made()).items():
        values = list(made()[measure][row].values())
        assert_allclose([line["mean"], line["std"]], [np.mean(values), np.std(values, ddof=1)], rtol=1e-14)
        assert line["n"] == 5
        assert line["mean_low"] < line["mean"] < line["mean_high"]


def test_differences_from_the_best_are_paired_and_corrected_over_the_rows() -> None:
    values = {row: list(seeds.values()) for row, seeds in made()["MAE"].items()}
    expected = stepped_down([ttest_rel(values[row], values["A"]).pvalue for row in "BCD"])
    found = lines(made())
    assert found["A", "MAE"]["best"]
    assert math.isnan(found["A", "MAE"]["best_difference"])
    for row, p in zip("BCD", expected, strict=True):
        assert_allclose(found[row, "MAE"]["best_difference"], np.mean(values[row]) - np.mean(values["A"]))
        assert_allclose(found[row, "MAE"]["p_best"], p)
        assert found[row, "MAE"]["best_n"] == len(values["A"])
        assert found[row, "MAE"]["tied"] == (p >= 0.05)
    assert [row for row in "ABCD" if found[row, "MAE"]["tied"]] == ["B"]


def test_differences_from_the_baseline_are_corrected_over_the_measures() -> None:
    pairs = [(list(of["A"].values()), list(of["D"].values())) for of in made().values()]
    tested = [ttest_rel(*pair).pvalue for pair in pairs]
    found = lines(made(), "D")
    assert_allclose([found["A", measure]["p"] for measure in made()], tested)
    assert_allclose([found["A", measure]["p_holm"] for measure in made()], stepped_down(tested))
    assert_allclose([found["A", measure]["p_wilcoxon"] for measure in made()], [wilcoxon(*p).pvalue for p in pairs])
    assert min(tested) < min(false_discovery_control(tested)) + 1e-12  # they were corrected at all
    assert math.isnan(found["D", "MAE"]["difference"])


def test_one_question_has_one_answer_where_the_baseline_is_the_best() -> None:
    found = lines(made(), "A")
    assert found["A", "MAE"]["best"]
    for row in "BCD":
        line = found[row, "MAE"]
        assert (line["p_best"], line["best_difference"]) == (line["p_holm"], line["difference"])


def test_only_common_seeds_are_paired() -> None:
    rows = {"A": {1: 1.0, 2: 1.1, 3: 1.2}, "B": {2: 1.5, 3: 1.4, 4: 9.0}}
    found = lines({"MAE": rows}, "A")["B", "MAE"]
    assert found["difference_n"] == 2
    assert found["difference"] == pytest.approx((0.4 + 0.2) / 2)


def test_rows_without_a_value_test_nothing() -> None:
    rows = {"nan": {1: math.nan, 2: 0.1}, "good": {1: 0.5, 2: 0.6}, "bad": {1: 0.7, 2: 0.9}}
    found = lines({"MAE": rows}, "good", rows=["none", *rows])
    assert list(found) == [(row, "MAE") for row in ("none", "nan", "good", "bad")]
    assert [found[row, "MAE"]["n"] for row in ("none", "nan")] == [0, 2]
    for row in ("none", "nan"):
        line = found[row, "MAE"]
        assert all(math.isnan(line[key]) for key in ("mean", "difference", "best_difference", "p_best"))
        assert not line["best"]
        assert not line["tied"]


def test_one_seed_has_a_best_and_nothing_that_is_tied() -> None:
    found = lines({"MAE": {"A": {1: 0.4}, "B": {1: 0.9}}})
    assert [(line["best"], line["tied"]) for line in found.values()] == [(True, False), (False, False)]


def test_each_data_set_and_split_is_compared_by_itself() -> None:
    parts = [frame_of(made()).assign(feature_set=data, split=split) for data in "xy" for split in ("val", "test")]
    parts[3]["value"] = -parts[3]["value"]
    found = compare(pd.concat(parts), "D")
    whole = compare(parts[0], "D")
    for (data, split), part in found.groupby(["feature_set", "split"], sort=False):
        if (data, split) != ("y", "test"):
            columns = [name for name in whole if name not in ("feature_set", "split")]
            pd.testing.assert_frame_equal(part[columns].reset_index(drop=True), whole[columns])
    assert found[(found["metric"] == "MAE") & found["best"]]["label"].tolist() == ["A", "A", "A", "D"]


def test_what_cannot_be_compared_is_named() -> None:
    with pytest.raises(ValueError, match="baseline 'X' is none of the labels A, B, C, D"):
        lines(made(), "X")
    twice = pd.concat([frame_of(made())] * 2)
    with pytest.raises(ValueError, match="two values of label A, metric MAE, seed 1"):
        compare(twice, within=())


@pytest.mark.parametrize(
    ("measure", "kind"),
    [
        ("MAE", Kind(share=False, lower=True)),
        ("MAE TA", Kind(share=False, lower=True)),
        ("mae", Kind(share=False, lower=True)),
        ("loss", Kind(share=False, lower=True)),
        ("acc2_non0", Kind(share=True, lower=False)),
        ("Corr", Kind(share=False, lower=False)),
        ("Acc-2 Non0 TAV", Kind(share=True, lower=False)),
        ("F1", Kind(share=True, lower=False)),
        ("synergy", Kind(share=False, lower=None)),
        ("Correct", Kind(share=False, lower=None)),
    ],
)
def test_what_a_measure_is_is_known_by_its_metric(measure: str, kind: Kind) -> None:
    assert kind_of(measure) == kind
