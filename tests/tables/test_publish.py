"""publish=DIR: what is written may be committed, and is whole: numbers, figures that the page shows, and no paths."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import pytest
from planned_cases import finish, write_table

from trivium.cli.reproduce import main
from trivium.tables.datasets import parts_of
from trivium.tables.definition import read_table
from trivium.tables.plan import plan
from trivium.tables.publish import without_paths

ROWS = [{"label": "A"}, {"label": "B", "overrides": ["method=tcmax"]}, {"label": "C", "overrides": ["method=gmc"]}]


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seeds of two rows; the third row has no data, as no store is here, and settings name a folder."""
    folder = tmp_path_factory.mktemp("published")
    file = write_table(folder, ROWS, seeds=2, baseline="A")
    data = f"paths.data={folder / 'private' / 'data'}"
    (part,) = parts_of(read_table(file))
    for run in plan(part, 2, folder / "outputs" / "tables" / "own" / "runs"):
        if run.row.label != "C":
            finish(run)
    call = [f"table={file}", f"outputs={folder / 'outputs'}", data, f"publish={folder / 'docs' / 'own'}"]
    assert main(call) == 0
    return folder / "docs" / "own"


def test_every_file_is_there_and_the_page_shows_every_figure(published: Path) -> None:
    figures = {f"{name}_mosi.{ending}" for name in ("figure", "curves") for ending in ("png", "pdf")}
    texts = {"README.md", "table.csv", "values.csv", "table.tex"}
    assert {path.name for path in published.iterdir()} == figures | texts
    page = (published / "README.md").read_text()
    assert re.findall(r"!\[.+\]\((.+)\)", page) == ["figure_mosi.png", "curves_mosi.png"]
    assert "| A | **1.016 ± 0.007** | **0.500 ± 0.000** |" in page.replace(" [2]", "")
    assert all((published / name).stat().st_size > 1000 for name in figures)


def test_no_file_has_a_path_of_this_machine(published: Path) -> None:
    for file in published.iterdir():
        content = file.read_bytes()
        assert b"private" not in content, file.name
        assert str(published.parents[1]).encode() not in content, file.name
    page = (published / "README.md").read_text()
    assert "`trivium reproduce table=.../own.yaml data=mosi seeds=2 paths.data=.../data`" in page
    assert "no prepared store in .../mosi;" in page


def test_values_name_their_run_and_not_where_it_lies(published: Path) -> None:
    with (published / "values.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == 2 * 2 * 2
    assert all(re.fullmatch(rf"{line['row'].lower()}_s{line['seed']}_[0-9a-f]{{6}}", line["run"]) for line in lines)


def test_the_tables_own_folder_says_where_the_runs_lie(published: Path) -> None:
    folder = published.parents[1] / "outputs" / "tables" / "own"
    with (folder / "values.csv").open(newline="") as file:
        for line in csv.DictReader(file):
            assert (folder / line["run"] / "result.json").is_file()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a /home/me/x/store.h5, b", "a .../store.h5, b"),
        ("data.store=/home/me/my-store_1.h5 x", "data.store=.../my-store_1.h5 x"),
        ("`run.dir=/a/b/c_s1_0123ab`", "`run.dir=.../c_s1_0123ab`"),
        ("'/a/b c/d'", "'.../b c/d'"),
        ("171/28/30 of https://github.com/a/b, doi 10.1/x.2 and/or docs/data.md", None),
        (r"\input{a/b} $\pm$ 1/2 </td> ~/x {a}/b/c", None),
    ],
)
def test_only_absolute_paths_are_shortened(text: str, expected: str | None) -> None:
    assert without_paths(text) == (text if expected is None else expected)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["dry=true", "publish=x"], "publish= does not go with dry=true"),
        (["commands=true"], "commands=true goes with dry=true"),
        ([f"publish={__file__}"], "expected a folder, found a file"),
        (["commands=1"], "commands=1: expected true or false"),
    ],
)
def test_what_does_not_go_together_is_told(
    arguments: list[str], told: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main([f"table={write_table(tmp_path, ROWS)}", f"outputs={tmp_path / 'o'}", *arguments]) == 2
    assert told in capsys.readouterr().err
    assert not (tmp_path / "o").exists()
