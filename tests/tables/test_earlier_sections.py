"""Calls for some of a table's data sets add up; nothing that was finished leaves the table by itself."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import pytest
from planned_cases import finish, write_table

from trivium.cli.reproduce import main
from trivium.tables.datasets import parts_of
from trivium.tables.definition import Table, read_table
from trivium.tables.earlier_sections import earlier_sections
from trivium.tables.finished import FinishedRuns
from trivium.tables.plan import plan

ROWS = [{"label": "A"}, {"label": "B", "overrides": ["method=tcmax"]}]


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A table of two data sets; of mosi two feature sets, and sims, have finished runs whose stores are not here."""
    monkeypatch.setenv("TRIVIUM_DATA", str(tmp_path / "data"))
    return write_table(tmp_path, ROWS, datasets=["mosi", "sims"], baseline="A")


def finish_all(file: Path, data: str, seeds: int = 1, *given: str) -> None:
    (part,) = parts_of(replace(read_table(file), settings=given), data)
    for run in plan(part, seeds, file.parent / "outputs" / "tables" / "own" / "runs"):
        finish(run)


def made(file: Path, *arguments: str) -> tuple[str, set[tuple[str, str]]]:
    """table.md, and the data sets and seeds of values.csv."""
    assert main([f"table={file}", f"outputs={file.parent / 'outputs'}", *arguments]) == 0
    folder = file.parent / "outputs" / "tables" / "own"
    with (folder / "values.csv").open(newline="") as lines:
        found = {(line["data"], line["seed"]) for line in csv.DictReader(lines)}
    return (folder / "table.md").read_text(), found


def headings(page: str) -> list[str]:
    return [line.removeprefix("## ") for line in page.splitlines() if line.startswith("## ")]


def test_a_second_call_keeps_the_section_of_the_first(file: Path) -> None:
    finish_all(file, "mosi/a", seeds=2)
    finish_all(file, "sims/own")
    finish_all(file, "mosi/b")
    made(file, "data=sims/own")
    made(file, "data=mosi/b")
    page, found = made(file, "data=mosi/a", "seeds=2")
    assert headings(page) == ["mosi/a", "mosi/b", "sims/own"]  # the table's order
    assert found == {("mosi/a", "1"), ("mosi/a", "2"), ("mosi/b", "1"), ("sims/own", "1")}
    assert f"`trivium reproduce table={file} data=mosi/a seeds=2` and " in page
    assert f"`trivium reproduce table={file} data=mosi/b,sims/own seeds=1`" in page
    folder = file.parent / "outputs" / "tables" / "own"
    figures = {"figure_mosi_a", "figure_mosi_b", "figure_sims_own"}
    assert {path.stem for path in folder.glob("figure*")} == figures
    again, _ = made(file, "data=mosi/b")  # the other's two seeds stay two
    assert again == page


def test_without_data_all_of_the_tables_are_there_and_what_was_written_stays(file: Path) -> None:
    finish_all(file, "mosi/a")
    made(file, "data=mosi/a")
    page, found = made(file)
    assert headings(page) == ["mosi", "mosi/a", "sims"]
    assert page.count("**Not prepared**") == 2
    assert found == {("mosi/a", "1")}


def test_a_section_of_other_settings_is_left_out_and_that_is_told(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its numbers would stand beside others as if they had been made alike."""
    finish_all(file, "mosi/a")
    finish_all(file, "mosi/b", 1, "optimizer.lr=0.5")
    made(file, "data=mosi/a")
    page, found = made(file, "data=mosi/b", "optimizer.lr=0.5")
    assert headings(page) == ["mosi/b"]
    assert found == {("mosi/b", "1")}
    assert "note: mosi/a: its section is left out: no run in " in capsys.readouterr().err
    folder = file.parent / "outputs" / "tables" / "own"
    assert {path.stem for path in folder.glob("figure*")} == {"figure_mosi_b"}
    assert len(list((folder / "runs").iterdir())) == 4
    page, _ = made(file, "data=mosi/a")  # and with its own settings it is back
    assert headings(page) == ["mosi/a"]


def test_what_the_table_has_no_longer_is_not_kept(file: Path) -> None:
    finish_all(file, "sims/own")
    made(file, "data=sims/own")
    table: Table = replace(read_table(file), datasets=("mosi",))
    folder = file.parent / "outputs" / "tables" / "own"
    assert earlier_sections(table, ["mosi"], folder, FinishedRuns(file.parent / "outputs")) == ([], [])


def test_a_table_without_data_sets_keeps_nothing(tmp_path: Path) -> None:
    (tmp_path / "values.csv").write_text("row,measure,seed,value,run\nA,MAE,1,0.5,runs/a\n")
    file = write_table(tmp_path, ROWS, datasets=["mosi"])
    assert earlier_sections(replace(read_table(file), datasets=()), [""], tmp_path, FinishedRuns(tmp_path)) == ([], [])
