"""A table over folds: a run a row, seed and fold, means over all of them, and differences of one fold and seed each."""

from __future__ import annotations

import csv
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from planned_cases import finish, write_table

import trivium
from trivium.cli.reproduce import main
from trivium.config.compose import compose_config
from trivium.results.frame import record_lines
from trivium.results.records import read_record
from trivium.runs.config_hash import config_hash
from trivium.tables.collect import collect
from trivium.tables.definition import Row, Table, read_table
from trivium.tables.estimate import Estimate
from trivium.tables.finished import FinishedRuns
from trivium.tables.latex import latex
from trivium.tables.markdown import markdown
from trivium.tables.measures import Measure
from trivium.tables.overview import overview
from trivium.tables.plan import Planned, plan
from trivium.tables.write_files import write_tables

ROWS = (Row("Plain", ()), Row("Selfmi", ("method=selfmi",)))
MEASURES = (Measure("MAE", metric="mae"), Measure("Corr", metric="corr"))
BARS = {"MAE": ("MAE",)}
TABLE = Table("own", "T", ("data=mosi", "trainer.max_epochs=2"), 2, ROWS, MEASURES, BARS, "Plain", folds=3)
# Row, seed, fold.
ERRORS = np.random.default_rng(1).normal(0.9, 0.1, (2, 2, 3))


def finished_runs(folder: Path, table: Table = TABLE, seeds: int = 2) -> list[Planned]:
    runs = plan(table, seeds, folder / "runs")
    labels = [row.label for row in ROWS]
    for run in runs:
        assert run.fold is not None
        mae = float(ERRORS[labels.index(run.row.label), run.seed - 1, run.fold])
        finish(run, test={"mae": mae}, fold=run.fold, folds=3, train_mean_mae={"test": 1.0 + run.fold})
    return runs


def test_a_row_has_a_run_for_each_seed_and_fold_in_directories_of_their_own(tmp_path: Path) -> None:
    runs = plan(TABLE, 2, tmp_path)
    expected = [(row.label, seed, fold) for seed in (1, 2) for fold in range(3) for row in ROWS]
    assert [(run.row.label, run.seed, run.fold) for run in runs] == expected
    assert len({run.directory.path for run in runs}) == len({run.identity for run in runs}) == 12
    assert runs[3].overrides == ("data=mosi", "trainer.max_epochs=2", "method=selfmi", "seed=1", "data.fold=1")
    for run in runs:
        hashed = config_hash(compose_config(list(run.overrides)))
        assert run.directory.path.name == f"{run.row.slug}_s{run.seed}_{hashed[:6]}"
        assert run.identity == hashed


def test_a_row_begins_from_the_run_of_the_same_fold(tmp_path: Path) -> None:
    table = replace(TABLE, rows=(ROWS[0], replace(ROWS[1], start="Plain")))
    runs = plan(table, 1, tmp_path)
    for first, second in zip(runs[::2], runs[1::2], strict=True):
        assert second.start == first.directory
        assert first.fold == second.fold


def test_means_are_over_folds_and_seeds_and_differences_within_them(tmp_path: Path) -> None:
    measured = collect(TABLE, finished_runs(tmp_path))
    plain, selfmi = (measured.compared[row.label, "MAE"] for row in ROWS)
    assert (measured.seeds, measured.folds, measured.repeats) == (2, 3, 6)
    assert plain["n"] == selfmi["difference_n"] == 6
    assert plain["mean"] == pytest.approx(ERRORS[0].mean())
    assert plain["std"] == pytest.approx(ERRORS[0].std(ddof=1))
    assert selfmi["difference"] == pytest.approx((ERRORS[1] - ERRORS[0]).mean())
    assert selfmi["difference_std"] == pytest.approx((ERRORS[1] - ERRORS[0]).std(ddof=1))
    assert measured.values["Plain", "MAE"] == pytest.approx(ERRORS[0].ravel())
    assert measured.train_mean == pytest.approx(2.0)


