"""The list of runs: `trivium runs`, whatever state a run is in."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from page_cases import run_at, scored, store_at
from trivium.cli.runs import main
from trivium.results.run_list import run_list
from trivium.runs.directory import RunDirectory


@pytest.fixture
def outputs(tmp_path: Path) -> Path:
    """A run in each state; run_at lets seed N begin on the Nth of January."""
    store, outputs = store_at(tmp_path / "made.h5"), tmp_path / "outputs"
    run_at(outputs / "runs" / "done", store, 4, method="selfmi", epochs=6)
    run_at(outputs / "runs" / "better", store, 1)
    run_at(outputs / "runs" / "killed", store, 2, epochs=3, finished=False)
    at(run_at(outputs / "sweeps" / "s" / "0", store, 5, finished=False), status="failed: NonFiniteLossError: at step 2")
    at(run_at(outputs / "sweeps" / "s" / "1", store, 3, finished=False), status="pruned: after epoch 2")
    (run_at(outputs / "runs" / "torn", store, 6) / "result.json").write_text('{"seed":')
    return outputs


def at(path: Path, **changes: Any) -> None:
    record = json.loads((path / "run.json").read_text())
    (path / "run.json").write_text(json.dumps(record | changes))


def test_each_state_is_told_and_the_newest_run_is_first(outputs: Path) -> None:
    runs = run_list(outputs)
    torn = outputs / "runs" / "torn" / "result.json"
    assert runs["status"].tolist()[0].startswith(f"damaged: {torn}: cannot be read")
    assert list(zip(runs["name"], runs["seed"], runs["status"], strict=True))[1:] == [
        ("sweeps/s/0", 5, "failed: NonFiniteLossError: at step 2"),
        ("runs/done", 4, "finished"),
        ("sweeps/s/1", 3, "pruned: after epoch 2"),
        ("runs/killed", 2, "unfinished, 3 epochs done"),
        ("runs/better", 1, "finished"),
    ]
    done = runs.set_index("name").loc["runs/done"]
    facts = {"method": "selfmi", "data": "made/v1", "epoch": 6, "metric": "MAE", "value": scored(4)["mae"]}
    assert {key: done[key] for key in facts} == facts


def test_a_run_that_a_process_works_on_is_running(outputs: Path) -> None:
    run = RunDirectory(outputs / "runs" / "killed")
    assert run.try_lock()
    assert run_list(run.path)[["name", "status"]].to_numpy().tolist() == [["killed", "running, 3 epochs done"]]
    run.release()


def test_the_verb_sorts_by_a_column(outputs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(outputs), "sort=test"]) == 0
    printed = capsys.readouterr().out
    lines = [line.split("│")[1].strip() for line in printed.splitlines() if line.startswith("│")]
    values = {f"runs/{name}": scored(seed)["mae"] for name, seed in (("done", 4), ("better", 1))}
    assert lines[:2] == sorted(values, key=lambda name: values[name])
    assert len(lines) == 6
    assert f"MAE {scored(4)['mae']:.3f}" in printed


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["nowhere"], "nowhere: no such folder"),
        (["sort=loss"], "sort=loss: expected name, method, data, seed, status, epoch, test or when"),
        (["a", "b"], "a b: expected one folder, found 2"),
    ],
)
def test_a_mistake_is_one_line(words: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    assert told in capsys.readouterr().err


def test_a_folder_without_runs_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path)]) == 0
    assert "no runs in it; trivium train makes one" in capsys.readouterr().out
