"""Runs, a checkpoint and configs that version 0.1.0 wrote (commit 3166cf6) still load, resume and are found by tables.

`version_0_1_0/` holds them as they were written, on the fixture store beside them, without lock files and without
the checkpoints of finished runs. selfmi_unfinished was killed before its 13th step, with a checkpoint of the 11th;
selfmi_whole is the same run undisturbed. Method keys that were renamed since are there by their old names.
"""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pytest
import yaml

import trivium
from driver import command, here
from trivium.config.compose import compose_config
from trivium.config.renamed import with_old_names
from trivium.runs.config_hash import config_hash, differences

OLD = Path(__file__).parent / "version_0_1_0"
FINISHED = ("supervised", "selfmi", "selfmi_ba", "gmc", "tcmax", "comm")
SETTINGS = ["trainer.progress=off", "trainer.accelerator=cpu"]


def overrides(name: str) -> list[str]:
    """What the run was started with, without where it lay."""
    given: list[str] = yaml.safe_load((OLD / "runs" / name / "overrides.yaml").read_text())
    return [one for one in given if not one.startswith(("run.dir=", "paths."))]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder in which data and runs lie as train.py leaves them."""
    store = tmp_path / "data" / "fixture" / "fixture.h5"
    store.parent.mkdir(parents=True)
    shutil.copy(OLD / "fixture.h5", store)
    shutil.copytree(OLD / "runs", tmp_path / "outputs" / "runs")
    return tmp_path


@pytest.mark.parametrize("name", FINISHED)
def test_a_finished_run_loads_and_predicts_as_it_did(name: str) -> None:
    run = trivium.load_run(OLD / "runs" / name)
    with (OLD / "runs" / name / "predictions.csv").open() as file:
        expected = [float(row["prediction"]) for row in csv.DictReader(file) if row["split"] == "test"]
    assert run.predict(store=OLD / "fixture.h5").score.tolist() == pytest.approx(expected, abs=1e-4)
    assert run.evaluate(store=OLD / "fixture.h5")["mae"] == pytest.approx(run.result["test"]["mae"], abs=1e-4)


def test_an_unfinished_run_goes_on_to_where_it_would_have_ended(folder: Path) -> None:
    path = folder / "outputs" / "runs" / "selfmi_unfinished"
    assert not (path / "result.json").exists()
    result = here(folder, *overrides("selfmi_unfinished"), f"resume={path}")
    whole = json.loads((OLD / "runs" / "selfmi_whole" / "result.json").read_text())
    assert result["resumed_at"] == [11]
    assert result["best_epoch"] == whole["best_epoch"]
    for split in ("val", "test"):
        assert result[split] == pytest.approx(whole[split], abs=2e-3)  # another processor rounds otherwise
    assert result["config_hash"] == whole["config_hash"]


def test_resume_auto_finds_it_by_its_hash(folder: Path) -> None:
    result = here(folder, *overrides("selfmi_unfinished"), "resume=auto", f"paths.outputs={folder / 'outputs'}")
    assert result["resumed_at"] == [11]


ROWS = {"supervised": True, "selfmi": True, "tcmax": True, "comm": True, "gmc": False, "selfmi_ba": False}


def test_tables_count_its_runs_where_they_mean_what_they_did(folder: Path) -> None:
    """GMC was selected by task and contrast, and pair_estimator=ba had a loss that collapses: those count no more."""
    rows = [{"label": name, "overrides": overrides(name)} for name in ROWS]
    rows.append({"label": "gmc by total", "overrides": [*overrides("gmc"), "trainer.monitor=val/total"]})
    rows = [{**row, "overrides": [one for one in row["overrides"] if "progress" not in one]} for row in rows]
    table = {"title": "Old runs", "overrides": SETTINGS[1:], "seeds": 1, "rows": rows}
    table["measures"] = [{"name": "MAE", "metric": "mae"}]
    (folder / "old.yaml").write_text(yaml.safe_dump(table))
    code, printed = command(folder, "table=old.yaml", "dry=true", script="scripts/reproduce.py")
    assert code == 0, printed
    found = {line.split("  ")[1].strip(): "#" in line for line in printed.splitlines() if line.startswith("  ")}
    assert found == {**ROWS, "gmc by total": True}


def test_a_key_by_its_old_name_is_taken_told_once_and_resumes_an_old_run(folder: Path) -> None:
    old = [*overrides("selfmi_unfinished"), "method.alpha=0.1", "method.beta=0.1"]  # the defaults, by their old names
    path = folder / "outputs" / "runs" / "selfmi_unfinished"
    code, printed = command(folder, *old, f"resume={path}", f"paths.data={folder / 'data'}")
    assert code == 0, printed
    assert printed.count("method.alpha is now method.cpc_weight") == 1
    assert printed.count("method.beta is now method.pair_weight") == 1
    stored = yaml.safe_load((path / "config.yaml").read_text())["method"]
    assert (stored["cpc_weight"], stored["pair_weight"]) == (0.1, 0.1)
    assert not {"alpha", "beta"} & stored.keys()
    assert json.loads((path / "result.json").read_text())["resumed_at"] == [11]


def test_renamed_keys_leave_hashes_and_other_methods_keys_alone() -> None:
    new = compose_config(["method=selfmi", "method.alpha=0.25"])
    assert new["method"]["cpc_weight"] == 0.25
    assert config_hash(new) == config_hash(with_old_names(new))
    assert "alpha" in with_old_names(new)["method"]
    mixed = compose_config(["experiment=m3ixup_mosi", "method.alpha=0.5"])
    assert mixed["method"]["mixup_alpha"] == 0.5
    assert "mixup_alpha" in with_old_names(compose_config(["method=supervised"]))["method"]
    other = compose_config(["method=selfmi", "method.cpc_weight=0.5"])
    assert differences(new, other) == ["method.cpc_weight (0.25 there, 0.5 now)"]
