"""Published results by source: the data file, ranges that mix nothing, and a verdict that only like numbers decide."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from table_cases import measured_of

from trivium.tables.collect import Measured, text_of
from trivium.tables.datasets import part_of
from trivium.tables.definition import Row, Table, read_table
from trivium.tables.latex import latex
from trivium.tables.markdown import markdown
from trivium.tables.measures import Measure
from trivium.tables.panels import write_panels
from trivium.tables.published_blocks import range_text
from trivium.tables.published_range import Range, comparable, range_of, verdict, verdict_of_row
from trivium.tables.published_results import Cell, cells_of, published_results
from trivium.tables.write_files import write_tables

MAE = Measure("MAE", metric="mae")
OURS = {"feature_set": "mosi/mmsa-unaligned-50", "modalities": "text+audio+vision"}
SAME = {"feature_set": "mmsa-unaligned-50", "text": "trained", "selection": "validation"}
STALE = {"LF-DNN", "TFN", "LMF", "MFN", "MulT", "MLF-DNN", "MTFN", "MLMF", "Self-MM"}


def cell(value: float, source: str = "S", std: float = math.nan, **facts: Any) -> Cell:
    return Cell(
        **{"metric": "mae", "value": value, "std": std, "kind": "rerun", "source": source, "features": "F", **facts}
    )


def measured(
    values: Sequence[float], cells: Sequence[Cell], text: str = "trained", unrun: str = "", **facts: str
) -> Measured:
    row = Row("Mix", (), results="Self-MM", cells=tuple(cells))
    table = Table("own", "T", (), len(values), (row,), (MAE,), {"MAE": ("MAE",)}, data="mosi", datasets=("mosi",))
    of_seeds = {"Mix": {"MAE": dict(enumerate(values, 1))}} if values else {}
    found = measured_of(table, of_seeds, **{**OURS, **facts})
    return replace(found, text={"Mix": text} if values else {}, unrun={"Mix": unrun} if unrun else {})


def test_the_file_has_every_number_of_self_mm_that_the_range_is_known_for() -> None:
    """As counted by hand in the sources: MAE .708 to .758 over 13 of them, and ALMT's .683 selected on test."""
    of_mae = [c for c in cells_of("mosi", "Self-MM") if c.metric == "mae"]
    assert range_of(of_mae) == Range(0.708, 0.758, len({c.source for c in of_mae}))
    (almt,) = (c for c in cells_of("mosi", "ALMT") if c.metric == "mae" and c.value == 0.683)
    assert (almt.selection, almt.kind) == ("test", "authors")
    assert {data: sum(map(len, of.values())) for data, of in published_results().items()} == {
        **{"mosi": 594, "mosei": 396, "sims": 232, "simsv2": 114}
    }


def test_the_nine_stale_f1_of_sims_and_no_others_of_that_table_are_flawed() -> None:
    """MMSA corrected F1 of EF-LSTM and Graph-MFN alone; TETFN and CENET came later."""
    flawed = {
        method: c.flaw
        for method, cells in published_results()["sims"].items()
        for c in cells
        if c.source.startswith("thuiar/MMSA@") and c.metric == "f1" and c.flaw
    }
    assert {method for method, flaw in flawed.items() if flaw == "swapped"} == STALE
    assert {flaw for method, flaw in flawed.items() if method not in STALE} <= {"constant", "doubtful"}


@pytest.mark.parametrize("data", ["mosi", "mosei"])
def test_f1_of_the_metric_that_almt_and_lnln_had_until_2025_is_flawed(data: str) -> None:
    theirs = ("ALMT: Zhang", "LNLN: Zhang")
    for method in ("ALMT", "LNLN"):
        of_f1 = [c for c in cells_of(data, method) if c.metric.startswith("f1") and c.source.startswith(theirs)]
        assert of_f1
        assert {c.flaw for c in of_f1} == {"swapped"}


def test_a_range_is_of_sources_and_its_spread_has_their_deviations() -> None:
    cells = [cell(0.70, "A", 0.02), cell(0.75, "B"), cell(0.74, "B")]
    assert range_of(cells) == Range(0.70, 0.75, 2)
    assert range_of(cells, spread=True) == Range(pytest.approx(0.68), 0.75, 2)
    assert range_text(MAE, range_of(cells), 1) == "0.700 to 0.750 (2, 1 on test)"