def test_the_pages_say_what_the_means_are_over(tmp_path: Path) -> None:
    runs = finished_runs(tmp_path)
    measured = collect(TABLE, runs)
    for page in (markdown([measured], []), latex([measured])):
        assert "over 3 folds x 2 seeds (n - 1), n = 6 runs" in page
        assert "of the same seed and fold" in page
        assert "Folds share train clips" in page
    runs[5].directory.result_file.unlink()
    page = markdown([collect(TABLE, [replace(run, lacking="") for run in runs])], [])
    assert "n of 6 runs in brackets" in page
    assert "- not run: Selfmi, seed 1 fold 2" in page


def test_values_csv_names_the_fold_and_is_read_again(tmp_path: Path) -> None:
    measured = collect(TABLE, finished_runs(tmp_path))
    write_tables(tmp_path, [measured], [])
    with (tmp_path / "values.csv").open() as file:
        lines = [line for line in csv.DictReader(file) if line["measure"] == "MAE"]
    assert [(line["row"], int(line["seed"]), int(line["fold"])) for line in lines] == [
        (row.label, seed, fold) for row in ROWS for seed in (1, 2) for fold in range(3)
    ]
    np.testing.assert_allclose([float(line["value"]) for line in lines], ERRORS.ravel())
    again = trivium.compare(trivium.results(tmp_path), "Plain").set_index(["label", "metric"])
    assert again.loc[("Selfmi", "MAE"), "difference"] == pytest.approx((ERRORS[1] - ERRORS[0]).mean())
    assert again.loc[("Selfmi", "MAE"), "n"] == 6


def test_runs_of_an_earlier_call_are_found_by_fold(tmp_path: Path) -> None:
    finished_runs(tmp_path)
    store = tmp_path / "data" / "mosi"
    found = plan(replace(TABLE, seeds=3), 3, tmp_path / "runs", FinishedRuns(store))
    assert [run.status for run in found[:12]] == ["done"] * 12
    assert {run.status for run in found[12:]} == {"no data"}


def test_the_overview_has_a_mark_for_each_fold(tmp_path: Path) -> None:
    runs = [replace(run, lacking="") for run in finished_runs(tmp_path, seeds=1)]
    runs += [replace(run, lacking="") for run in plan(TABLE, 2, tmp_path / "runs")[6:]]
    lines = overview([runs], 1, Estimate()).splitlines()
    assert re.fullmatch(r"own +seed +1 +2   a run", lines[0])
    assert lines[1].split()[:3] == ["Plain", "###", "..."]


def test_two_values_of_a_fold_and_seed_are_refused(tmp_path: Path) -> None:
    frame = pd.DataFrame(record_lines(read_record(finished_runs(tmp_path)[0].directory.path)))
    with pytest.raises(ValueError, match=r"two values of .* seed 1, fold 0"):
        trivium.compare(pd.concat([frame, frame]))


def test_a_table_of_the_runs_of_a_folder_has_their_folds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for run in finished_runs(tmp_path):
        # As a whole config, by which the runs of a folder are told apart.
        config = compose_config(list(run.overrides))
        run.directory.config_file.write_text(yaml.safe_dump(config))
    assert main([f"runs={tmp_path / 'runs'}"]) == 0
    assert "over 3 folds x 2 seeds (n - 1), n = 6 runs" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"folds": 2}, r"own.yaml: folds: expected how many the store has, 3 or more, found 2"),
        ({"folds": "all"}, "folds: expected how many the store has, 3 or more, found 'all'"),
    ],
)
def test_folds_of_a_yaml_are_checked(tmp_path: Path, more: dict[str, object], message: str) -> None:
    rows = [{"label": "Plain", "overrides": []}]
    assert read_table(write_table(tmp_path, rows, folds=4)).folds == 4
    with pytest.raises(ValueError, match=message):
        read_table(write_table(tmp_path, rows, **more))


def test_a_fold_in_the_settings_of_a_table_with_folds_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"table own: data.fold=1, but the table has folds: 3"):
        plan(replace(TABLE, settings=("data.fold=1",)), 1, tmp_path)


def test_figures_of_two_folds_do_not_share_a_name(tmp_path: Path) -> None:
    records = [read_record(run.directory.path) for run in finished_runs(tmp_path)]
    stems = {record.stem for record in records if record.result["method"] == "supervised"}
    assert stems == {f"_s{seed}_f{fold}" for seed in (1, 2) for fold in range(3)}
