"""Which row is best and whether that is more than chance, against scipy."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.stats import false_discovery_control, ttest_rel

from trivium.reports.page.standings import (
    Board,
    Kind,
    Published,
    Standing,
    board_data,
    first_measure,
    kind_of,
    standings,
    verdict,
)

SEEDS = range(1, 6)
MEANS = {"A": 1.00, "B": 1.02, "C": 1.30, "D": 1.60}


def drawn(means: Mapping[str, float], seed: int = 0) -> dict[str, dict[int, float]]:
    rng = np.random.default_rng(seed)
    return {row: dict(zip(SEEDS, mean + rng.normal(0, 0.05, len(SEEDS)), strict=True)) for row, mean in means.items()}


def board(baseline: str = "") -> Board:
    flat = {row: 0.5 for row in MEANS}
    return Board("made", {"MAE": drawn(MEANS), "Corr": drawn(flat, 1), "Acc-2 Non0 T": drawn(flat, 2)}, baseline)


def stepped_down(p_values: Sequence[float]) -> list[float]:
    """Holm, from its definition: the k-th smallest of m times m - k + 1, never below the one before."""
    order = sorted(range(len(p_values)), key=lambda k: p_values[k])
    found, last = [0.0] * len(p_values), 0.0
    for rank, k in enumerate(order):
        last = found[k] = max(last, min(1.0, p_values[k] * (len(p_values) - rank)))
    return found


def by_row(found: Sequence[Standing]) -> dict[str, Standing]:
    return {one.row: one for one in found}


def test_rows_are_ordered_by_what_is_better() -> None:
    made = board()
    assert [one.row for one in standings(made, "MAE")] == ["A", "B", "C", "D"]
    means = {row: np.mean(list(seeds.values())) for row, seeds in made.values["Corr"].items()}
    assert [one.row for one in standings(made, "Corr")] == sorted(means, key=lambda row: -means[row])


def test_differences_from_the_best_are_paired_and_corrected_over_the_rows() -> None:
    made = board()
    values = {row: list(seeds.values()) for row, seeds in made.values["MAE"].items()}
    expected = stepped_down([ttest_rel(values[row], values["A"]).pvalue for row in "BCD"])
    found = by_row(standings(made, "MAE"))
    assert found["A"].to_best is None
    for row, p in zip("BCD", expected, strict=True):
        difference, corrected = found[row].to_best or pytest.fail("no difference")
        assert_allclose(difference.mean, np.mean(values[row]) - np.mean(values["A"]))
        assert_allclose(corrected, p)


def test_differences_from_the_baseline_are_corrected_over_the_measures() -> None:
    made = board("D")
    tested = [ttest_rel(list(of["A"].values()), list(of["D"].values())).pvalue for of in made.values.values()]
    found = [by_row(standings(made, measure))["A"].to_baseline or pytest.fail("none") for measure in made.values]
    assert_allclose([p for _, p in found], stepped_down(tested))
    assert min(tested) < min(false_discovery_control(tested)) + 1e-12  # they were corrected at all
    assert by_row(standings(made, "MAE"))["D"].to_baseline is None


def test_one_question_has_one_answer_where_the_baseline_is_the_best() -> None:
    made = board("A")
    found = standings(made, "MAE")
    assert found[0].row == "A"
    assert [one.to_best for one in found] == [one.to_baseline for one in found]
    near = [one.row for one in found[1:] if one.to_baseline and one.to_baseline[1] >= 0.05]
    assert near == ["B"]
    assert said(made).endswith("Not told apart from it by these seeds: B.")


def test_only_common_seeds_are_paired() -> None:
    rows = {"A": {1: 1.0, 2: 1.1, 3: 1.2}, "B": {2: 1.5, 3: 1.4, 4: 9.0}}
    difference, _ = by_row(standings(Board("x", {"MAE": rows}), "MAE"))["B"].to_best or pytest.fail("none")
    assert difference.n == 2
    assert difference.mean == pytest.approx((0.4 + 0.2) / 2)


def test_rows_without_a_value_are_last_and_test_nothing() -> None:
    rows = {"none": {}, "nan": {1: math.nan, 2: 0.1}, "good": {1: 0.5, 2: 0.6}, "bad": {1: 0.7, 2: 0.9}}
    made = Board("x", {"MAE": rows}, "good")
    found = standings(made, "MAE")
    assert [one.row for one in found] == ["good", "bad", "none", "nan"]
    assert all(one.to_best is None and one.to_baseline is None for one in found[2:])
    data = board_data(made)["measures"][0]["rows"]
    assert [row["mean"] for row in data[2:]] == [None, None]  # NaN is no JSON


@pytest.mark.parametrize(
    ("measure", "kind"),
    [
        ("MAE", Kind(share=False, lower=True)),
        ("MAE TA", Kind(share=False, lower=True)),
        ("Corr", Kind(share=False, lower=False)),
        ("Acc-2 Non0 TAV", Kind(share=True, lower=False)),
        ("F1", Kind(share=True, lower=False)),
        ("synergy", Kind(share=False, lower=None)),
        ("Correct", Kind(share=False, lower=None)),
    ],
)
def test_what_a_measure_is_is_known_by_its_metric(measure: str, kind: Kind) -> None:
    assert kind_of(measure) == kind


@pytest.mark.parametrize(
    ("measures", "first"),
    [
        (["MAE", "Corr"], "MAE"),
        (["MAE", "MAE text"], "MAE"),
        (["MAE T", "MAE A", "MAE TA", "Acc-2 Non0 TAV"], "MAE TA"),
        (["redundant", "synergy"], "redundant"),
    ],
)
def test_the_first_measure_is_of_all_modalities(measures: list[str], first: str) -> None:
    assert first_measure(Board("x", {measure: {} for measure in measures})) == first


def said(made: Board, measure: str = "MAE") -> str:
    return " ".join(verdict(made, measure, standings(made, measure)))


def test_words_say_who_is_best_by_how_much_and_who_is_not_told_apart() -> None:
    told = said(board("C"))
    found = by_row(standings(board("C"), "MAE"))
    difference, p = found["A"].to_baseline or pytest.fail("none")
    assert told.startswith(f"A has the lowest MAE: {found['A'].spread.mean:.3f} ± {found['A'].spread.std:.3f} (n = 5).")
    assert f"That is {-difference.mean:.3f} below C, the baseline (p = {p:.3f}), more than seeds explain." in told
    assert told.endswith("Not told apart from it by these seeds: B.")
    assert "It is the baseline." in said(board("A"))


def test_words_claim_nothing_that_was_not_tested() -> None:
    single = Board("x", {"MAE": {"A": {1: 0.4}, "B": {1: 0.9}}}, "B")
    assert "too few seeds for a test" in said(single)
    assert "One seed each" in said(single)
    assert said(Board("x", {"synergy": {"A": {1: 0.4}, "B": {1: 0.9}}}), "synergy") == ""
    assert said(Board("x", {"MAE": {"A": {}, "B": {}}})) == "No row has a value yet."
    apart = Board("x", {"MAE": drawn({"A": 1.0, "B": 3.0})})
    assert said(apart).endswith("Every other row is further away than seeds explain.")


def test_shares_are_said_in_percent_and_published_numbers_go_along() -> None:
    rows = {"A": {1: 0.801, 2: 0.803}, "B": {1: 0.7, 2: 0.71}}
    made = Board("x", {"F1": rows}, published={"F1": {"A": Published(0.85, same=False)}})
    assert said(made, "F1").startswith("A has the highest F1: 80.2 ± 0.1 % (n = 2).")
    assert [row["published"] for row in board_data(made)["measures"][0]["rows"]] == [[0.85, False], None]