@pytest.mark.parametrize(
    ("change", "text", "features"),
    [
        ({"feature_set": "mmsa-aligned-50"}, "trained", {}),
        ({"feature_set": ""}, "trained", {}),
        ({"text": "frozen"}, "trained", {}),
        ({"text": ""}, "trained", {}),
        ({"selection": "test"}, "trained", {}),
        ({"selection": ""}, "trained", {}),
        ({"flaw": "swapped"}, "trained", {}),
        ({}, "frozen", {}),
        ({}, "trained", {"feature_set": "mosi/mosi_text_audio"}),
        ({}, "trained", {"modalities": "text+audio"}),
    ],
)
def test_what_is_not_like_ours_judges_nothing(change: dict[str, str], text: str, features: dict[str, str]) -> None:
    part = measured([0.7, 0.72], [cell(0.5, **{**SAME, **change})], text, **features)
    assert comparable(part, part.table.rows[0], MAE) == []
    assert verdict(part, part.table.rows[0], MAE) == ""
    assert verdict_of_row(part, part.table.rows[0]) == "nothing published on these features"


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ([0.70, 0.72, 0.71], "within"),
        ([0.60, 0.62, 0.61], "better"),
        ([0.80, 0.82, 0.81], "worse"),
        ([0.765], "within"),  # the upper source's deviation reaches .77
        ([0.775], "worse"),
        ([0.60, 0.72], "within"),  # the interval of our mean reaches the range
    ],
)
def test_the_verdict_compares_our_interval_with_the_spread(values: list[float], told: str) -> None:
    part = measured(values, [cell(0.70, "A", 0.01, **SAME), cell(0.75, "B", 0.02, **SAME)])
    assert verdict(part, part.table.rows[0], MAE) == told


def test_higher_is_better_where_the_metric_says_so() -> None:
    corr = Measure("MAE", metric="corr")
    part = measured([0.9, 0.91], [cell(0.7, metric="corr", **SAME)])
    assert verdict(part, part.table.rows[0], corr) == "better"


