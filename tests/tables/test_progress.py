"""What is said while a table is made: on a terminal bars that show epochs, elsewhere lines without control signs."""

from __future__ import annotations

import io
import time
from pathlib import Path

import pytest
from planned_cases import begin, finish
from rich.console import Console

from trivium.tables.definition import Measure, Row, Table
from trivium.tables.estimate import Estimate
from trivium.tables.plan import Planned, plan
from trivium.tables.progress import Progress

ROWS = (Row("A", ()), Row("[b]B[/b]", ("method=tcmax",)))
TABLE = Table("own", "T", ("data=fixture", "trainer.max_epochs=4"), 2, ROWS, (Measure("x", metric="mae"),), {})


@pytest.fixture
def runs(tmp_path: Path) -> list[Planned]:
    return plan(TABLE, 2, tmp_path)


def told(runs: list[Planned], terminal: bool) -> str:
    """A's first seed is done; B's runs and ends, A's second runs and fails."""
    printed = io.StringIO()
    console = Console(file=printed, force_terminal=terminal, width=100, _environ={})
    finish(runs[0], 40.0)
    with Progress(runs, 1, Estimate(), console) as progress:
        progress.begins(runs[1], time.monotonic(), 0.0)
        begin(runs[1], 3)
        progress.look([runs[3]])
        progress.look([runs[3]])
        progress._bars.refresh()
        finish(runs[1], 20.0)
        progress.ends(runs[1], time.monotonic() + 21.0)
        progress.begins(runs[2], time.monotonic(), 10.0)
        progress.ends(runs[2], time.monotonic(), "FAILED: error: broken", failed=True)
    return printed.getvalue()


def test_lines_elsewhere(runs: list[Planned]) -> None:
    text = told(runs, terminal=False)
    assert "\x1b" not in text
    assert text.splitlines() == [
        "1 of 4 runs are done; time left: 2 min, guessed for 2 runs",
        "[0/3] [b]B[/b], seed 1: begins",
        "[b]B[/b], seed 2: another process has it; waiting for that",
        "[1/3] [b]B[/b], seed 1: 21 s; time left: 60 s",
        "[1/3] A, seed 2: goes on",
        "[2/3] A, seed 2: FAILED: error: broken; time left: 20 s",
    ]


def test_bars_on_a_terminal_show_what_runs_and_its_epochs(runs: list[Planned]) -> None:
    text = told(runs, terminal=True)
    assert "epoch 3 of 4, 0 s" in text
    assert "0 of 3, time left: 1 min" in text or "0 of 3, time left: 2 min" in text
    assert "begins" not in text
    assert "[2/3] A, seed 2: FAILED: error: broken" in text


def test_nothing_to_do_is_one_line(runs: list[Planned]) -> None:
    printed = io.StringIO()
    for run in runs:
        finish(run)
    with Progress(runs, 1, Estimate(), Console(file=printed, force_terminal=True)):
        pass
    assert printed.getvalue() == "4 of 4 runs are done\n"
