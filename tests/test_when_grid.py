"""The grid of docs/when.md and the README: that of the committed tables, its cells and its mistakes."""

from __future__ import annotations

import re
from pathlib import Path
from types import ModuleType

import pandas as pd
import pytest

from site_build import docs_module

ROOT = Path(__file__).parents[1]


@pytest.fixture
def when_grid() -> ModuleType:
    return docs_module("when_grid")


@pytest.fixture
def table_file(when_grid: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Returns the place of the CSV of a table named few, which is the only one that the grid finds."""
    monkeypatch.setattr(when_grid, "ROOT", tmp_path)
    folder = tmp_path / "docs" / "results" / "few"
    folder.mkdir(parents=True)
    return folder / "table.csv"


def test_the_committed_grids_are_those_of_the_committed_tables(when_grid: ModuleType) -> None:
    """`python docs/site/when_grid.py` writes them anew."""
    for page in when_grid.PAGES:
        assert when_grid.with_grid(page) == page.read_text(encoding="utf-8"), page


def test_each_situation_has_its_section_with_its_command(when_grid: ModuleType) -> None:
    text = (ROOT / "docs" / "when.md").read_text(encoding="utf-8")
    sections = {
        re.sub(r"[^\w -]", "", part.partition("\n")[0]).lower().replace(" ", "-"): part
        for part in text.split("\n## ")[1:]
    }
    for situation in when_grid.SITUATIONS:
        assert f"table={situation.table} " in sections[situation.heading], situation
        if situation.file.is_file():
            assert f"results/{situation.table}/README.md" in sections[situation.heading], situation


def test_cells_have_the_verdicts_sign_and_the_difference_of_the_means(
    when_grid: ModuleType, table_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = [
        ("mosi: 5 %", "Supervised", "MAE", 1.204, ""),
        ("mosi: 5 %", "TCMax", "MAE", 1.1, "better"),
        ("mosi: 5 %", "GMC", "MAE", 2.25, "worse"),
        ("mosi: 5 %", "M3ixup", "MAE", 1.21, "same"),
        ("mosi: 5 %", "Self-MI", "MAE", 1.19, "not told"),
        ("mosi: 5 %", "Unimodal", "MAE", 1.203, "not told"),
        ("mosi: 10 %", "TCMax", "MAE", 0.5, "worse"),
        ("mosi: 5 %", "Supervised", "Acc", 0.7, ""),
        ("mosi: 5 %", "TCMax", "Acc", 0.75, "better"),
    ]
    pd.DataFrame(lines, columns=["data", "row", "measure", "mean", "verdict"]).to_csv(table_file, index=False)
    situation = when_grid.Situation
    few = [situation("5 %", "few", "few", "5 %", measure) for measure in ("MAE", "Acc")]
    monkeypatch.setattr(when_grid, "SITUATIONS", (*few, situation("none yet", "none", "none", "", "MAE")))
    mae, accuracy = (line.strip("| ").split("|") for line in when_grid.grid("docs/when.md").splitlines()[2:])
    columns = ["situation", "against", *when_grid.METHODS]
    cells = dict(zip(columns, (cell.strip() for cell in [*mae, *[""] * len(columns)]), strict=False))
    assert cells["situation"] == "[5 %](docs/when.md#few)"
    assert cells["against"] == "Supervised 1.20"
    assert [cells[row] for row in ("TCMax", "GMC", "M3ixup", "Self-MI", "Supervised", "Unimodal")] == [
        *("▲ -.10", "▼ +1.05", "= +.01", "? -.01", "", "? +.00"),
    ]
    assert [cell.strip() for cell in accuracy[1:6]] == ["Supervised 70 %", "", "", "", "▲ +5"]


def test_a_section_or_baseline_that_is_not_in_the_table_is_named(
    when_grid: ModuleType, table_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table_file.write_text("data,row,measure,mean,verdict\nmosi: 5 %,TCMax,MAE,1.0,\n")
    for section, told in (("25 %", "expected one section '25 %', found"), ("5 %", "no 'MAE' of 'Supervised'")):
        monkeypatch.setattr(when_grid, "SITUATIONS", (when_grid.Situation("x", "few", "few", section, "MAE"),))
        with pytest.raises(ValueError, match=told):
            when_grid.grid("")
    page = table_file.with_name("page.md")
    page.write_text("no marks")
    with pytest.raises(ValueError, match="expected the lines <!-- grid"):
        when_grid.with_grid(page)
