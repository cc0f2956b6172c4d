"""Rows whose settings are searched before their seeds are trained: what is planned, chosen, printed and resumed."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from planned_cases import begin, finish, write_table

from driver import ROOT
from trivium.tables.collect import collect
from trivium.tables.definition import Table, read_table
from trivium.tables.estimate import Estimate
from trivium.tables.finished import FinishedRuns
from trivium.tables.markdown import markdown
from trivium.tables.overview import overview
from trivium.tables.plan import Planned, plan
from trivium.tables.row_search import RowSearch
from trivium.tables.write_files import table_texts

SPACE = "supervised"
# Leaves two numbers to search, so that a check composes once.
FIXED = ["encoder=identity", "encoder.out=16", "encoder.pool=mean", "fusion=concat"]
SEARCHED: dict[str, Any] = {"label": "Searched", "overrides": FIXED, "search": {"sweep": SPACE, "trials": 2}}


def searched(folder: Path, *rows: dict[str, Any], **more: Any) -> Table:
    file = write_table(folder, rows or [SEARCHED], datasets=["fixture"], seeds=2, **more)
    return replace(read_table(file), overrides=("data=fixture",), data="fixture")


def planned(folder: Path, table: Table) -> list[Planned]:
    return plan(table, 2, folder / "runs")


def end_trials(run: Planned, *trials: tuple[str, str, str]) -> None:
    """Writes trials.csv as a study leaves it. trials: state, value, learning rate."""
    assert run.study is not None
    run.study.folder.mkdir(parents=True, exist_ok=True)
    lines = [f"{n},{state},{value},{lr},0.01,0.1,3.0,," for n, (state, value, lr) in enumerate(trials)]
    head = "number,state,value,optimizer.lr,optimizer.weight_decay,fusion.dropout,seconds,run,error"
    (run.study.folder / "trials.csv").write_text("\n".join([head, *lines]) + "\n")


@pytest.mark.parametrize(
    ("common", "own", "expected"),
    [
        (None, None, None),
        ({"trials": 5}, None, None),
        (None, "gmc", RowSearch("gmc", 20, "")),
        ({"trials": 5, "objective": "val/mae"}, "gmc", RowSearch("gmc", 5, "val/mae")),
        ({"trials": 5}, {"sweep": "gmc", "trials": 7}, RowSearch("gmc", 7, "")),
        ({"sweep": "gmc"}, None, RowSearch("gmc", 20, "")),
        ({"sweep": "gmc"}, False, None),
    ],
)
def test_a_rows_search_is_its_own_over_the_tables(
    tmp_path: Path, common: Any, own: Any, expected: RowSearch | None
) -> None:
    row = {"label": "A", **({} if own is None else {"search": own})}
    table = read_table(write_table(tmp_path, [row], **({} if common is None else {"search": common})))
    assert table.rows[0].search == expected


@pytest.mark.parametrize(
    ("search", "message"),
    [
        ({"trials": 3}, "rows: A: search: sweep missing"),
        ({"sweep": "gmc", "trials": 0}, r"rows: A: search.trials: expected how many, 1 or more, found 0"),
        ({"sweep": "gmc", "trial": 3}, "rows: A: search: no key 'trial'; nearest is trials"),
        ({"sweep": "gmc", "objective": "test/mae"}, "search.objective: expected val/loss, or val/ and a metric"),
        ({"sweep": 3}, "search.sweep: expected the name of a space, found 3"),
    ],
)
def test_wrong_searches_are_named(tmp_path: Path, search: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_table(write_table(tmp_path, [{"label": "A", "search": search}]))


def test_a_search_on_folds_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match="rows: A: search: the table has folds, whose validation clips are other folds'"
    ):
        read_table(write_table(tmp_path, [{"label": "A", "search": "gmc"}], folds=5))


def test_a_space_that_no_run_could_take_is_named_with_its_row(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="row 'A': search: sweep=superviced: no such choice; nearest is supervised"):
        planned(tmp_path, searched(tmp_path, {"label": "A", "search": "superviced"}))


def test_seeds_wait_for_their_search_and_dry_says_what_both_cost(tmp_path: Path) -> None:
    table = searched(tmp_path, SEARCHED, {"label": "Plain"})
    runs = planned(tmp_path, table)
    assert [run.status for run in runs if run.row.label == "Searched"] == ["to search"] * 2
    assert not list(tmp_path.glob("studies/*"))
    plain = [run for run in runs if run.row.label == "Plain"]
    finish(plain[0], seconds=10.0)
    text = overview([planned(tmp_path, table)], 1, Estimate())
    assert "  Searched     0/2       ? ?   perhaps 10 s\n  Plain                  # .   10 s" in text
    assert "1 search of 2 trials, then 2 seeds a row with the best trial's settings: 0 of 2 trials done" in text
    # Two trials and two seeds of the one, a seed of the other.
    assert "time left: 50 s" in text


def test_seeds_have_the_best_trials_settings(tmp_path: Path) -> None:
    table = searched(tmp_path)
    end_trials(planned(tmp_path, table)[0], ("complete", "0.9", "0.002"), ("complete", "0.8", "0.005"))
    runs = planned(tmp_path, table)
    assert [run.status for run in runs] == ["to do"] * 2
    for run in runs:
        assert {"optimizer.lr=0.005", "fusion.dropout=0.1", "encoder=identity", "method=supervised"} <= {*run.overrides}
    # Another choice is another run.
    end_trials(runs[0], ("complete", "0.7", "0.002"), ("complete", "0.8", "0.005"))
    assert planned(tmp_path, table)[0].directory.path != runs[0].directory.path


@pytest.mark.parametrize(
    ("trials", "best"),
    [
        ([("complete", "0.9", "0.002")], None),
        ([("complete", "0.9", "0.002"), ("running", "", "0.005")], None),
        ([("complete", "0.9", "0.002"), ("pruned", "", "0.005")], "0.002"),
        ([("complete", "0.9", "0.002"), ("complete", "0.9", "0.005")], "0.002"),
        ([("complete", "0.9", "0.002"), ("fail", "", "0.005"), ("complete", "0.1", "0.01")], "0.002"),
        ([("fail", "", "0.002"), ("pruned", "", "0.005")], None),
    ],
)
def test_the_best_is_of_the_whole_budget_and_of_no_more(
    tmp_path: Path, trials: Sequence[tuple[str, str, str]], best: str | None
) -> None:
    """A budget that was larger once leaves trials that do not count, so that all rows have the same."""
    table = searched(tmp_path)
    end_trials(planned(tmp_path, table)[0], *trials)
    study = planned(tmp_path, table)[0].study
    assert study is not None
    assert (study.best.parameters["optimizer.lr"] if study.best else None) == best


def test_what_the_row_or_the_table_sets_is_not_searched(tmp_path: Path) -> None:
    table = replace(searched(tmp_path), settings=("optimizer.lr=0.01",))
    study = planned(tmp_path, table)[0].study
    assert study is not None
    assert list(study.space) == ["optimizer.weight_decay", "fusion.dropout"]
    assert {"optimizer.lr=0.01", "encoder=identity", "seed=1"} <= {*study.fixed}


def test_a_row_that_begins_from_a_searched_one_has_its_encoder_and_fusion(tmp_path: Path) -> None:
    after = {"label": "After", "start_from_row": "Searched", "overrides": ["optimizer.lr=0.1"]}
    table = searched(tmp_path, {**SEARCHED, "overrides": FIXED[:3]}, after)
    runs = planned(tmp_path, table)
    assert {run.status for run in runs} == {"to search"}
    study = runs[0].study
    assert study is not None
    study.folder.mkdir(parents=True)
    head = "number,state,value,optimizer.lr,fusion,fusion.dropout"
    lines = ["0,complete,0.5,0.002,sum,0.3", "1,complete,0.6,0.003,gmu,0.1"]
    (study.folder / "trials.csv").write_text("\n".join([head, *lines]) + "\n")
    of_after = [run for run in planned(tmp_path, table) if run.row.label == "After"]
    for run in of_after:
        assert run.start is not None
        assert {"encoder=identity", "fusion=sum", "fusion.dropout=0.3", "optimizer.lr=0.1"} <= {*run.overrides}


def test_budget_and_choice_are_printed_and_every_trial_is_in_a_file(tmp_path: Path) -> None:
    table = searched(tmp_path)
    end_trials(planned(tmp_path, table)[0], ("complete", "0.9125", "0.002"), ("pruned", "", "0.005"))
    runs = planned(tmp_path, table)
    for run in runs:
        begin(run, 1, whole=True)
        finish(run)
    measured = collect(table, runs)
    text = markdown([measured], [])
    chosen = "optimizer.lr=0.002, optimizer.weight_decay=0.01, fusion.dropout=0.1"
    assert "### Settings chosen by search\n\n| row | space | trials | chosen by | value | chosen |\n" in text
    rule = "lowest val/loss of seed 1"
    assert f"| Searched | supervised | 2 (1 pruned) | {rule} | 0.9125 (trial 0) | {chosen} |" in text
    lines = list(csv.DictReader(table_texts(None, [measured], [])["searches.csv"].splitlines()))
    assert [(line["row"], line["trial"], line["state"], line["chosen"]) for line in lines] == [
        ("Searched", "0", "complete", "yes"),
        ("Searched", "1", "pruned", ""),
    ]
    assert lines[1]["settings"] == "optimizer.lr=0.005 optimizer.weight_decay=0.01 fusion.dropout=0.1"


CONTESTED: dict[str, Any] = {**SEARCHED, "search": {"sweep": SPACE, "trials": 3, "finalists": 2}}


def contest(folder: Path, **more: Any) -> tuple[Table, list[Planned]]:
    """Three trials have ended, of which the second and third are the best; returns their runs of seeds 2 and 3."""
    table = searched(folder, CONTESTED, **more)
    trials = [("complete", "0.9", "0.002"), ("complete", "0.80", "0.005"), ("complete", "0.81", "0.007")]
    end_trials(planned(folder, table)[0], *trials)
    study = planned(folder, table)[0].study
    assert study is not None
    return table, study.pending


def test_the_settings_are_those_of_the_finalist_with_the_best_mean_over_seeds(tmp_path: Path) -> None:
    table, finals = contest(tmp_path)
    assert [run.name for run in finals] == [
        f"Searched, trial {trial}, fixture, seed {seed}" for trial in (1, 2) for seed in (2, 3)
    ]
    assert ["optimizer.lr=0.005" in run.overrides for run in finals] == [True, True, False, False]
    assert [run.status for run in planned(tmp_path, table)] == ["to search"] * 2
    for run, loss in zip(finals, (1.0, 1.0, 0.9, 0.8), strict=True):
        assert {run.status for run in planned(tmp_path, table)} == {"to search"}
        finish(run, val={"loss": loss})
    # Trial 1 is the best of seed 1, trial 2 of all three seeds: (.81 + .9 + .8) / 3 against (.8 + 1 + 1) / 3.
    runs = planned(tmp_path, table)
    assert [run.status for run in runs] == ["to do"] * 2
    assert all("optimizer.lr=0.007" in run.overrides for run in runs)
    # Its run of seed 2 is there, under the finalist's name.
    again = plan(table, 2, tmp_path / "runs", FinishedRuns(tmp_path))
    assert [run.identity for run in again] == [run.identity for run in runs]
    assert again[1].identity == finals[2].identity


def test_finalists_are_told_and_written(tmp_path: Path) -> None:
    table, finals = contest(tmp_path)
    text = overview([planned(tmp_path, table)], 1, Estimate())
    assert "1 search of 3 trials, the best 2 of each with seeds 2 and 3 too, then 2 seeds a row with the chosen" in text
    for run in finals:
        finish(run, val={"loss": 0.5 if "trial 2" in run.name else 0.7})
    runs = planned(tmp_path, table)
    for run in runs:
        begin(run, 1, whole=True)
        finish(run)
    measured = collect(table, runs)
    rule = "lowest val/loss, mean of seeds 1, 2, 3 of the 2 best of seed 1"
    page = markdown([measured], [])
    assert f"| Searched | supervised | 3 | {rule} | 0.6033 (trial 2) |" in page
    assert "of the best trials the one with the best mean over three seeds" in page
    lines = list(csv.DictReader(table_texts(None, [measured], [])["searches.csv"].splitlines()))
    assert [line["chosen"] for line in lines] == ["", "", "yes"]
    assert [line["mean"] and round(float(line["mean"]), 4) for line in lines] == ["", 0.7333, 0.6033]


def test_dry_says_what_finalists_cost(tmp_path: Path) -> None:
    table = searched(tmp_path, CONTESTED, {"label": "Plain"})
    finish(next(run for run in planned(tmp_path, table) if run.row.label == "Plain"), seconds=10.0)
    # Three trials, two runs of the finalist that is not chosen, two seeds, and a seed of the other row.
    assert "time left: 80 s" in overview([planned(tmp_path, table)], 1, Estimate())


def test_one_complete_trial_needs_no_choice(tmp_path: Path) -> None:
    table = searched(tmp_path, CONTESTED)
    end_trials(
        planned(tmp_path, table)[0], ("complete", "0.9", "0.002"), ("fail", "", "0.005"), ("pruned", "", "0.007")
    )
    study = planned(tmp_path, table)[0].study
    assert study is not None
    assert study.contested == ()
    assert study.best is not None


def test_a_finalist_of_a_row_that_begins_from_another_begins_from_its_run_of_the_same_seed(tmp_path: Path) -> None:
    rows = [{"label": "First", "overrides": FIXED}, {**CONTESTED, "label": "After", "start_from_row": "First"}]
    table = searched(tmp_path, *rows)
    runs = {(run.row.label, run.seed): run for run in planned(tmp_path, table)}
    end_trials(runs["After", 1], ("complete", "0.9", "0.002"), ("complete", "0.8", "0.005"), ("fail", "", "0.007"))
    study = next(run.study for run in planned(tmp_path, table) if run.row.label == "After")
    assert study is not None
    assert [run.start for run in study.pending[:1]] == [runs["First", 2].directory]


def test_finalists_are_trained_and_one_is_chosen(tmp_path: Path) -> None:
    file = small_table(tmp_path, rows=1, seeds=1, trials=2)
    file.write_text(file.read_text().replace("  trials: 2", "  trials: 2\n  finalists: 2"))
    process = start(tmp_path, file)
    printed = tmp_path / "printed.log"
    assert process.wait(timeout=300) == 0, printed.read_text()
    lines = trials_of(tmp_path)
    (best,) = [line for line in lines.values() if line["chosen"]]
    assert float(best["mean"]) == min(float(line["mean"]) for line in lines.values())
    for trial in "01":
        assert f"A, trial {trial}, fixture, seed 3:" in printed.read_text()


def test_a_search_that_another_table_has_done_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRIVIUM_DATA", str(tmp_path / "data"))
    table, outputs = searched(tmp_path), tmp_path / "outputs"
    runs = [plan(table, 1, outputs / "tables" / name / "runs", FinishedRuns(outputs)) for name in ("first", "second")]
    assert [run.study.folder.parents[1].name for (run,) in runs if run.study] == ["first", "second"]
    end_trials(runs[0][0], ("complete", "0.9", "0.002"), ("complete", "0.8", "0.005"))
    (again,) = plan(table, 1, outputs / "tables" / "second" / "runs", FinishedRuns(outputs))
    assert "optimizer.lr=0.005" in again.overrides
    assert not again.waits


def start(folder: Path, table: Path) -> subprocess.Popen[bytes]:
    words = [sys.executable, str(ROOT / "scripts" / "reproduce.py"), f"table={table}", f"outputs={folder / 'outputs'}"]
    environment = {**os.environ, "TRIVIUM_DATA": str(folder / "data")}
    with (folder / "printed.log").open("ab") as log:
        return subprocess.Popen(words, cwd=folder, stdout=log, stderr=log, env=environment)


def small_table(folder: Path, rows: int, seeds: int, trials: int) -> Path:
    common = ["data.batch_size=48", "trainer.max_epochs=1", "trainer.limit_batches=1", "trainer.accelerator=cpu"]
    values = {
        "title": "Searched",
        "datasets": ["fixture"],
        "overrides": [*common, "trainer.threads=1", "encoder=identity", "encoder.out=8", "fusion=concat"],
        "seeds": seeds,
        "search": {"sweep": SPACE, "trials": trials, "objective": "val/mae"},
        "rows": [{"label": "A"}, {"label": "B", "overrides": ["objective=mse"]}][:rows],
        "baseline": "A",
        "measures": [{"name": "MAE", "metric": "mae"}],
    }
    (folder / "own.yaml").write_text(yaml.safe_dump(values))
    return folder / "own.yaml"


def trials_of(folder: Path) -> dict[tuple[str, str], dict[str, str]]:
    with (folder / "outputs" / "tables" / "own" / "searches.csv").open(newline="") as file:
        return {(line["row"], line["trial"]): line for line in csv.DictReader(file)}


def test_a_searched_row_is_searched_and_then_trained(tmp_path: Path) -> None:
    process = start(tmp_path, small_table(tmp_path, rows=1, seeds=1, trials=2))
    printed = tmp_path / "printed.log"
    assert process.wait(timeout=300) == 0, printed.read_text()
    trials = trials_of(tmp_path)
    assert [line["state"] for line in trials.values()] == ["complete"] * 2
    (best,) = [key for key, line in trials.items() if line["chosen"]]
    assert float(trials[best]["value"]) == min(float(line["value"]) for line in trials.values())
    # The best trial is the run of seed 1, which is not trained again.
    assert "1 of 1 runs are done" in printed.read_text()
    with (tmp_path / "outputs" / "tables" / "own" / "values.csv").open(newline="") as file:
        (value,) = csv.DictReader(file)
    assert value["run"].startswith("studies/a_")
    assert value["run"].endswith(f"/{best[1]}")


@pytest.mark.slow
def test_killed_in_the_middle_of_a_study_no_trial_is_lost_and_none_counts_twice(tmp_path: Path) -> None:
    """Two rows of three trials and two seeds; killed when a trial has ended and while another trains."""
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    for folder in (whole, killed):
        folder.mkdir()
    assert start(whole, small_table(whole, 2, 2, 3)).wait(timeout=900) == 0, (whole / "printed.log").read_text()
    table = small_table(killed, 2, 2, 3)
    process = start(killed, table)
    deadline = time.monotonic() + 600
    studies = killed / "outputs" / "tables" / "own" / "studies"
    while not (list(studies.glob("*/0/result.json")) and list(studies.glob("*/1/config.yaml"))):
        assert process.poll() is None, (killed / "printed.log").read_text()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = {path: path.stat().st_mtime_ns for path in studies.glob("*/*/result.json")}
    assert start(killed, table).wait(timeout=900) == 0, (killed / "printed.log").read_text()
    assert {path: path.stat().st_mtime_ns for path in before} == before
    same = ("state", "value", "chosen", "settings")
    first, second = (
        {key: [line[name] for name in same] for key, line in trials_of(f).items()} for f in (whole, killed)
    )
    assert len(first) == 6
    assert first == second
    values = [(folder / "outputs" / "tables" / "own" / "table.csv").read_text() for folder in (whole, killed)]
    means = [[line["mean"] for line in csv.DictReader(text.splitlines())] for text in values]
    assert means[0] == means[1]