def test_a_page_shows_ranges_marks_flaws_sources_and_verdict(tmp_path: Path) -> None:
    cells = [
        *(cell(0.70, "A", **SAME), cell(0.80, "B"), cell(0.60, "C", selection="test", kind="authors")),
        cell(0.10, "D", flaw="doubtful", kind="authors"),
    ]
    part = measured([0.65, 0.66], cells)
    text = markdown([part], [])
    line = "| Mix[^1] | MAE | 0.655 ± 0.007 [2] | 0.600 (1 on test)† ‡1 | 0.700 to 0.800 (2) | - | "
    assert line + "validation 1, test 1, not said 1 | 0.700 | better |" in text
    assert "| Mix | better in MAE |" in text
    assert "[^1]: Self-MM on mosi. authors: C; D. re-run: A; B" in text
    assert "‡: so many more are left out" in text
    assert "better in MAE" in latex([part])
    write_tables(tmp_path, [part], [])
    with (tmp_path / "published.csv").open(newline="") as file:
        lines = {line["source"]: line for line in csv.DictReader(file)}
    assert [lines[source]["same_features"] for source in "ABCD"] == ["True", "False", "False", "False"]
    assert (lines["C"]["selection"], lines["D"]["flaw"], lines["A"]["value"]) == ("test", "doubtful", "0.7")
    with (tmp_path / "table.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert [float(row["published_low"]), float(row["published_high"]), row["published_verdict"]] == [0.7, 0.7, "better"]
    write_tables(tmp_path, [measured([0.65], [])], [])
    assert not (tmp_path / "published.csv").exists()


def test_a_row_that_was_not_run_says_why() -> None:
    part = measured([], [cell(0.70, **SAME)], unrun="BERT is not here")
    assert "| Mix | not run: BERT is not here |" in markdown([part], [])


def test_ticks_are_drawn_for_sound_results_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[tuple[float, str, float]] = []
    from matplotlib.axes import Axes

    plot = Axes.plot

    def noted(axes: Axes, *places: Any, **style: Any) -> Any:
        if style.get("zorder") == 2:
            drawn.append((places[0][0], style["marker"], style["alpha"]))
        return plot(axes, *places, **style)

    monkeypatch.setattr(Axes, "plot", noted)
    cells = [cell(0.7, "A", **SAME), cell(0.8, "B", selection="test"), cell(0.1, "C", flaw="swapped")]
    write_panels(tmp_path / "figure", measured([0.7, 0.71], cells))
    assert drawn == [(0.7, "|", 1.0), (0.8, "x", 0.5)]
    assert (tmp_path / "figure.png").is_file()


def test_text_is_trained_frozen_or_of_another_model() -> None:
    bert = {"_target_": "trivium.encoders.pretrained.Pretrained", "model": "x/bert-base-uncased", "finetune": True}
    lstm = {"_target_": "trivium.encoders.recurrent.LSTM"}
    assert text_of({"encoder": lstm, "encoders": {"text": bert}}) == "trained"
    assert text_of({"encoder": lstm, "encoders": {"text": {**bert, "finetune": False}}}) == "frozen"
    assert text_of({"encoder": lstm, "encoders": {"audio": bert}}) == "frozen"
    assert text_of({"encoder": lstm, "encoders": {"text": {**bert, "model": "minilm"}}}) == ""
    assert text_of({"encoder": lstm, "encoders": {"text": {**bert, "random_init": True}}}) == ""


def table_file(folder: Path, published: Any, **more: Any) -> Path:
    rows = [{"label": "A", "published": published}]
    file = folder / "own.yaml"
    file.write_text(
        yaml.safe_dump({"title": "T", "rows": rows, "measures": [{"name": "MAE", "metric": "mae"}], **more})
    )
    return file


def test_a_row_gets_its_methods_results_on_each_data_set(tmp_path: Path) -> None:
    table = read_table(table_file(tmp_path, "Self-MM", datasets=["mosi", "sims"]))
    for data in ("mosi", "sims"):
        assert part_of(table, data).rows[0].cells == cells_of(data, "Self-MM") != ()


@pytest.mark.parametrize(
    ("published", "more", "told"),
    [
        ("Self-M", {"datasets": ["mosi"]}, "no published results of 'Self-M'; nearest is Self-MM"),
        ("Self-MM", {}, "the table needs `datasets`"),
    ],
)
def test_a_name_without_results_is_refused(tmp_path: Path, published: str, more: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match="rows: A: published") as error:
        read_table(table_file(tmp_path, published, **more))
    assert told in str(error.value)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"kind": "rumour"}, "kind: expected one of authors, rerun, quoted, found 'rumour'"),
        ({"selection": "tset"}, "selection: expected one of validation, test, found 'tset'"),
        ({"values": {"cor": 0.7}}, "no such metric; nearest is corr"),
        ({"values": {"acc7": 46.7}}, "expected 0 to 1, shares in [0, 1], found 46.7"),
        ({"values": {"mae": "0.7"}}, "expected a number or"),
        ({"seeds": True}, "seeds: expected how many, found True"),
        ({"flaws": {"corr": "swapped"}}, "flaws.corr: expected"),
        ({"sorce": "S"}, "no key 'sorce'; nearest is source"),
        ({"source": ""}, "source: expected some text"),
    ],
)
def test_a_mistake_in_the_file_is_named(tmp_path: Path, change: dict[str, Any], told: str) -> None:
    entry = {"kind": "rerun", "source": "S", "features": "F", "values": {"mae": 0.7}, **change}
    (tmp_path / "results.yaml").write_text(yaml.safe_dump({"mosi": {"A": [entry]}}))
    with pytest.raises(ValueError, match="mosi: A") as error:
        published_results(tmp_path / "results.yaml")
    assert told in str(error.value)
    assert str(tmp_path / "results.yaml") in str(error.value)


def test_one_source_reports_a_metric_once(tmp_path: Path) -> None:
    entry = {"kind": "rerun", "source": "S", "features": "F", "values": {"mae": 0.7}}
    (tmp_path / "results.yaml").write_text(yaml.safe_dump({"mosi": {"A": [entry, entry]}}))
    with pytest.raises(ValueError, match="mosi: A: mae, S, F stands there twice"):
        published_results(tmp_path / "results.yaml")
