"""Which runs a table needs, where they lie, and how long what is left of them takes."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from trivium.config.compose import compose_config
from trivium.reports.definition import Measure, Row, Table
from trivium.reports.plan import merged, plan, seconds_left
from trivium.runs.directory import config_hash

MEASURE = Measure("x", metric="mae")
ROWS = (Row("Self-MI", ("method=selfmi",)), Row("Long", ("trainer.max_epochs=9",)))
TABLE = Table("own", "T", ("data=fixture", "trainer.max_epochs=2"), 2, ROWS, (MEASURE,), {"x": ("x",)})


def test_one_run_a_row_and_seed_with_whole_seeds_first(tmp_path: Path) -> None:
    runs = plan(TABLE, 2, tmp_path)
    assert [(run.row.label, run.seed) for run in runs] == [("Self-MI", 1), ("Long", 1), ("Self-MI", 2), ("Long", 2)]
    assert runs[1].overrides == ("data=fixture", "trainer.max_epochs=9", "seed=1")
    assert [run.status for run in runs] == ["to do"] * 4
    hashed = config_hash(compose_config(["data=fixture", "trainer.max_epochs=2", "method=selfmi", "seed=2"]))
    assert runs[2].directory.path == tmp_path / f"self_mi_s2_{hashed[:6]}"
    assert runs[2].arguments[-2:] == [f"run.dir={runs[2].directory.path}", "resume=auto"]


def test_a_row_whose_settings_change_gets_other_directories(tmp_path: Path) -> None:
    """Else its old numbers would stand under new settings."""
    before = [run.directory.path for run in plan(TABLE, 1, tmp_path)]
    changed = replace(TABLE, rows=(replace(ROWS[0], overrides=("method=selfmi", "method.alpha=0.2")), ROWS[1]))
    after = [run.directory.path for run in plan(changed, 1, tmp_path)]
    assert before[0] != after[0]
    assert before[1] == after[1]


def test_a_row_that_does_not_compose_is_named(tmp_path: Path) -> None:
    wrong = replace(TABLE, rows=(Row("Wrong", ("method=selfie",)),))
    with pytest.raises(ValueError, match=r"table own, row 'Wrong': .*selfie"):
        plan(wrong, 1, tmp_path)


def test_later_overrides_replace_earlier_ones_of_the_same_key() -> None:
    assert merged(["data=a", "x.y=1"], ["+z=1", "x.y=2"], ["data=b=c"]) == ["data=b=c", "x.y=2", "+z=1"]


def test_time_left_is_that_of_the_rows_own_runs_else_of_any(tmp_path: Path) -> None:
    runs = plan(TABLE, 3, tmp_path)
    assert seconds_left(runs, 1) is None
    finish(runs[0].directory.path, 10.0)  # Self-MI, seed 1
    assert seconds_left(runs, 2) == 5 * 10 / 2
    finish(runs[1].directory.path, 100.0)  # Long, seed 1
    finish(runs[2].directory.path, 20.0)  # Self-MI, seed 2
    assert seconds_left(runs, 1) == 15 + 2 * 100
    runs[3].directory.path.mkdir()
    runs[3].directory.config_file.write_text("{}")
    assert [run.status for run in runs] == ["done", "done", "done", "interrupted", "to do", "to do"]
    for run in runs:
        finish(run.directory.path, 1.0)
    assert seconds_left(runs, 1) == 0


def finish(path: Path, seconds: float) -> None:
    path.mkdir(exist_ok=True)
    (path / "result.json").write_text(json.dumps({"seconds": seconds}))
