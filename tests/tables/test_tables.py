"""Means and spreads against numpy, and what the files say of them."""

import csv
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from markdown_it import MarkdownIt
from numpy.testing import assert_allclose
from planned_cases import finish
from scipy import stats
from table_cases import (
    ERRORS,
    LABELS,
    NAMES,
    ROWS,
    VALUES,
    compared,
    compared_table,
    compared_values,
    measured,
    measured_of,
)

from trivium.results.score_text import p_text
from trivium.results.spread import Spread
from trivium.tables.collect import Bounds, Measured, collect
from trivium.tables.definition import Row
from trivium.tables.legend import legend
from trivium.tables.markdown import markdown
from trivium.tables.measures import Measure
from trivium.tables.plan import plan
from trivium.tables.write_files import COLUMNS, DIFFERENCES, table_texts, write_tables


def test_spread_is_numpys_mean_and_sample_deviation() -> None:
    found = measured()
    for r, row in enumerate(ROWS):
        for m, name in enumerate(NAMES):
            line = found.compared[row, name]
            assert_allclose([line["mean"], line["std"]], [VALUES[r, m].mean(), VALUES[r, m].std(ddof=1)], rtol=1e-14)
            assert line["n"] == 3


def test_a_bar_over_two_measures_spreads_over_the_runs_means() -> None:
    """Not over all six values: measures of one run are no samples of each other."""
    bar, of_runs = measured().bar("A", "both"), VALUES[0].mean(axis=0)
    assert_allclose([bar.mean, bar.std], [of_runs.mean(), of_runs.std(ddof=1)], rtol=1e-14)
    assert bar.n == 3
    bounds = measured().bar_bounds("both")
    assert isinstance(bounds, Bounds)
    assert_allclose([bounds.chance, bounds.bayes], [0.375, 0.85], rtol=1e-14)


def test_one_value_has_no_deviation_and_none_no_mean() -> None:
    one, none = Spread.of([0.3]), Spread.of([])
    assert (one.mean, one.n, none.n) == (0.3, 1, 0)
    assert math.isnan(one.std)
    assert math.isnan(none.mean)


def test_files_hold_every_number(tmp_path: Path) -> None:
    write_tables(tmp_path, [measured()], [])
    lines = read(tmp_path / "table.csv")
    assert tuple(lines[0]) == (*COLUMNS, "chance", "bayes")
    assert [(line["row"], line["measure"]) for line in lines] == [(r, m) for r in ROWS for m in NAMES]
    numbers = np.array([[float(line["mean"]), float(line["std"])] for line in lines])
    expected = np.stack([VALUES.mean(axis=2), VALUES.std(axis=2, ddof=1)], axis=-1).reshape(4, 2)
    assert_allclose(numbers, expected, rtol=1e-14)
    assert [(line["n"], line["chance"], line["bayes"]) for line in lines[:2]] == [
        ("3", "0.5", "0.95"),
        ("3", "0.25", "0.75"),
    ]
    values = np.array([float(line["value"]) for line in read(tmp_path / "values.csv")])
    assert_allclose(values, VALUES.ravel(), rtol=0)


def test_the_readable_table_says_the_same_in_percent() -> None:
    text = markdown([measured()], [])  # no runs are planned, so n is in brackets
    assert "| A | 66.7 ± 20.8 [3] ≈ | 25.0 ± 5.0 [3] ≈ |" in text
    assert "| *chance* | 50.0 | 25.0 |" in text
    assert "| *Bayes-optimal* | 95.0 | 75.0 |" in text


def test_a_row_without_a_value_is_empty_and_not_zero(tmp_path: Path) -> None:
    write_tables(tmp_path, [measured(missing=True)], [])
    line = read(tmp_path / "table.csv")[2]
    assert (line["row"], line["mean"], line["std"], line["n"], line["bayes"]) == ("B", "", "", "0", "0.95")
    assert "| B | - | - |" in (tmp_path / "table.md").read_text()


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_n_stands_in_brackets_only_where_seeds_are_missing(tmp_path: Path) -> None:
    rows = tuple(Row(label, ("data=fixture",)) for label in ROWS)
    runs = plan(replace(measured().table, rows=rows), 3, tmp_path)
    assert "| A | 66.7 ± 20.8 ≈ | 25.0 ± 5.0 ≈ |" in markdown([replace(measured(), runs=runs)], [])
    text = markdown([replace(measured(missing=True), runs=runs)], [])
    assert "| A | 66.7 ± 20.8 [3] | 25.0 ± 5.0 [3] |" in text
    assert "- not run: A, seeds 1, 2, 3\n- not run: B, seeds 1, 2, 3\n" in text


