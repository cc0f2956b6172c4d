"""Every two rows of a table other than its baseline: what is said of them, against tests computed here with scipy."""

from __future__ import annotations

import csv
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from scipy import stats
from table_cases import measured_of

from trivium.tables.collect import Measured
from trivium.tables.definition import Row, Table
from trivium.tables.latex import latex
from trivium.tables.markdown import markdown
from trivium.tables.measures import Measure
from trivium.tables.write_files import table_texts

SEEDS = range(1, 6)
# Offsets by seed from the baseline's, in MAE.
OFFSETS = {
    "Good": [-0.30, -0.31, -0.29, -0.30, -0.32],
    "Twin": [-0.301, -0.309, -0.291, -0.301, -0.319],
    "Bad": [0.2, 0.23, 0.18, 0.2, 0.21],
    "Wild": [0.9, -0.8, 0.3, -0.2, 0.5],
}


def five(baseline: str = "Base") -> Measured:
    rows = tuple(Row(label, ()) for label in ("Base", *OFFSETS))
    table = Table("own", "T", (), 5, rows, (Measure("MAE", metric="mae"), Measure("Corr", metric="corr")), {}, baseline)
    base = dict(zip(SEEDS, [0.9, 0.92, 0.88, 0.91, 0.9], strict=True))
    values = {label: dict(zip(SEEDS, np.add(list(base.values()), of), strict=True)) for label, of in OFFSETS.items()}
    values["Base"] = base
    return measured_of(
        table, {label: {"MAE": of, "Corr": {s: 1 - v for s, v in of.items()}} for label, of in values.items()}
    )


def lines_of(measured: Measured) -> list[dict[str, str]]:
    return list(csv.DictReader(table_texts(None, [measured], [])["pairs.csv"].splitlines()))


def test_p_is_that_of_scipy_corrected_over_the_pairs_of_a_measure() -> None:
    pairs = list(combinations(OFFSETS, 2))
    p_values = np.array([stats.ttest_rel(OFFSETS[a], OFFSETS[b]).pvalue for a, b in pairs])
    order = np.argsort(p_values)
    holm = np.empty(len(pairs))
    holm[order] = np.minimum(1, np.maximum.accumulate(p_values[order] * np.arange(len(pairs), 0, -1)))
    lines = [line for line in lines_of(five()) if line["measure"] == "MAE"]
    assert [(line["row"], line["other"]) for line in lines] == pairs
    assert [float(line["p"]) for line in lines] == pytest.approx(p_values)
    assert [float(line["p_holm"]) for line in lines] == pytest.approx(holm)
    assert [float(line["difference"]) for line in lines] == pytest.approx(
        [np.mean(OFFSETS[a]) - np.mean(OFFSETS[b]) for a, b in pairs]
    )


def test_the_square_reads_row_against_column_and_is_mirrored() -> None:
    text = markdown([five()], [])
    assert "| against each other, MAE | 1 | 2 | 3 | 4 |" in text
    for line in ("| 1 Good |  | = | ▲ | ? |", "| 2 Twin | = |  | ▲ | ? |", "| 3 Bad | ▼ | ▼ |  | ? |"):
        assert line in text
    assert "Against each other: verdicts on a line's row" in text
    assert r"3 Bad & $\nabla$ & $\nabla$ &  & ? \\" in latex([five()])


def test_other_measures_are_in_the_file_with_their_own_direction() -> None:
    verdicts = {(line["row"], line["other"], line["measure"]): line["verdict"] for line in lines_of(five())}
    assert verdicts["Good", "Bad", "Corr"] == verdicts["Good", "Bad", "MAE"] == "better"
    # Corr has no margin, so that nothing is the same in it.
    assert (verdicts["Good", "Twin", "MAE"], verdicts["Good", "Twin", "Corr"]) == ("same", "not told")


def test_pairs_with_the_baseline_are_in_the_other_block_alone() -> None:
    assert not [line for line in lines_of(five()) if "Base" in (line["row"], line["other"])]
    without = five("")
    assert len([line for line in lines_of(without) if "Base" in (line["row"], line["other"])]) == 8
    wide = replace(five(), table=replace(five().table, margins={"mae": 2.0}))
    assert "| 4 Wild | = | = | = |  |" in markdown([wide], [])


def test_one_row_or_one_seed_has_no_pairs() -> None:
    table = five().table
    frame = five().frame
    alone = replace(
        five(), table=replace(table, rows=table.rows[:2]), frame=frame[frame["label"].isin(["Base", "Good"])]
    )
    assert "pairs.csv" not in table_texts(None, [alone], [])
    once = replace(five(), frame=frame[frame["seed"] == 1])
    assert "pairs.csv" not in table_texts(None, [once], [])
    assert "against each other" not in markdown([once], [])
