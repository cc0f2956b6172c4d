"""audit=true: what test's own choice of epochs would have given stands apart, and runs without it are trained again."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from planned_cases import finish

from trivium.tables.audit import audit_of, spreads
from trivium.tables.collect import collect
from trivium.tables.definition import Row, Table
from trivium.tables.estimate import Estimate
from trivium.tables.finished import FinishedRuns
from trivium.tables.latex import latex
from trivium.tables.markdown import markdown
from trivium.tables.measures import Measure
from trivium.tables.overview import overview
from trivium.tables.plan import Planned, plan
from trivium.tables.write_files import write_tables

MEASURES = (Measure("MAE", metric="mae"), Measure("Acc-7", metric="acc7"), Measure("MAE text", "mae", subset="text"))
OVERRIDES = ("data=fixture", "trainer.max_epochs=4")
TABLE = Table(
    "own", "T", OVERRIDES, 2, (Row("A", ()),), MEASURES[:2], {m.name: (m.name,) for m in MEASURES}, audit=True
)
# (seed, epoch, metric): loss, mae, acc7. The epoch selected on validation is the second.
SCORES = np.array(
    [
        [[0.9, 0.95, 0.30], [0.8, 0.85, 0.32], [0.7, 0.80, 0.31], [0.75, 0.78, np.nan]],
        [[0.5, 0.60, 0.40], [0.6, 0.70, 0.41], [0.7, 0.65, 0.45], [0.8, 0.66, 0.44]],
    ]
)


@pytest.fixture(autouse=True)
def _own_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRIVIUM_DATA", str(tmp_path / "data"))


def audited(folder: Path, monitor: str = "val/loss") -> list[Planned]:
    runs = plan(TABLE, 2, folder)
    for run, scores in zip(runs, SCORES, strict=True):
        test = {"mae": scores[1, 1], "acc7": scores[1, 2]}
        rule = f"{'highest' if monitor == 'val/acc7' else 'lowest'} {monitor}"
        finish(run, epochs=4, best_epoch=2, test=test, selection={"monitor": monitor, "rule": rule, "value": 1.0})
        lines = [f"{epoch},{','.join(map(str, row))}" for epoch, row in enumerate(scores, 1)]
        run.directory.audit_file.write_text("\n".join(["epoch,loss,mae,acc7", *lines]) + "\n")
    return runs


def test_each_choice_is_the_brute_force_one(tmp_path: Path) -> None:
    lines = audit_of(audited(tmp_path), MEASURES)
    assert [(line.measure, line.seed) for line in lines] == [("MAE", 1), ("Acc-7", 1), ("MAE", 2), ("Acc-7", 2)]
    for line in lines:
        scores, metric = SCORES[line.seed - 1], 1 if line.measure == "MAE" else 2
        own = np.nanargmin(scores[:, 1]) if metric == 1 else np.nanargmax(scores[:, 2])
        one = np.argmin(scores[:, 0])
        assert (line.epoch, line.monitor_best_epoch, line.metric_best_epoch) == (2, one + 1, own + 1)
        assert [line.selected, line.monitor_best, line.metric_best] == [
            scores[1, metric],
            scores[one, metric],
            scores[own, metric],
        ]
    gains = spreads(lines, "A", MEASURES[0])
    assert gains is not None
    differences = [0.85 - 0.80, 0.70 - 0.60], [0.85 - 0.78, 0.70 - 0.60]
    assert gains["monitor_best gain"].mean == pytest.approx(np.mean(differences[0]))
    assert gains["metric_best gain"].std == pytest.approx(np.std(differences[1], ddof=1))


def test_one_epoch_is_the_monitors_and_loss_where_test_has_none(tmp_path: Path) -> None:
    for monitor, column in (("val/acc7", 2), ("val/mae", 1), ("val/total", 0)):
        (line, *_) = audit_of(audited(tmp_path / monitor, monitor), MEASURES)
        best = np.nanargmax if column == 2 else np.nanargmin
        assert line.monitor_best_epoch == 1 + best(SCORES[0][:, column])


def test_a_damaged_audit_is_named(tmp_path: Path) -> None:
    runs = audited(tmp_path)
    file = runs[0].directory.audit_file
    file.write_text(file.read_text().rpartition("4,")[0])
    with pytest.raises(ValueError, match="expected epochs 1 to 4, found 3 lines") as error:
        audit_of(runs, MEASURES)
    assert str(file) in str(error.value)


def test_it_stands_apart_and_changes_no_other_number(tmp_path: Path) -> None:
    runs = audited(tmp_path)
    with_audit, without = collect(TABLE, runs), collect(replace(TABLE, audit=False), runs)
    text = markdown([with_audit], [])
    section = text.partition("## Audit: epochs chosen on the test split. Not comparable")[2].partition("\n## ")[0]
    assert "| A | MAE | 0.775 ± 0.106 | 0.700 ± 0.141 | +0.075 ± 0.035 | 0.690 ± 0.127 | +0.085 ± 0.021 |" in section
    assert "Nothing is selected by it" in text
    assert "audit=true" in text
    assert "chosen on the test split" in latex([with_audit])
    rest = markdown([without], [])
    assert "Audit" not in rest
    assert rest.partition("## Size")[0] == text.partition("## Audit")[0]
    write_tables(tmp_path / "out", [with_audit], [])
    with (tmp_path / "out" / "audit.csv").open(newline="") as file:
        first = next(csv.DictReader(file))
    assert (first["seed"], first["selected"], first["metric_best"], first["metric_best_epoch"]) == (
        "1",
        "0.85",
        "0.78",
        "4",
    )
    tables = [(tmp_path / "out" / "table.csv").read_bytes()]
    write_tables(tmp_path / "out", [without], [])
    assert not (tmp_path / "out" / "audit.csv").exists()
    assert (tmp_path / "out" / "table.csv").read_bytes() == tables[0]


def test_a_finished_run_without_audit_is_trained_again_and_said(tmp_path: Path) -> None:
    folder = tmp_path / "tables" / "own" / "runs"
    plain = plan(replace(TABLE, audit=False), 2, folder, FinishedRuns(tmp_path))
    finish(plain[0])
    run = plain[0].directory.path
    first, second = plan(TABLE, 2, folder, FinishedRuns(tmp_path))
    assert (first.again, second.again, first.status) == (True, False, "to do")
    assert "run.audit=true" in first.overrides
    assert (first.identity, second.identity) == (plain[0].identity, plain[1].identity)
    assert {first.directory.path, second.directory.path}.isdisjoint({run, plain[1].directory.path})
    assert "audit=true: 1 of them are there, but kept no weights" in overview([[first, second]], 1, Estimate())
    (run / "audit.csv").write_text("epoch,loss,mae\n1,1.0,1.0\n")
    first, _ = plan(TABLE, 2, folder, FinishedRuns(tmp_path))
    assert (first.directory.path, first.again) == (run, False)


def test_a_run_of_an_audit_serves_a_table_without(tmp_path: Path) -> None:
    folder = tmp_path / "tables" / "own" / "runs"
    (run, _) = plan(TABLE, 2, folder, FinishedRuns(tmp_path))
    finish(run)
    assert plan(replace(TABLE, audit=False), 2, folder, FinishedRuns(tmp_path))[0].directory.path == run.directory.path
