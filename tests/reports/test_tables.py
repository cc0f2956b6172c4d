"""Means and spreads against numpy, and what the files say of them."""

import csv
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import stats
from table_cases import ERRORS, LABELS, NAMES, ROWS, VALUES, compared, measured

from trivium.reports.blocks import p_text
from trivium.reports.collect import Bounds, Spread
from trivium.reports.definition import Row
from trivium.reports.markdown import markdown
from trivium.reports.parts import Part
from trivium.reports.plan import plan
from trivium.reports.table import BOUNDS, COLUMNS, DIFFERENCES, write_tables


def test_spread_is_numpys_mean_and_sample_deviation() -> None:
    found = measured()
    for r, row in enumerate(ROWS):
        for m, name in enumerate(NAMES):
            spread = found.spread(row, name)
            assert_allclose([spread.mean, spread.std], [VALUES[r, m].mean(), VALUES[r, m].std(ddof=1)], rtol=1e-14)
            assert spread.n == 3


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
    write_tables(tmp_path, [Part(measured(), [])], [])
    lines = read(tmp_path / "table.csv")
    assert tuple(lines[0]) == COLUMNS + BOUNDS
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
    text = markdown([Part(measured(), [])], [])  # no runs are planned, so n is in brackets
    assert "| A | 66.7 ± 20.8 [3] | 25.0 ± 5.0 [3] |" in text
    assert "| *chance* | 50.0 | 25.0 |" in text
    assert "| *Bayes-optimal* | 95.0 | 75.0 |" in text


def test_a_row_without_a_value_is_empty_and_not_zero(tmp_path: Path) -> None:
    write_tables(tmp_path, [Part(measured(missing=True), [])], [])
    line = read(tmp_path / "table.csv")[2]
    assert (line["row"], line["mean"], line["std"], line["n"], line["bayes"]) == ("B", "", "", "0", "0.95")
    assert "| B | - | - |" in (tmp_path / "table.md").read_text()


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_n_stands_in_brackets_only_where_seeds_are_missing(tmp_path: Path) -> None:
    rows = tuple(Row(label, ("data=fixture",)) for label in ROWS)
    runs = plan(replace(measured().table, rows=rows), 3, tmp_path)
    assert "| A | 66.7 ± 20.8 | 25.0 ± 5.0 |" in markdown([Part(measured(), runs)], [])
    text = markdown([Part(measured(missing=True), runs)], [])
    assert "| A | 66.7 ± 20.8 [3] | 25.0 ± 5.0 [3] |" in text
    assert "not run: A, seed 1, B, seed 1" in text


@pytest.mark.parametrize("name", ["table.csv", "values.csv", "table.md"])
def test_files_are_written_into_a_new_folder(tmp_path: Path, name: str) -> None:
    write_tables(tmp_path / "new" / "folder", [Part(measured(), [])], [])
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
    write_tables(tmp_path, [Part(compared(), [])], [])
    lines = {(line["row"], line["measure"]): line for line in read(tmp_path / "table.csv")}
    assert tuple(lines["Mix", LABELS[0]]) == COLUMNS + DIFFERENCES
    differences, p, corrected = by_hand()
    for m, label in enumerate(LABELS):
        line = {key: float(lines["Mix", label][key]) for key in (*DIFFERENCES, "n")}
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
    text = markdown([Part(compared(), [])], [])
    assert [line for line in text.splitlines() if line.startswith("#")] == [
        "# Robust",
        "## MAE (lower is better)",
        "## Corr (higher is better)",
    ]
    assert "| row | text | text+audio |" in text
    assert f"| GMC | {ERRORS[0, 0].mean():.3f} ± {ERRORS[0, 0].std(ddof=1):.3f} [5] |" in text
    assert "| minus GMC | text | text+audio |" in text
    cells = [
        f"{d.mean():+.3f} ± {d.std(ddof=1):.3f} ({f'{p:.3f}'[1:]}{'*' if p < 0.05 else ''})"
        for d, p in zip(differences, corrected, strict=True)
    ]
    assert f"| Mix | {cells[0]} | {cells[1]} |" in text
    assert f"| Mix | {cells[2]} |" in text
    assert {cell.endswith("*)") for cell in cells} == {True, False}  # else half of the star's cases is not seen
    assert "| Empty | - | - |" in text
    assert "chance" not in text
    assert "over the row's 3 measures" in text


def test_without_a_baseline_nothing_is_compared(tmp_path: Path) -> None:
    write_tables(tmp_path, [Part(compared(baseline=""), [])], [])
    assert tuple(read(tmp_path / "table.csv")[0]) == COLUMNS
    assert "minus" not in (tmp_path / "table.md").read_text().replace("a seed's value minus", "")


def test_a_value_that_is_not_defined_is_not_compared() -> None:
    """Corr of a constant prediction is NaN; to leave that seed out would favour the row."""
    found = compared()
    found.values["Mix"]["Corr text"][2] = math.nan  # type: ignore[index]
    assert found.difference("Mix", "Corr text") is None
    assert math.isnan(found.corrected("Mix")["Corr text"])
    _, p, _ = by_hand()
    assert found.corrected("Mix")["MAE text"] == pytest.approx(min(1, max(2 * min(p[:2]), p[0])))
    assert "| Mix | - |" in markdown([Part(found, [])], [])


@pytest.mark.parametrize(("p", "text"), [(0.0004, "<.001"), (0.0006, ".001"), (0.05, ".050"), (1.0, "1.000")])
def test_p_is_written_with_three_digits(p: float, text: str) -> None:
    assert p_text(p) == text
