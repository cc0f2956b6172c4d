"""What a table says of each row against the baseline: verdicts, margins, intervals over clips, and measures of runs."""

from __future__ import annotations

import csv
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from planned_cases import finish, write_table
from table_cases import LABELS, compared, compared_table, measured_of

from trivium.results.clip_intervals import over_clips
from trivium.results.records import read_record
from trivium.tables.collect import Measured, collect
from trivium.tables.definition import Row, Table, read_table
from trivium.tables.latex import latex
from trivium.tables.markdown import markdown
from trivium.tables.measures import Measure
from trivium.tables.plan import plan
from trivium.tables.write_files import DIFFERENCES, table_texts


def four() -> Measured:
    """MAE of five seeds: Worse by .3, Same by .001, Wide by .1 in the mean with a spread as large; and Corr of one."""
    base = dict(enumerate(np.random.default_rng(1).normal(0.9, 0.02, 5), start=1))
    noise = dict(enumerate([-0.004, 0.003, 0.0, 0.002, -0.001], start=1))
    shifts: dict[str, Any] = {
        "Base": dict.fromkeys(base, 0.0),
        "Worse": {s: 0.3 + noise[s] for s in base},
        "Same": {s: 0.001 + noise[s] for s in base},
        "Wide": {s: 0.1 + 60 * noise[s] for s in base},
    }
    rows = tuple(Row(label, ()) for label in shifts)
    table = Table("own", "T", (), 5, rows, (Measure("MAE", metric="mae"),), {}, "Base")
    return measured_of(table, {row: {"MAE": {s: base[s] + d for s, d in of.items()}} for row, of in shifts.items()})


def test_each_row_is_better_worse_the_same_or_not_told_within_the_printed_margin() -> None:
    text = markdown([four()], [])
    line = four().compared["Wide", "MAE"]
    assert "| against Base | MAE |\n| --- | --- |\n| *margin* | 0.020 |\n| Worse | worse (" in text
    assert "| Same | same (0.0" in text
    assert f"| Wide | not told ({line['smallest']:.3f}) |" in text
    assert "Against Base: better or worse, where the difference has a star" in text
    assert r"\emph{margin} & 0.020 \\" in latex([four()])


def test_a_margin_of_the_tables_own_decides_and_is_printed() -> None:
    wide = replace(four(), table=replace(four().table, margins={"mae": 0.5}))
    assert [wide.compared[row, "MAE"]["verdict"] for row in ("Worse", "Same", "Wide")] == ["worse", "same", "same"]
    narrow = replace(four(), table=replace(four().table, margins={"mae": 0.0005}))
    assert narrow.compared["Same", "MAE"]["verdict"] == "not told"
    assert "| *margin* | 0.001 |" in markdown([narrow], [])


def test_stars_ties_and_verdicts_follow_one_rule() -> None:
    for found in (four(), compared()):
        for (row, measure), line in found.compared.items():
            if line["verdict"]:
                assert (line["verdict"] in ("better", "worse")) == (line["p_holm"] < 0.05), (row, measure)
            if found.compared[found.table.baseline, measure]["best"] and line["verdict"]:
                assert line["tied"] == (line["verdict"] in ("same", "not told")), (row, measure)


def test_nothing_is_told_of_one_seed() -> None:
    found = measured_of(compared_table(), {row: {LABELS[0]: {1: v}} for row, v in (("GMC", 0.9), ("Mix", 0.8))})
    text = markdown([found], [])
    assert "against GMC" not in text
    assert "not told" not in text


def test_files_have_what_decides_a_verdict() -> None:
    texts = table_texts(None, [four()], [])
    lines = {line["row"]: line for line in csv.DictReader(texts["table.csv"].splitlines())}
    assert {lines["Base"][name] for name in DIFFERENCES} == {""}
    same = lines["Same"]
    assert (same["verdict"], same["margin"], same["better"]) == ("same", "0.02", "lower")
    assert float(same["p_same"]) < 0.05 < float(same["p_holm"])
    assert float(same["smallest"]) == four().compared["Same", "MAE"]["smallest"]


@pytest.mark.parametrize(
    ("margins", "expected"),
    [
        ({}, {"mae": 0.02, "acc7": 0.01, "f1": 0.01, "corr": None, "recall/happy": 0.01, "": 0.01}),
        ({"mae": 0.05, "acc": 0.03}, {"mae": 0.05, "acc7": 0.03, "acc2_non0": 0.03, "f1": 0.01}),
        ({"acc": 0.03, "acc7": 0.02, "corr": 0.1}, {"acc7": 0.02, "acc2_non0": 0.03, "corr": 0.1}),
    ],
)
def test_a_margin_is_the_metrics_own_its_familys_or_the_usual(
    tmp_path: Path, margins: dict[str, float], expected: dict[str, float | None]
) -> None:
    measures = [{"name": name, "metric": name} for name in ("mae", "acc7", "acc2_non0", "f1", "corr", "recall/happy")]
    measures.append({"name": "probe", "probe": "x", "of": "joint"})
    table = read_table(write_table(tmp_path, [{"label": "A"}], measures=measures, margins=margins))
    found = {measure.metric: table.margin(measure) for measure in table.measures}
    assert {metric: found[metric] for metric in expected} == expected


