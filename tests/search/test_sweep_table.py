"""The table at the end of a grid: mean and deviation over seeds of each combination of what was varied."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from page_cases import run_at, scored, store_at
from trivium.runs.directory import RunDirectory
from trivium.search.scheduler import Job
from trivium.search.sweep_table import _fitting, print_sweep_table, summarise


@pytest.fixture
def grid(tmp_path: Path) -> list[Job]:
    """optimizer.lr=0.1,0.20000001 seed=3,1 and a third rate whose runs are not finished; two runs are in no order."""
    store, runs = store_at(tmp_path / "made.h5"), list[Job]()
    for lr in ("0.1", "0.20000001", "0.3"):
        for seed in (3, 1):
            path = run_at(tmp_path / "grid" / str(len(runs)), store, seed, epochs=seed + 4, finished=lr != "0.3")
            runs.append(Job(f"job {len(runs)}", RunDirectory(path), (), varied={"optimizer.lr": lr, "seed": str(seed)}))
    return runs


def test_a_row_is_a_combination_and_its_numbers_are_those_of_its_seeds(grid: list[Job], tmp_path: Path) -> None:
    print_sweep_table(tmp_path / "grid", grid)
    written = pd.read_csv(tmp_path / "grid" / "summary.csv", dtype={"optimizer.lr": str})
    assert written["optimizer.lr"].tolist() == ["0.1", "0.20000001"]
    assert written[["n", "seeds", "epochs"]].to_numpy().tolist() == [[2, "1 3", "5 7"]] * 2
    for metric in scored(1):
        values = [scored(seed)[metric] for seed in (1, 3)]
        assert written[metric].tolist() == pytest.approx([np.mean(values)] * 2, rel=1e-12)
        assert written[f"{metric}_std"].tolist() == pytest.approx([np.std(values, ddof=1)] * 2, rel=1e-12)


def test_the_terminal_shows_what_was_varied_and_what_to_type_next(
    grid: list[Job], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    print_sweep_table(tmp_path / "grid", grid)
    printed = capsys.readouterr().out
    values = [scored(seed)["acc7"] for seed in (1, 3)]
    (line,) = [line for line in printed.splitlines() if line.startswith("│ 0.1 ")]
    assert f"{100 * np.mean(values):.1f} ± {100 * np.std(values, ddof=1):.1f}" in line
    assert " 2 │  5, 7 │" in line
    assert "Acc-7, %" in printed
    assert f"trivium reproduce runs={tmp_path / 'grid'}" in printed


@pytest.mark.parametrize("width", [60, 80, 250])
def test_a_narrow_terminal_gets_the_metrics_below_each_other_and_no_cut_cell(grid: list[Job], width: int) -> None:
    console = Console(width=width, file=io.StringIO())
    for table in _fitting(summarise(grid), console):
        console.print(table)
    printed = console.file.getvalue()
    assert max(map(len, printed.splitlines())) <= width
    assert "…" not in printed
    assert printed.count("│ 0.1 ") == {60: 4, 80: 2, 250: 1}[width]
    assert printed.count("Acc-2 Non0, %") == 1


def test_a_metric_of_one_s_own_is_behind_the_others(
    grid: list[Job], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for job in grid[:2]:
        result = job.run.result()
        job.run.result_file.write_text(json.dumps(result | {"test": {"mine": 0.25, **result["test"]}}))
    print_sweep_table(tmp_path / "grid", grid)
    assert list(pd.read_csv(tmp_path / "grid" / "summary.csv"))[-2:] == ["mine", "mine_std"]
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("│ 0.1 ")]
    assert line.endswith("0.250 ± 0.000 │")


def test_one_seed_has_no_deviation(grid: list[Job], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    print_sweep_table(tmp_path / "grid", grid[::2])
    assert "±" not in capsys.readouterr().out
    assert not [name for name in pd.read_csv(tmp_path / "grid" / "summary.csv") if name.endswith("_std")]


def test_a_damaged_run_is_named_and_the_others_count(grid: list[Job], capsys: pytest.CaptureFixture[str]) -> None:
    grid[0].run.result_file.write_text("{")
    assert summarise(grid)["n"].tolist() == [1, 2]
    assert f"{grid[0].run.result_file}: cannot be read" in capsys.readouterr().err


def test_without_a_finished_run_nothing_is_written(grid: list[Job], tmp_path: Path) -> None:
    print_sweep_table(tmp_path / "grid", grid[4:])
    assert not (tmp_path / "grid" / "summary.csv").exists()
