"""trivium.results: a row for each run and metric, whatever kind of folder the runs lie in."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

import trivium
from page_cases import VALUES, run_at, scored, search_at, store_at, table_at
from trivium.results.frame import COLUMNS


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return store_at(tmp_path_factory.mktemp("data") / "made.h5")


def test_one_run_has_a_row_for_each_split_and_metric(store: Path, tmp_path: Path) -> None:
    frame = trivium.results(run_at(tmp_path / "a", store, 2))
    assert tuple(frame) == COLUMNS
    values = {(split, metric): value for split, metric, value in frame[["split", "metric", "value"]].to_numpy()}
    expected = {**scored(2), "loss": 0.7}
    assert values == {(split, metric): value for split in ("val", "test") for metric, value in expected.items()}
    line = frame[(frame["split"] == "test") & (frame["metric"] == "mae")].iloc[0]
    facts = {"label": "supervised", "method": "supervised", "data": "made", "feature_set": "made/v1", "seed": 2}
    facts |= {"modalities": "audio", "epochs": 5, "seconds": 1.5, "parameters": 1234, "train_mean_mae": 1.6}
    facts |= {"selected_by": "lowest val/loss", "status": "finished", "path": str(tmp_path / "a")}
    assert {key: line[key] for key in facts} == facts
    assert len(line["config_hash"]) == 64


def test_runs_are_found_anywhere_beneath_a_folder_and_settings_have_labels(store: Path, tmp_path: Path) -> None:
    for seed in (1, 2):
        run_at(tmp_path / "outputs" / "runs" / f"a{seed}", store, seed, alpha=0.1)
    run_at(tmp_path / "outputs" / "sweeps" / "time" / "0", store, 1, alpha=0.5)
    frame = trivium.results(tmp_path / "outputs")
    runs = frame.drop_duplicates(["label", "seed"])
    assert list(zip(runs["label"], runs["seed"], strict=True)) == [
        ("supervised, method.alpha=0.1", 1),
        ("supervised, method.alpha=0.1", 2),
        ("supervised, method.alpha=0.5", 1),
    ]
    compared = trivium.compare(frame[frame["split"] == "test"], "supervised, method.alpha=0.1")
    assert set(compared["feature_set"]) == {"made/v1"}
    assert compared.loc[compared["metric"] == "mae", "n"].tolist() == [2, 1]


def test_a_table_has_its_rows_labels_and_measures(store: Path, tmp_path: Path) -> None:
    table = table_at(tmp_path / "small", store, runs=tmp_path / "elsewhere")
    with pytest.warns(UserWarning, match=r"base_s9_9bc12f: not finished \(interrupted\)"):
        frame = trivium.results(table)
    values = {label: frame.loc[frame["label"] == label, "value"].tolist() for label in ("Ours", "Base")}
    assert values == {label: list(of) for label, of in VALUES.items()}
    assert set(frame["metric"]) == {"MAE"}
    assert frame["method"].tolist() == ["selfmi", "selfmi", "supervised", "supervised"]
    assert frame["path"].tolist()[0] == str((tmp_path / "elsewhere" / "ours_s1_1bc12f").resolve())


def test_a_published_table_has_its_numbers_without_its_runs() -> None:
    """Those of docs/results/methods, and compare() gives what its table.csv says."""
    folder = Path(__file__).parents[2] / "docs" / "results" / "methods"
    with pytest.warns(UserWarning, match="runs of table methods that are not there"):
        frame = trivium.results(folder)
    assert set(frame["feature_set"]) == {"mosi/mosi-text-audio", "mosi/mosi-trimodal-229"}
    written = pd.read_csv(folder / "table.csv")
    found = trivium.compare(frame, "Supervised").rename(columns={"label": "row", "metric": "measure"})
    assert found[["row", "measure"]].equals(written[["row", "measure"]])
    for column in ("mean", "std", "mean_low", "mean_high", "difference", "p", "p_holm", "p_wilcoxon", "low", "high"):
        assert found[column].to_numpy() == pytest.approx(written[column].to_numpy(), rel=1e-9, nan_ok=True), column


def test_trials_of_a_search_are_its_runs(store: Path, tmp_path: Path) -> None:
    search = search_at(tmp_path / "search")
    run_at(search / "3", store, 1, alpha=0.1)
    assert set(trivium.results(search)["label"]) == {"trial 3"}


def test_a_damaged_run_is_left_out_with_its_file_named(store: Path, tmp_path: Path) -> None:
    run_at(tmp_path / "good", store, 1)
    bad = run_at(tmp_path / "bad", store, 2)
    (bad / "result.json").write_text('{"seed": 2,')
    with pytest.warns(UserWarning, match=r"bad/result\.json: cannot be read"):
        frame = trivium.results(tmp_path)
    assert set(frame["path"]) == {str(tmp_path / "good")}
    with pytest.raises(ValueError, match="nowhere: no such folder; expected a finished run"):
        trivium.results(tmp_path / "nowhere")


def test_it_can_be_called_after_its_modules_are_imported_and_imports_no_torch(store: Path, tmp_path: Path) -> None:
    run_at(tmp_path / "a", store, 1)
    code = (
        "import sys, trivium, trivium.results.records; "
        f"print(len(trivium.results({str(tmp_path / 'a')!r})), 'torch' in sys.modules, 'hydra' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split() == [str(2 * (len(scored(1)) + 1)), "False", "False"]
