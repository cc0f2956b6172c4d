"""Situations: a table's rows once more for each of them, with settings that are searched once, or were found before."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from planned_cases import finish, write_table

import trivium
from trivium.cli.reproduce import main
from trivium.tables.collect import collect
from trivium.tables.datasets import part_of, parts_of
from trivium.tables.definition import Table, read_table
from trivium.tables.estimate import Estimate
from trivium.tables.figure import write_figures
from trivium.tables.markdown import markdown
from trivium.tables.overview import overview
from trivium.tables.plan import Planned, plan, plan_parts
from trivium.tables.write_files import table_texts

ROWS = [{"label": "A"}, {"label": "B", "overrides": ["method=gmc", "data.labelled=0.5"]}]
SITUATIONS = {"all labels": [], "few": ["data.labelled=0.1"]}
# Leaves two numbers to search.
FIXED = ["encoder=identity", "encoder.out=16", "encoder.pool=mean", "fusion=concat"]
SEARCHED = {"label": "A", "overrides": FIXED, "search": {"sweep": "supervised", "trials": 2}}


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TRIVIUM_DATA", str(tmp_path / "data"))
    return write_table(tmp_path, ROWS, datasets=["fixture", "mosi"], situations=SITUATIONS, baseline="A")


def planned(table: Table, folder: Path, seeds: int = 1) -> list[Planned]:
    return plan(table, seeds, folder / "runs")


def test_rows_are_repeated_for_each_situation_whose_settings_win_over_theirs(file: Path) -> None:
    parts = parts_of(read_table(file))
    sections = ["fixture: all labels", "fixture: few", "mosi: all labels", "mosi: few"]
    assert [part.section for part in parts] == sections
    assert [part.section for part in parts_of(read_table(file), "mosi/x")] == ["mosi/x: all labels", "mosi/x: few"]
    labelled = {
        (part.section, run.row.label): [word for word in run.overrides if word.startswith("data.labelled=")]
        for part in parts[:2]
        for run in planned(part, file.parent)
    }
    assert labelled == {
        ("fixture: all labels", "A"): [],
        ("fixture: all labels", "B"): ["data.labelled=0.5"],
        ("fixture: few", "A"): ["data.labelled=0.1"],
        ("fixture: few", "B"): ["data.labelled=0.1"],
    }
    names = {run.name for part in parts[:2] for run in planned(part, file.parent)}
    assert "A, fixture: few, seed 1" in names
    assert len(names) == 4


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"situations": ["few"]}, "situations: expected names, each with a list of overrides, found"),
        ({"situations": {3: []}}, "situations: expected names, each with a list of overrides, found"),
        ({"situations": {"few": "data.labelled=0.1"}}, "situations.few: expected a list of text"),
        ({"situations": {"a: b": []}}, "expected a name with letters or digits and without a colon, found 'a: b'"),
        ({"situations": {"%": []}}, "expected a name with letters or digits and without a colon, found '%'"),
        ({"situations": SITUATIONS, "datasets": None}, "situations: the table needs `datasets`"),
        (
            {"settings_from": "none.csv"},
            "settings_from: .*none.csv: no such file; expected the searches.csv of a table",
        ),
        ({"rows": {"of": "own2", "labels": ["A"]}}, "table=own2: no such table"),
        ({"rows": {"of": "other", "labels": ["C"]}}, "rows.labels: table other has no row 'C'"),
        ({"rows": {"of": "other"}}, "rows: labels missing"),
        ({"rows": {"of": "own", "labels": ["A"]}}, "rows.of: own takes its rows from a table itself; name that one"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, values: dict[str, Any], message: str) -> None:
    write_table(tmp_path, ROWS).rename(tmp_path / "other.yaml")
    file = write_table(tmp_path, ROWS)
    node = {**yaml.safe_load(file.read_text()), **values}
    node = {key: value for key, value in node.items() if value is not None}
    file.write_text(yaml.safe_dump(node))
    with pytest.raises(ValueError, match=message):
        read_table(file)


def test_rows_of_another_table_are_those_with_their_searches(tmp_path: Path) -> None:
    write_table(tmp_path, [*ROWS, {**SEARCHED, "label": "C"}]).rename(tmp_path / "other.yaml")
    file = write_table(tmp_path, ROWS)
    node = {**yaml.safe_load(file.read_text()), "rows": {"of": "other", "labels": ["C", "A"]}}
    file.write_text(yaml.safe_dump(node))
    other, own = read_table(tmp_path / "other.yaml"), read_table(file)
    assert own.rows == (other.rows[2], other.rows[0])


def test_a_search_is_done_once_for_all_situations_of_a_data_set(tmp_path: Path) -> None:
    table = read_table(write_table(tmp_path, [SEARCHED], datasets=["fixture"], situations=SITUATIONS))
    runs = [run for part in parts_of(table) for run in planned(part, tmp_path)]
    (folder,) = {run.study.folder for run in runs if run.study}
    text = overview([planned(part, tmp_path) for part in parts_of(table)], 1, Estimate())
    assert "1 search of 2 trials" in text
    folder.mkdir(parents=True)
    head = "number,state,value,optimizer.lr,optimizer.weight_decay,fusion.dropout,seconds,run,error"
    lines = ["0,complete,0.9,0.002,0.01,0.1,3.0,,", "1,complete,0.8,0.005,0.01,0.1,3.0,,"]
    (folder / "trials.csv").write_text("\n".join([head, *lines]) + "\n")
    every, few = ((planned(part, tmp_path))[0] for part in parts_of(table))
    assert {"optimizer.lr=0.005", "fusion.dropout=0.1"} <= set(every.overrides) & set(few.overrides)
    assert "data.labelled=0.1" in few.overrides
    assert every.identity != few.identity


def test_no_command_line_is_composed_twice_for_several_situations(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = read_table(write_table(tmp_path, [SEARCHED, *ROWS[1:]], datasets=["fixture"], situations=SITUATIONS))
    alone = [planned(part, tmp_path) for part in parts_of(table)]
    lines: list[str] = []
    load = ConfigLoaderImpl.load_configuration

    def noted(loader: Any, name: str, overrides: list[str], mode: Any) -> Any:
        lines.append(" ".join(overrides))
        return load(loader, name, overrides, mode)

    monkeypatch.setattr(ConfigLoaderImpl, "load_configuration", noted)
    together = plan_parts(parts_of(table), 1, tmp_path / "runs")
    assert len(lines) == len(set(lines)) > len(SITUATIONS)
    assert [[run.name for run in part] for part in together] == [[run.name for run in part] for part in alone]
    assert [[run.identity for run in part] for part in together] == [[run.identity for run in part] for part in alone]


FOUND = """data,row,space,objective,trial,state,value,seconds,chosen,settings
mosi/a,A,supervised,val/mae,0,complete,0.9,3.0,,optimizer.lr=0.5
mosi/a,A,supervised,val/mae,1,complete,0.8,3.0,yes,"optimizer.lr=0.02 method.head_hidden=[64, 32] fusion.dropout=0.3"
fixture,A,supervised,val/mae,1,complete,0.8,3.0,yes,optimizer.lr=0.03
"""


def found_table(folder: Path, **more: Any) -> Table:
    (folder / "found.csv").write_text(FOUND)
    return read_table(write_table(folder, [SEARCHED], datasets=["mosi", "fixture"], settings_from="found.csv", **more))


def test_settings_that_were_found_before_are_taken_and_nothing_is_searched(tmp_path: Path) -> None:
    table = found_table(tmp_path, situations=SITUATIONS)
    for part in parts_of(table, "mosi/a"):
        (run,) = planned(part, tmp_path)
        assert not run.waits
        chosen = {"optimizer.lr=0.02", "method.head_hidden=[64, 32]", "fusion.dropout=0.3", *FIXED}
        assert chosen <= set(run.overrides)
    # The name alone means the only set of that name.
    assert "optimizer.lr=0.02" in planned(parts_of(table, "mosi")[0], tmp_path)[0].overrides
    runs = [planned(part, tmp_path) for part in parts_of(table, "fixture")]
    assert "trials" not in overview(runs, 1, Estimate())
    for run in runs[0]:
        finish(run)
    page = markdown([collect(runs[0][0].table, runs[0])], [])
    assert "| A | supervised | earlier | val/mae of seed 1 | 0.8 (trial 1) | optimizer.lr=0.03 |" in page
    assert "Searched rows: settings that the searches of an earlier table chose" in page


def test_settings_that_are_not_in_the_file_are_named(tmp_path: Path) -> None:
    table = found_table(tmp_path)
    with pytest.raises(ValueError, match=r"found.csv: has no settings for data set 'mosi/b'.*; it has mosi/a, fixture"):
        planned(part_of(table, "mosi/b"), tmp_path)
    (tmp_path / "found.csv").write_text(FOUND.replace("fixture,A", "fixture,Z"))
    other = read_table(tmp_path / "own.yaml")
    with pytest.raises(ValueError, match=r"found.csv: has no settings for row 'A' on fixture.*; it has Z"):
        planned(part_of(other, "fixture"), tmp_path)
    (tmp_path / "found.csv").write_text(FOUND.replace(",yes,", ",,"))
    with pytest.raises(ValueError, match=r"found\.csv: no trial is chosen in it"):
        read_table(tmp_path / "own.yaml")


def test_a_file_of_another_space_is_refused(tmp_path: Path) -> None:
    found_table(tmp_path)
    (tmp_path / "found.csv").write_text(FOUND.replace(",supervised,", ",gmc,"))
    table = read_table(tmp_path / "own.yaml")
    with pytest.raises(ValueError, match=r"search: supervised, but .*found.csv has settings of the space gmc"):
        planned(part_of(table, "fixture"), tmp_path)


def test_a_searched_row_searches_from_the_other_ones_unchanged_run(tmp_path: Path) -> None:
    rows = [{"label": "A"}, {**SEARCHED, "label": "B", "start_from_row": "A"}]
    table = read_table(write_table(tmp_path, rows, datasets=["fixture"], situations=SITUATIONS))
    runs = {(run.row.label, run.table.situation): run for part in parts_of(table) for run in planned(part, tmp_path)}
    every, few = (runs["B", name].study for name in SITUATIONS)
    assert every is not None
    assert few is not None
    assert every.folder == few.folder
    assert few.start == runs["A", "all labels"].directory
    changed = read_table(write_table(tmp_path, rows, datasets=["fixture"], situations={"few": ["data.labelled=0.1"]}))
    with pytest.raises(ValueError, match="begins from row 'A', and no situation leaves all as it is"):
        planned(parts_of(changed)[0], tmp_path)


def test_a_setting_of_the_command_line_does_not_make_situations_alike(file: Path) -> None:
    table = replace(read_table(file), settings=("data.labelled=0.5",))
    with pytest.raises(ValueError, match=r"data\.labelled: the situation 'few' of table own sets it"):
        parts_of(table)


def test_situations_may_name_the_data_set(tmp_path: Path) -> None:
    situations = {"other": ["data.store=stores/{data}.h5"]}
    table = read_table(write_table(tmp_path, ROWS, datasets=["fixture", "mosi"], situations=situations))
    assert [part.changes for part in parts_of(table)] == [
        ("data.store=stores/fixture.h5",),
        ("data.store=stores/mosi.h5",),
    ]


def test_results_keep_situations_apart(tmp_path: Path) -> None:
    table = read_table(write_table(tmp_path, ROWS, datasets=["fixture"], situations=SITUATIONS, seeds=2, baseline="A"))
    runs = [planned(part, tmp_path, 2) for part in parts_of(table)]
    for run in (run for part in runs for run in part):
        finish(run)
    for name, text in table_texts(tmp_path, [collect(part[0].table, part) for part in runs], []).items():
        (tmp_path / name).write_text(text)
    frame = trivium.results(tmp_path)
    assert set(frame["situation"]) == set(SITUATIONS)
    assert set(frame["feature_set"]) == {"fixture/own"}
    compared = trivium.compare(frame, baseline="A")
    assert len(compared) == 2 * len(frame.groupby(["label", "metric"]))


def test_trials_of_the_command_line_are_every_searched_rows(tmp_path: Path) -> None:
    table = read_table(write_table(tmp_path, [SEARCHED, {"label": "B"}], datasets=["fixture"]))
    more = table.with_trials(7)
    assert [row.search and row.search.trials for row in more.rows] == [7, None]
    plain = read_table(write_table(tmp_path, ROWS))
    with pytest.raises(ValueError, match="trials=7: table own: no row of it is searched"):
        plain.with_trials(7)
    with pytest.raises(ValueError, match=r"trials=7: table own: its settings are those of .*found.csv"):
        found_table(tmp_path).with_trials(7)


def test_files_name_situations_and_a_figure_shows_them_beside_each_other(tmp_path: Path) -> None:
    table = read_table(write_table(tmp_path, ROWS, datasets=["fixture"], situations=SITUATIONS, seeds=2, baseline="A"))
    runs = [planned(part, tmp_path, 2) for part in parts_of(table)]
    for run in (run for part in runs for run in part):
        finish(run)
    parts = [collect(part[0].table, part) for part in runs]
    pictures = write_figures(tmp_path, parts)
    over, first = pictures["fixture: all labels"]
    assert over[0] == "figure_over_fixture.png"
    assert first[0] == "figure_fixture_all_labels.png"
    assert [file for file, _ in pictures["fixture: few"]] == ["figure_fixture_few.png"]
    assert all((tmp_path / file).stat().st_size for files in pictures.values() for file, _ in files)
    texts = table_texts(tmp_path, parts, [], pictures)
    for name in ("table.csv", "values.csv"):
        lines = list(csv.DictReader(texts[name].splitlines()))
        assert list(dict.fromkeys(line["data"] for line in lines)) == ["fixture: all labels", "fixture: few"]
    page = texts["table.md"]
    assert "## fixture (fixture/own): all labels" in page
    assert "`trivium reproduce table=own data=fixture seeds=2`" in page


def test_a_call_for_one_data_set_keeps_the_situations_of_the_other(file: Path) -> None:
    table, out = read_table(file), file.parent / "outputs"
    for part in parts_of(table):
        for run in plan(part, 1, out / "tables" / "own" / "runs"):
            finish(run)
    for data in ("mosi", "fixture"):
        assert main([f"table={file}", f"outputs={out}", f"data={data}"]) == 0
    page = (out / "tables" / "own" / "table.md").read_text()
    heads = [line.removeprefix("## ") for line in page.splitlines() if line.startswith("## ")]
    assert [head.replace(" (fixture/own)", "").replace(" (mosi/own)", "") for head in heads] == [
        "fixture: all labels",
        "fixture: few",
        "mosi: all labels",
        "mosi: few",
    ]
