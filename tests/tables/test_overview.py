"""dry=true: the matrix of rows by seeds, and what stands around it."""

from __future__ import annotations

import fcntl
from dataclasses import replace
from pathlib import Path

import pytest
from planned_cases import begin, finish, write_table

from trivium.cli.reproduce import main
from trivium.tables.definition import Row, Table
from trivium.tables.estimate import Estimate
from trivium.tables.measures import Measure
from trivium.tables.overview import overview
from trivium.tables.plan import plan

ROWS = (Row("Supervised", ()), Row("TCMax", ("method=tcmax",)))
MEASURES = (Measure("x", metric="mae"), Measure("y", metric="mae", subset="text"))
TABLE = Table("own", "T", ("data=fixture", "trainer.max_epochs=2"), 3, ROWS, MEASURES, {})


def test_each_state_has_its_mark_and_its_count(tmp_path: Path) -> None:
    runs = plan(TABLE, 3, tmp_path)
    finish(runs[0])
    (runs[0].directory.path / "subsets.csv").touch()
    finish(runs[1])
    begin(runs[2], 1)
    begin(runs[3], 1)
    gone = [*runs[:5], replace(runs[5], lacking="prepare it")]
    with (runs[3].directory.path / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # as train.py does
        text = overview([gone], 1, Estimate())
    assert text.splitlines() == [
        "own           seed 1 2 3   a run",
        "  Supervised       # ~ .   10 s",
        "  TCMax            e > -   10 s",
        "  no data: prepare it (docs/data.md says where to get it)",
        "",
        "6 runs: # 1 done   e 1 to evaluate   > 1 running   ~ 1 interrupted   . 1 to do   - 1 no data",
        "time left: 24 s",  # two of them were trained for 3 s before
    ]


def test_columns_of_many_seeds_stay_below_their_heads(tmp_path: Path) -> None:
    lines = overview([plan(TABLE, 11, tmp_path)], 1, Estimate()).splitlines()
    assert lines[0].index(" 11 ") + 2 == len(lines[1]) - 1
    assert lines[1].count(".") == 11


def test_each_data_set_has_a_matrix_unless_there_are_no_data(tmp_path: Path) -> None:
    parts = [plan(replace(TABLE, data=data), 1, tmp_path) for data in ("fixture/a", "fixture/b")]
    parts[1] = [replace(run, lacking="prepare it") for run in parts[1]]
    text = overview(parts, 2, Estimate())
    assert "fixture/a     seed 1   a run\n  Supervised       .\n" in text
    assert "\nfixture/b\n  no data: prepare it (docs/data.md says where to get it)\n" in text
    assert "time left with 2 at once: not known" in text


def test_commands_are_printed_only_if_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TRIVIUM_DATA", str(tmp_path / "data"))
    table = write_table(tmp_path, [{"label": "A"}, {"label": "B", "overrides": ["method=tcmax"]}])
    call = [f"table={table}", f"outputs={tmp_path / 'outputs'}", "dry=true"]
    assert main(call) == 0
    assert "train.py" not in capsys.readouterr().out
    assert main([*call, "commands=true"]) == 0
    printed = capsys.readouterr().out
    assert printed.count("trivium train data=mosi ") == 2
    assert "no data      B, mosi, seed 1\n  trivium train data=mosi method=tcmax seed=1 run.dir=" in printed
    assert list(tmp_path.iterdir()) == [table]
