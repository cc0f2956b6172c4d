"""What the page says of a board: the order of its rows, its sentences, and the data that its script draws."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from comparison_cases import Values, drawn, frame_of, made
from trivium.report.page.boards import Board, of_table
from trivium.report.page.standings import board_data, first_measure, standings, verdict
from trivium.results.table_folder import read_table_folder


def board(baseline: str = "", values: Values | None = None, **more: Any) -> Board:
    values = made() if values is None else values
    rows = list(dict.fromkeys(row for rows in values.values() for row in rows))
    return Board("made", frame_of(values), rows, list(values), baseline, **more)


def test_rows_are_ordered_by_what_is_better() -> None:
    assert [line["row"] for line in standings(board(), "MAE")] == ["A", "B", "C", "D"]
    means = {row: np.mean(list(seeds.values())) for row, seeds in made()["Corr"].items()}
    assert [line["row"] for line in standings(board(), "Corr")] == sorted(means, key=lambda row: -means[row])


def test_one_question_has_one_answer_where_the_baseline_is_the_best() -> None:
    rows = board_data(board("A"))["measures"][0]["rows"]
    assert [row["row"] for row in rows] == ["A", "B", "C", "D"]
    for best, baseline in (("best_difference", "difference"), ("best_low", "low"), ("p_best", "p_holm")):
        assert [row[best] for row in rows] == [row[baseline] for row in rows]
    told = said(board("A"))
    assert told.endswith("Not told apart from it by these seeds: B. Against A: worse: C, D; not told apart: B.")


def test_rows_without_a_value_are_last_and_test_nothing() -> None:
    rows = {"none": {}, "nan": {1: math.nan, 2: 0.1}, "good": {1: 0.5, 2: 0.6}, "bad": {1: 0.7, 2: 0.9}}
    data = board_data(board("good", {"MAE": rows}))["measures"][0]["rows"]
    assert [row["row"] for row in data] == ["good", "bad", "none", "nan"]
    assert [row["mean"] for row in data[2:]] == [None, None]  # NaN is no JSON
    assert all(row["best_difference"] is None and row["difference"] is None for row in data[2:])
    assert [row["values"] for row in data[2:]] == [[], [[1, None], [2, 0.1]]]


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
    assert first_measure(measures) == first


def said(board: Board, measure: str = "MAE") -> str:
    return " ".join(verdict(board, measure, standings(board, measure)))


def test_words_say_who_is_best_by_how_much_and_who_is_not_told_apart() -> None:
    told = said(board("C"))
    line = board("C").compared["A", "MAE"]
    difference, p = line["difference"], line["p_holm"]
    assert told.startswith(f"A has the lowest MAE: {line['mean']:.3f} ± {line['std']:.3f} (n = 5).")
    assert f"That is {-difference:.3f} below C, the baseline (p = {p:.3f}), more than seeds explain." in told
    assert told.endswith("Not told apart from it by these seeds: B. Against C: better: A, B; worse: D.")
    assert "It is the baseline." in said(board("A"))


def test_words_claim_nothing_that_was_not_tested() -> None:
    single = board("B", {"MAE": {"A": {1: 0.4}, "B": {1: 0.9}}})
    assert said(single).endswith("Not tested, as fewer than 3 seeds say too little about chance.")
    alike = board("B", {"MAE": {"A": {1: 0.25, 2: 0.5, 3: 0.75}, "B": {1: 0.5, 2: 0.75, 3: 1.0}}})
    assert "the baseline, by the same in every seed, which no test can judge." in said(alike)
    assert said(board("B", {"synergy": {"A": {1: 0.4}, "B": {1: 0.9}}}), "synergy") == ""
    assert said(board("", {"MAE": {"A": {}, "B": {}}})) == "No row has a value yet."
    assert said(board("", {"MAE": drawn({"A": 1.0, "B": 3.0})})).endswith(
        "Every other row is further away than seeds explain."
    )


def test_published_results_of_a_table_go_along_without_those_with_a_flaw(tmp_path: Path) -> None:
    head = "data,row,measure,metric,value,std,seeds,kind,selection,features,same_features,flaw,source,note"
    lines = ["d,A,MAE,mae,0.7,,,rerun,test,F,True,,S,", "d,A,MAE,mae,0.1,,,authors,,F,False,swapped,T,"]
    (tmp_path / "published.csv").write_text("\n".join([head, *lines]) + "\n")
    (tmp_path / "table.csv").write_text("data,row,measure,mean\nd,A,MAE,0.5\nd,B,MAE,0.6\n")
    (tmp_path / "values.csv").write_text("data,row,measure,seed,value\nd,A,MAE,1,0.5\nd,B,MAE,1,0.6\n")
    table = read_table_folder(tmp_path)
    assert table is not None
    first, second = board_data(of_table(table, "d"))["measures"][0]["rows"]
    assert first["cells"] == [{"value": 0.7, "kind": "rerun", "same": True, "on_test": True, "source": "S"}]
    assert second["cells"] == []


def test_what_a_table_says_of_margins_directions_and_clips_decides_on_the_page(tmp_path: Path) -> None:
    """The name tells nothing of the measure: that lower is better, and the margin, are in table.csv alone."""
    noise = (-0.002, 0.001, 0.0, 0.002, -0.001)
    of_a = {seed: 0.5 + 0.01 * seed for seed in range(1, 6)}
    of_b = {seed: value + n for (seed, value), n in zip(of_a.items(), noise, strict=True)}
    values = [f"{row},Own,{seed},{v}" for row, of in (("A", of_a), ("B", of_b)) for seed, v in of.items()]
    (tmp_path / "values.csv").write_text("\n".join(["row,measure,seed,value", *values]) + "\n")
    head = "row,measure,better,mean,difference,clips_low,clips_high,margin\n"
    (tmp_path / "table.csv").write_text(f"{head}A,Own,lower,0.53,,,,\nB,Own,lower,0.53,0.0,-0.1,0.2,0.05\n")
    table = read_table_folder(tmp_path)
    assert table is not None
    made_board = of_table(table, "")
    (measure,) = board_data(made_board)["measures"]
    of_row = {row["row"]: row for row in measure["rows"]}
    assert (measure["lower"], measure["margin"], of_row["B"]["verdict"]) == (True, 0.05, "same")
    assert (of_row["B"]["clips"], of_row["A"]["clips"], of_row["A"]["verdict"]) == ([-0.1, 0.2], [], "")
    assert of_row["B"]["told"] == {"best": False, "baseline": False}
    assert said(made_board, "Own").endswith("Against A: the same within 0.050: B.")


def test_shares_are_said_in_percent_and_published_numbers_go_along() -> None:
    rows = {"A": {1: 0.801, 2: 0.803}, "B": {1: 0.7, 2: 0.71}}
    shown = board("", {"F1": rows}, published={("A", "F1"): (0.85, False)})
    assert said(shown, "F1").startswith("A has the highest F1: 80.2 ± 0.1 % (n = 2).")
    assert [row["published"] for row in board_data(shown)["measures"][0]["rows"]] == [(0.85, False), None]