def test_of_one_seed_nothing_is_said_of_spread_or_tests() -> None:
    told = " ".join(legend([compared()], 1, True))
    assert "Test split, one seed." in told
    assert "Differences: a run's value minus GMC's of the same seed." in told
    assert not any(word in told for word in ("deviation", "interval", "Holm"))
    assert "corrected (Holm) over the row's 3 measures" in " ".join(legend([compared()], 5, True))


@pytest.mark.parametrize("name", ["table.csv", "values.csv", "table.md"])
def test_files_are_written_into_a_new_folder(tmp_path: Path, name: str) -> None:
    write_tables(tmp_path / "new" / "folder", [measured()], [])
    assert (tmp_path / "new" / "folder" / name).read_text().endswith("\n")


def by_hand() -> tuple[list[np.ndarray], list[float], list[float]]:
    """Mix minus GMC over the seeds that both have, p of scipy, and p times how many are left in order of size."""
    seeds = [slice(0, 4), slice(0, 5), slice(0, 5)]
    differences = [ERRORS[1, m, s] - ERRORS[0, m, s] for m, s in enumerate(seeds)]
    p = [float(stats.ttest_1samp(d, 0).pvalue) for d in differences]
    corrected, most = [0.0] * 3, 0.0
    for k, m in enumerate(np.argsort(p)):
        most = corrected[m] = min(1.0, max(most, p[m] * (3 - k)))
    return differences, p, corrected


def test_differences_pair_the_seeds_that_both_rows_have(tmp_path: Path) -> None:
    write_tables(tmp_path, [compared()], [])
    lines = {(line["row"], line["measure"]): line for line in read(tmp_path / "table.csv")}
    assert tuple(lines["Mix", LABELS[0]]) == COLUMNS + DIFFERENCES
    differences, p, corrected = by_hand()
    for m, label in enumerate(LABELS):
        line = {key: float(lines["Mix", label][key]) for key in (*DIFFERENCES[:8], "n")}
        assert line["n"] == line["difference_n"] == len(differences[m])
        found = [line[key] for key in ("difference", "difference_std", "p", "p_holm")]
        expected = [differences[m].mean(), differences[m].std(ddof=1), p[m], corrected[m]]
        assert_allclose(found, expected, rtol=1e-9)
        assert line["low"] < line["difference"] < line["high"]
    assert corrected != p
    for row in ("GMC", "Empty"):
        assert {lines[row, label][key] for label in LABELS for key in DIFFERENCES} == {""}


def test_page_has_a_table_a_unit_and_one_of_differences() -> None:
    differences, _, corrected = by_hand()
    text = markdown([compared()], [])
    assert [line for line in text.splitlines() if line.startswith("#")] == [
        "# Robust",
        "## MAE (lower is better)",
        "## Corr (higher is better)",
    ]
    assert "| row | text | text+audio |" in text
    assert f"| GMC | {ERRORS[0, 0].mean():.3f} ± {ERRORS[0, 0].std(ddof=1):.3f} [5]" in text
    assert "| minus GMC | text | text+audio |" in text
    cells = [
        f"{d.mean():+.3f} ± {d.std(ddof=1):.3f} ({f'{p:.3f}'[1:]}{'*' if p < 0.05 else ''}) [{len(d)}]"
        for d, p in zip(differences, corrected, strict=True)
    ]
    assert f"| Mix | {cells[0]} | {cells[1]} |" in text
    assert f"| Mix | {cells[2]} |" in text
    assert {"*)" in cell for cell in cells} == {True, False}  # else half of the star's cases is not seen
    assert "| Empty | - | - |" in text
    assert "chance" not in text
    assert "over the row's 3 measures" in text


def test_the_best_is_bold_and_what_cannot_be_told_apart_from_it_is_marked(tmp_path: Path) -> None:
    """MAE of text is lower for Mix than for GMC in all four common seeds; Corr is not told apart."""
    text = markdown([compared()], [])
    best, tied = ERRORS[1, 0, :4], ERRORS[0, 2]
    assert f"| Mix | **{best.mean():.3f} ± {best.std(ddof=1):.3f}** [4] |" in text
    assert f"| GMC | {ERRORS[0, 0].mean():.3f} ± {ERRORS[0, 0].std(ddof=1):.3f} [5] |" in text
    assert f"| GMC | {tied.mean():.3f} ± {tied.std(ddof=1):.3f} [5] ≈ |" in text
    assert "Bold: the best; ≈: not told apart from it" in " ".join(legend([compared()], 5, True))
    write_tables(tmp_path, [compared("")], [])
    lines = {(line["row"], line["measure"]): line for line in read(tmp_path / "table.csv")}
    difference = ERRORS[0, 0, :4] - ERRORS[1, 0, :4]  # of one other row, so that nothing is corrected
    assert float(lines["GMC", LABELS[0]]["p_best"]) == pytest.approx(stats.ttest_1samp(difference, 0).pvalue)
    assert lines["Mix", LABELS[0]]["p_best"] == ""


