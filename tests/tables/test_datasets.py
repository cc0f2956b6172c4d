"""A table's data sets: its rows for each, what the command line chooses, and what is not there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from trivium.cli.reproduce import main
from trivium.tables.datasets import parts_of
from trivium.tables.definition import Table, read_table
from trivium.tables.plan import plan

TABLE: dict[str, Any] = {
    "title": "T",
    "datasets": ["mosi", "sims/own"],
    "overrides": ["trainer.max_epochs=1"],
    "rows": [
        {"label": "A", "overrides": ["experiment=tcmax_{data}"]},
        {
            "label": "B",
            "overrides": ["method=supcon"],
            "start_from_row": "A",
            "published": {"data": "sims", "source": "S", "features": "F", "values": {"Acc-2": 80}},
        },
    ],
    "measures": [
        {"name": "MAE", "metric": "mae"},
        {"name": "Acc-2", "metric": "acc2"},
        {"name": "Non0", "metric": "acc2_non0"},
        {"name": "joint", "probe": "multimodal", "of": "joint"},
    ],
}


def table(folder: Path, **changes: Any) -> Table:
    (folder / "own.yaml").write_text(yaml.safe_dump({**TABLE, **changes}))
    return read_table(folder / "own.yaml")


def test_rows_are_repeated_with_the_measures_that_each_data_set_has(tmp_path: Path) -> None:
    mosi, sims = parts_of(table(tmp_path))
    assert (mosi.data, mosi.overrides) == ("mosi", ("data=mosi", "trainer.max_epochs=1"))
    assert sims.overrides == ("data=sims", "data.features=own", "trainer.max_epochs=1")
    assert [part.rows[0].overrides for part in (mosi, sims)] == [("experiment=tcmax_mosi",), ("experiment=tcmax_sims",)]
    assert [measure.name for measure in mosi.measures] == ["MAE", "Non0", "joint"]
    assert [measure.name for measure in sims.measures] == ["MAE", "Acc-2", "joint"]
    assert [len(part.rows[1].published) for part in (mosi, sims)] == [0, 1]


@pytest.mark.parametrize(
    ("wish", "chosen"),
    [("sims", ["sims/own"]), ("mosi/x", ["mosi/x"]), ("sims,mosi", ["sims/own", "mosi"]), ("mosi/a,mosi/b", None)],
)
def test_the_command_line_chooses(tmp_path: Path, wish: str, chosen: list[str] | None) -> None:
    assert [part.data for part in parts_of(table(tmp_path), wish)] == (chosen or wish.split(","))


@pytest.mark.parametrize(
    ("changes", "wish", "told"),
    [
        ({}, "moso", "has no data set 'moso'; nearest is mosi; it has mosi, sims"),
        ({}, "mosi,mosi", "one data set stands there twice"),
        ({"datasets": ["mosy"]}, "", "datasets: mosy: no such choice"),
        ({"measures": TABLE["measures"][2:3], "datasets": ["sims"]}, "", "none is one of sims's"),
    ],
)
def test_what_cannot_be_chosen_is_told(tmp_path: Path, changes: dict[str, Any], wish: str, told: str) -> None:
    rows = [{"label": "A"}] if changes else TABLE["rows"]
    with pytest.raises(ValueError, match=r"data|measures") as error:
        parts_of(table(tmp_path, rows=rows, **changes), wish)
    assert told in str(error.value)


def test_a_table_without_data_sets_is_its_own_part(tmp_path: Path) -> None:
    one = {key: value for key, value in TABLE.items() if key != "datasets"}
    (tmp_path / "own.yaml").write_text(yaml.safe_dump({**one, "rows": TABLE["rows"][:1]}))
    own = read_table(tmp_path / "own.yaml")
    assert parts_of(own) == [own]
    with pytest.raises(ValueError, match="data=mosi: table own has no data sets"):
        parts_of(own, "mosi")


def test_a_row_that_begins_from_another_has_that_ones_run_of_its_seed(tmp_path: Path) -> None:
    (_, sims) = parts_of(table(tmp_path))
    runs = plan(sims, 2, tmp_path)
    assert [(run.row.label, run.seed) for run in runs] == [("A", 1), ("B", 1), ("A", 2), ("B", 2)]
    for first, second in (runs[:2], runs[2:]):
        assert second.start is not None
        assert second.start.path == first.directory.path
        assert f"start_from={first.directory.path}" in second.overrides


def test_only_a_row_above_can_be_begun_from(tmp_path: Path) -> None:
    """Else a row could wait for itself."""
    with pytest.raises(ValueError, match="rows: B: start_from_row: 'A' is no row above it: there are none"):
        table(tmp_path, rows=TABLE["rows"][::-1])


def test_data_that_are_not_there_are_told_and_nothing_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TRIVIUM_DATA", str(tmp_path / "data"))
    table(tmp_path)
    arguments = [f"table={tmp_path / 'own.yaml'}", f"outputs={tmp_path / 'outputs'}", "seeds=1"]
    assert main([*arguments, "dry=true"]) == 0
    assert "4 runs: - 4 no data" in capsys.readouterr().out
    assert main(arguments) == 0
    page = (tmp_path / "outputs" / "tables" / "own" / "table.md").read_text()
    for data in ("mosi", "sims/own"):
        name = data.partition("/")[0]
        assert f"\n## {data}\n\n**Not prepared**: data={name}: no prepared store in {tmp_path / 'data' / name};" in page
        assert f"`trivium prepare data={name} source=FILE`" in page
    assert "not run" not in page
    assert not (tmp_path / "outputs" / "tables" / "own" / "runs").exists()
