"""In which order a table's runs are trained, and what a failed one takes with it. Nothing is trained here."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from threading import Event

import pytest

import trivium.reports.work as work
from trivium.reports.definition import Measure, Row, Table
from trivium.reports.plan import plan
from trivium.reports.processes import RunFailedError

ROWS = (Row("First", ("method=comm",)), Row("Second", ("method=supcon",), start="First"), Row("Other", ()))
TABLE = Table("own", "T", ("data=fixture",), 1, ROWS, (Measure("x", metric="mae"),), {"x": ("x",)})


def test_a_run_waits_for_the_one_that_it_begins_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, ended, other = [], [], Event()

    def train(arguments: Sequence[str], log: Path) -> None:
        begun.append(log.name.split("_")[0])
        if begun[-1] == "first":
            assert other.wait(30)  # with two jobs, Second's turn has come when Other has run
        ended.append(log.name.split("_")[0])
        if ended[-1] == "other":
            other.set()

    monkeypatch.setattr(work, "train", train)
    assert work.complete(plan(TABLE, 1, tmp_path), jobs=3, logs=tmp_path / "logs") == []
    assert begun.index("second") > 0
    assert ended == ["other", "first", "second"]


def test_what_begins_from_a_failed_run_fails_and_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def train(arguments: Sequence[str], log: Path) -> None:
        assert "second" not in log.name
        if "first" in log.name:
            log.write_text("error: broken\n")
            raise RunFailedError

    monkeypatch.setattr(work, "train", train)
    runs = plan(TABLE, 1, tmp_path)
    failures = {f.run.row.label: f.reason for f in work.complete(runs, jobs=1, logs=tmp_path / "logs")}
    told = f"the run that it begins from, {runs[0].directory.path}, failed"
    assert failures == {"First": "error: broken", "Second": told}