@pytest.mark.parametrize(
    ("margins", "message"),
    [
        ({"mea": 0.02}, r"margins: no key 'mea'; nearest is mae"),
        ({"acc": 0.02}, r"margins: no key 'acc'"),
        ({"mae": 0}, r"margins.mae: expected a number above 0"),
        ({"mae": "small"}, r"margins.mae: expected a number above 0.*found 'small'"),
        ([0.02], "margins: expected the keys mae, corr, found"),
    ],
)
def test_wrong_margins_are_named(tmp_path: Path, margins: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_table(write_table(tmp_path, [{"label": "A"}], margins=margins))


def of_runs(folder: Path, measures: list[dict[str, str]]) -> Measured:
    """Two rows of two seeds on the fixture, whose runs have predictions of six clips."""
    rows = [{"label": "A"}, {"label": "B", "overrides": ["optimizer.lr=0.5"]}]
    file = write_table(folder, rows, measures=measures, datasets=["fixture"], seeds=2, baseline="A")
    table = replace(read_table(file), overrides=("data=fixture",))
    runs = plan(table, 2, folder / "runs")
    for run in runs:
        finish(run, val={"loss": 1.0, "mae": 0.5 + 0.1 * run.seed})
        offset = 0.5 if run.row.label == "B" else 0.25
        lines = [f"{split},{c},{c / 2},{c / 2 + offset}" for split in ("valid", "test") for c in range(6)]
        (run.directory.path / "predictions.csv").write_text("\n".join(["split,id,target,prediction", *lines]) + "\n")
    return collect(runs[0].table, runs)


def test_validation_and_the_mean_error_are_measures_like_others(tmp_path: Path) -> None:
    """The mean error is in no result.json: it comes from the predictions."""
    names = {"MAE": "mae", "Validation MAE": "val/mae", "Mean error": "bias", "Validation error": "val/bias"}
    found = of_runs(tmp_path, [{"name": name, "metric": metric} for name, metric in names.items()])
    assert found.compared["A", "Validation MAE"]["mean"] == pytest.approx(0.65)
    assert found.compared["B", "Mean error"]["mean"] == pytest.approx(0.5)
    assert found.compared["B", "Validation error"]["mean"] == pytest.approx(0.5)
    assert found.compared["B", "Mean error"]["best"] is False
    text = markdown([found], [])
    assert "| row | MAE ↓ | Validation MAE ↓ | Mean error | Validation error |" in text
    assert "Validation MAE, Validation error: of the validation split, which chose the epoch, so it flatters." in text
    assert "Mean error: of prediction minus target" in text


def test_the_interval_over_clips_is_that_of_the_runs_predictions(tmp_path: Path) -> None:
    found = of_runs(tmp_path, [{"name": "Mean error", "metric": "bias"}, {"name": "Corr", "metric": "corr"}])
    # Every clip of every seed is further off by .25, so that no resample differs.
    assert found.clips["B", "Mean error"] == pytest.approx((0.25, 0.25, 0.0), abs=1e-9)
    text = markdown([found], [])
    assert "| minus A, over seeds and clips | Mean error | Corr ↑ |\n| --- | --- | --- |\n| B | +0.250 to" in text
    assert "+0.250 to +0.250 (0.000) |" in text
    assert "the smallest difference that so many seeds and clips tell from 0" in text
    runs = {label: [r for r in found.runs if r.row.label == label] for label in "AB"}
    records = {label: {run.seed: read_record(run.directory.path) for run in of} for label, of in runs.items()}
    file = runs["B"][0].directory.path / "predictions.csv"
    file.write_text(file.read_text().replace("test,5,", "test,six,"))
    changed = {run.seed: read_record(run.directory.path) for run in runs["B"]}
    assert all(map(math.isnan, over_clips(changed, records["A"], "test", "bias")))
    file.unlink()
    gone = {run.seed: read_record(run.directory.path) for run in runs["B"]}
    assert all(map(math.isnan, over_clips(gone, records["A"], "test", "bias")))


def test_a_metric_that_no_run_has_is_named_with_its_split(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"result.json: no val metric 'acc3'; there are loss, mae"):
        of_runs(tmp_path, [{"name": "Acc-3", "metric": "val/acc3"}])