def test_without_a_baseline_nothing_is_compared(tmp_path: Path) -> None:
    write_tables(tmp_path, [compared(baseline="")], [])
    assert tuple(read(tmp_path / "table.csv")[0]) == COLUMNS
    assert "minus" not in (tmp_path / "table.md").read_text()


def test_a_value_that_is_not_defined_is_not_compared() -> None:
    """Corr of a constant prediction is NaN; to leave that seed out would favour the row."""
    values = compared_values()
    values["Mix"]["Corr text"][2] = math.nan
    found = measured_of(compared_table(), values)
    assert math.isnan(found.compared["Mix", "Corr text"]["difference"])
    assert math.isnan(found.compared["Mix", "Corr text"]["p_holm"])
    _, p, _ = by_hand()
    assert found.compared["Mix", "MAE text"]["p_holm"] == pytest.approx(min(1, max(2 * min(p[:2]), p[0])))
    text = markdown([found], [])
    assert "| Mix | undefined |" in text
    assert "undefined: in one of the runs at least" in text
    assert "undefined" not in markdown([compared()], [])


def test_a_metric_that_a_run_could_not_define_is_null_in_its_result_and_nan_here(tmp_path: Path) -> None:
    """JSON has no NaN."""
    rows = (Row("A", ("data=fixture",)), Row("B", ("data=fixture", "seed=1", "optimizer.lr=0.5")))
    measures = (Measure("MAE", metric="mae"), Measure("Corr", metric="corr"))
    runs = plan(replace(measured().table, rows=rows, measures=measures, bars={}), 2, tmp_path)
    for run in runs:
        finish(run, test={"corr": None if run.seed == 2 and run.row.label == "A" else 0.5})
    found = collect(runs[0].table, runs)
    assert math.isnan(found.compared["A", "Corr"]["mean"])
    assert (found.compared["B", "Corr"]["mean"], found.compared["A", "MAE"]["n"]) == (0.5, 2)
    assert math.isnan(found.compared["A", "Corr"]["mean_low"])


def test_what_a_row_takes_and_where_it_lies_is_of_its_own_runs(tmp_path: Path) -> None:
    rows = tuple(Row(label, ("data=fixture", f"optimizer.lr={rate}")) for label, rate in (("A", 0.1), ("B", 0.2)))
    runs = plan(replace(measured().table, rows=rows, measures=(Measure("MAE", metric="mae"),), bars={}), 2, tmp_path)
    for run in runs[:3]:
        finish(run, seconds=10.0 * run.seed, parameters=7 if run.row.label == "A" else 9, trained_parameters=5)
    found = collect(runs[0].table, runs)
    rule = "lowest val/loss"  # of results of version 0.1.0, which do not say it
    costs = {row: tuple(found.costs.loc[row]) for row in found.costs.index}
    assert costs == {"A": (7, 5, 15.0, rule), "B": (9, 5, 10.0, rule)}
    assert found.frame.loc[found.frame["label"] == "A", "path"].tolist() == [
        str(run.directory.path) for run in (runs[0], runs[2])
    ]
    assert found.train_mean == 1.4


def costly() -> Measured:
    """MAE and an accuracy of two rows, whose runs and their sizes are known."""
    measures = (Measure("MAE", metric="mae"), Measure("Acc-2", metric="acc2"))
    table = replace(measured().table, measures=measures, bars={})
    values = {row: {"MAE": {1: 1.0, 2: 1.5}, "Acc-2": {1: 0.5, 2: 0.75}} for row in ROWS}
    facts = {"A": {"parameters": 12345, "trained_parameters": 1345}, "B": {"seconds": 100.0}}
    found = measured_of(table, values, facts=facts, train_mean_mae=1.25, selected_by="lowest val/loss")
    of_a = found.frame["label"] == "A"
    found.frame.loc[of_a, "seconds"] = found.frame.loc[of_a, "seed"].map({1: 3.0, 2: 5.0}).astype(float)
    found.frame.loc[of_a, "path"] = found.frame.loc[of_a, "seed"].map({1: "/t/runs/a1", 2: "/runs/a2"})
    return found


