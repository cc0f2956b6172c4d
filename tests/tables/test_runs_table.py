"""Tables of runs that are there, without a YAML: `trivium reproduce runs=FOLDER`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from page_cases import run_at, scored, search_at, store_at
from trivium.cli.reproduce import main


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """supervised, and selfmi with two rates, of seeds 1 and 2; one run is not finished."""
    store, sweep = store_at(tmp_path / "made.h5"), tmp_path / "sweep"
    for method, rates in (("supervised", [1.0]), ("selfmi", [0.1, 0.2])):
        for rate in rates:
            for seed in (1, 2):
                # other seeds, so that rows have other numbers
                scores = scored(seed + 10 * len(method) + int(10 * rate))
                add(sweep / f"{method}{rate}{seed}", store, seed, scores, method=method, rate=rate)
    run_at(sweep / "unfinished", store, 3, method="supervised", rate=1.0, finished=False)
    return sweep


def add(path: Path, store: Path, seed: int, test: dict[str, float], *, data: str = "made/v1", **settings: Any) -> Path:
    run_at(path, store, seed, **settings)
    result = json.loads((path / "result.json").read_text())
    result |= {"test": {**test, "loss": 1.0}, "feature_set": data, "git_commit": "0123456789"}
    (path / "result.json").write_text(json.dumps({**result, "hardware": {"cpus": 2, "gpus": []}}))
    return path


def test_rows_are_the_settings_and_seeds_are_repeats(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([f"runs={folder}", "baseline=supervised"]) == 0
    said = capsys.readouterr()
    assert f"left out: {folder / 'unfinished'}: not finished (interrupted)" in said.err
    assert f"written to {folder / 'table'}" in said.out
    table = pd.read_csv(folder / "table" / "table.csv").set_index(["row", "measure"])
    rows = {"supervised": ("supervised", 1.0), "selfmi, method.rate=0.1": ("selfmi", 0.1)}
    rows["selfmi, method.rate=0.2"] = ("selfmi", 0.2)
    values = {
        row: [scored(seed + 10 * len(method) + int(10 * rate))["mae"] for seed in (1, 2)]
        for row, (method, rate) in rows.items()
    }
    assert set(table.index.get_level_values(0)) == set(rows)
    for row, its in values.items():
        line = table.loc[row, "MAE"]
        assert (line["mean"], line["std"]) == pytest.approx((np.mean(its), np.std(its, ddof=1)), rel=1e-12)
        if row != "supervised":
            assert line["difference"] == pytest.approx(np.mean(np.subtract(its, values["supervised"])), rel=1e-9)
    made = f"Made by `trivium reproduce runs={folder} baseline=supervised`."
    assert made in (folder / "table" / "table.md").read_text()
    for name in ("values.csv", "table.tex", "figure_made_v1.png", "figure_made_v1.pdf"):
        assert (folder / "table" / name).stat().st_size > 0
    runs = pd.read_csv(folder / "table" / "values.csv")["run"].unique()
    assert all((folder / "table" / run / "result.json").is_file() for run in runs)


def test_data_sets_are_sections_and_a_later_run_of_one_seed_counts(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = folder.parent / "made.h5"
    add(folder / "other", store, 1, scored(7), method="supervised", data="other/v1")
    again = add(folder / "again", store, 1, scored(8), method="supervised", rate=1.0)
    record = json.loads((again / "run.json").read_text())
    (again / "run.json").write_text(json.dumps({**record, "created": "2027-01-01T00:00:00"}))
    assert main([f"runs={folder}"]) == 0
    assert f"{folder / 'supervised1.01'}: {again} is a later run of the same" in capsys.readouterr().err
    values = pd.read_csv(folder / "table" / "values.csv").set_index(["data", "row", "measure", "seed"])["value"]
    assert values["other/v1", "supervised", "MAE", 1] == scored(7)["mae"]
    assert values["made/v1", "supervised", "MAE", 1] == scored(8)["mae"]
    page = (folder / "table" / "table.md").read_text()
    assert page.index("## made/v1") < page.index("## other/v1")
    assert main([f"runs={folder}", "data=other/v1"]) == 0
    assert "made/v1" not in (folder / "table" / "table.md").read_text()


def test_a_metric_of_one_s_own_is_a_column_whose_direction_the_config_says(folder: Path) -> None:
    for run in folder.glob("s*/config.yaml"):
        node = {"_target_": "mine.x", "label": "Own", "better": "lower"}
        run.write_text(yaml.safe_dump(yaml.safe_load(run.read_text()) | {"metrics": {"own": node}}))
        result = json.loads((run.parent / "result.json").read_text())
        result["test"]["own"] = 0.5 if result["method"] == "supervised" else 0.75
        (run.parent / "result.json").write_text(json.dumps(result))
    assert main([f"runs={folder}"]) == 0
    page = (folder / "table" / "table.md").read_text()
    (supervised,) = [line for line in page.splitlines() if line.startswith("| supervised |") and "±" in line]
    assert " Own ↓ |" in page
    assert supervised.endswith("| **0.500 ± 0.000** |")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["baseline=selfmi"], "baseline=selfmi: no such row on made/v1"),
        (["baseline=x"], "the rows are: selfmi, method.rate=0.1; selfmi, method.rate=0.2; supervised"),
        (["data=mosi"], "data=mosi: no finished run is on it; there are made/v1"),
        (["seeds=3"], "seeds= does not go with runs="),
        (["table=methods"], "table= does not go with runs="),
    ],
)
def test_a_mistake_is_told_and_nothing_is_written(
    folder: Path, words: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([f"runs={folder}", *words]) == 2
    assert told in capsys.readouterr().err
    assert not (folder / "table").exists()


def test_trials_of_a_search_are_not_compared_by_their_test_split(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([f"runs={search_at(tmp_path / 'study')}"]) == 2
    assert "a search, whose trials are compared by validation" in capsys.readouterr().err