def test_measures_of_several_units_share_a_table_that_says_what_is_better() -> None:
    text = markdown([costly()], [])
    assert (
        "| row | MAE ↓ | Acc-2, % ↑ |\n| --- | --- | --- |\n| *train mean* | 1.250 | - |\n| A | **1.250 ± 0.354" in text
    )
    assert [line for line in text.splitlines() if line.startswith("#")] == ["# A title", "## Size, time and selection"]


def test_many_measures_have_a_table_for_each_unit() -> None:
    found = costly()
    measures = (*found.table.measures, *(Measure(f"Acc-2 {k}", metric="acc2") for k in range(9)))
    values = {row: {m.name: {1: 0.5} for m in measures} for row in ROWS}
    text = markdown([measured_of(replace(found.table, measures=measures), values)], [])
    assert "## MAE (lower is better)" in text
    assert "## % (higher is better)" in text


def test_sizes_times_and_the_train_mean_are_told(tmp_path: Path) -> None:
    write_tables(tmp_path, [costly()], [])
    text = (tmp_path / "table.md").read_text()
    assert (
        "| row | parameters | training a run, s | epoch tested |\n| --- | --- | --- | --- |\n"
        "| A | 12,345, 1,345 trained | 4.0 | lowest val/loss |\n| B | - | 100 | lowest val/loss |"
    ) in text
    assert "train mean: MAE of predicting it for every clip." in text
    assert r"\emph{train mean} & 1.250 & -- \\" in (tmp_path / "table.tex").read_text()
    lines = read(tmp_path / "table.csv")
    sizes = [(line["parameters"], line["trained_parameters"], line["seconds"]) for line in lines]
    assert sizes == [("12345", "1345", "4.0")] * 2 + [("", "", "100.0")] * 2
    assert [line["train_mean"] for line in lines] == ["1.25", "", "1.25", ""]


def test_what_is_frozen_is_told_only_where_something_is() -> None:
    facts = {"A": {"trained_parameters": 12345}}
    values = {row: {"MAE": {1: 1.0}, "Acc-2": {1: 0.5}} for row in ROWS}
    whole = measured_of(costly().table, values, facts=facts, parameters=12345, seconds=3.0, selected_by="last epoch")
    assert markdown([whole], []).count("| 12,345 | 3.0 | last epoch |") == 2


def test_values_say_where_their_run_lies_from_the_tables_folder() -> None:
    texts = table_texts(Path("/t"), [costly()], [])
    lines = list(csv.DictReader(texts["values.csv"].splitlines()))
    assert [(line["row"], line["seed"], line["run"]) for line in lines[:2]] == [
        ("A", "1", "runs/a1"),
        ("A", "2", "../runs/a2"),
    ]
    assert lines[-1]["run"] == ""


def test_the_page_is_markdown_whose_tables_have_the_cells_that_were_meant() -> None:
    """By another's parser; labels with signs that Markdown gives a meaning."""
    table = compared_table()
    labels = {"GMC": "GMC | a", "Mix": "*Mix* `x`", "Empty": "Empty"}
    rows = tuple(replace(row, label=labels[row.label]) for row in table.rows)
    values = {labels[row]: measures for row, measures in compared_values().items()}
    own = measured_of(replace(table, rows=rows, baseline="GMC | a"), values)
    tables = parsed(markdown([own], []))
    assert [len(table) for table in tables] == [
        4,
        3,
        3,
        3,
    ] * 2  # means, intervals, differences and verdicts of MAE, then of Corr
    assert {len(row) for table in tables[:3] for row in table} == {3}
    assert tables[0][0] == ["row", "text", "text+audio"]
    assert [row[0] for row in tables[0][1:]] == ["GMC | a", "Mix x", "Empty"]
    assert tables[2][0][0] == "minus GMC | a"
    assert tables[0][1][2] == f"{ERRORS[0, 1].mean():.3f} ± {ERRORS[0, 1].std(ddof=1):.3f} [5]"  # bold, by its tag


def parsed(text: str) -> list[list[list[str]]]:
    """Each table's rows of cells, without their marks."""
    tables: list[list[list[str]]] = []
    for before, token in zip([None, *(tokens := MarkdownIt().enable("table").parse(text))], tokens, strict=False):
        if token.type == "table_open":
            tables.append([])
        elif token.type == "tr_open":
            tables[-1].append([])
        elif token.type == "inline" and before is not None and before.type in ("td_open", "th_open"):
            tables[-1][-1].append("".join(child.content for child in token.children or []))
    return tables


@pytest.mark.parametrize(("p", "text"), [(0.0004, "<.001"), (0.0006, ".001"), (0.05, ".050"), (1.0, "1.000")])
def test_p_is_written_with_three_digits(p: float, text: str) -> None:
    assert p_text(p) == text
