"""Published numbers: how they are read, what stands beside them, and where the features are others."""

from __future__ import annotations

import csv
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from table_cases import ERRORS, compared

from trivium.tables.collect import Measured
from trivium.tables.definition import read_table
from trivium.tables.markdown import markdown
from trivium.tables.published import Published, read_published
from trivium.tables.write_files import write_tables

OURS = ("mosi/theirs", "text+audio")


def beside(published: Published, used: tuple[str, str] = OURS) -> Measured:
    found = compared(facts={"Mix": {"feature_set": used[0], "modalities": used[1]}})
    rows = tuple(replace(row, published=(published,)) if row.label == "Mix" else row for row in found.table.rows)
    return replace(found, table=replace(found.table, rows=rows))


def lines(folder: Path) -> dict[tuple[str, str], dict[str, str]]:
    with (folder / "table.csv").open(newline="") as file:
        return {(line["row"], line["measure"]): line for line in csv.DictReader(file)}


def test_a_number_stands_beside_ours_with_difference_and_source(tmp_path: Path) -> None:
    published = Published("A paper, table 2", "theirs", {"Corr text": (0.45, 0.01), "MAE text+audio": (0.5, math.nan)})
    found = beside(published)
    ours, errors = ERRORS[1, 2].mean(), ERRORS[1, 1].mean()
    text = markdown([found], [])
    around = f"{ours:.3f} ± {ERRORS[1, 2].std(ddof=1):.3f} [5]"
    assert f"| Mix | Corr text | {around} | 0.450 ± 0.010[^1] | {ours - 0.45:+.3f} |" in text
    assert f"| 0.500[^1] | {errors - 0.5:+.3f} |" in text
    assert text.endswith("\n[^1]: A paper, table 2; features: theirs\n")
    assert "GMC | Corr text" not in text
    write_tables(tmp_path, [found], [])
    line = lines(tmp_path)["Mix", "Corr text"]
    assert [float(line["published"]), float(line["published_std"])] == [0.45, 0.01]
    assert float(line["published_difference"]) == pytest.approx(ours - 0.45, abs=1e-12)
    assert (line["same_features"], line["published_source"]) == ("True", "A paper, table 2")
    assert lines(tmp_path)["GMC", "Corr text"]["published"] == ""


@pytest.mark.parametrize(
    ("used", "modalities", "marked"),
    [
        (OURS, (), False),
        (OURS, ("audio", "text"), False),
        (OURS, ("text", "audio", "vision"), True),
        (("mosi/ours", "text+audio"), (), True),
        (("theirs/ours", "text+audio"), (), True),
    ],
)
def test_other_features_are_marked(
    tmp_path: Path, used: tuple[str, str], modalities: tuple[str, ...], marked: bool
) -> None:
    found = beside(Published("S", "theirs", {"Corr text": (0.45, math.nan)}, modalities), used)
    text = markdown([found], [])
    (line,) = (line for line in text.splitlines() if "0.450" in line)
    assert ("†: our runs were on other features" in text) == marked
    assert ("0.450†[^1]" in line, line.endswith("† |")) == (marked, marked)
    write_tables(tmp_path, [found], [])
    assert lines(tmp_path)["Mix", "Corr text"]["same_features"] == str(not marked)


def test_a_feature_set_goes_by_its_own_name_or_with_its_data_set(tmp_path: Path) -> None:
    """As a table's heads and result.json name it."""
    for features, same in (("mosi/theirs", True), ("mosei/theirs", False)):
        write_tables(tmp_path, [beside(Published("S", features, {"Corr text": (0.45, math.nan)}))], [])
        assert lines(tmp_path)["Mix", "Corr text"]["same_features"] == str(same)


def test_a_row_of_which_nothing_is_known_says_so() -> None:
    text = markdown([beside(Published("Could not be read", "not known", {}))], [])
    assert "| Mix | - | - | none known[^1] | - |" in text
    assert "[^1]: Could not be read; features: not known" in text


def test_shares_are_in_percent_and_csv_has_shares(tmp_path: Path) -> None:
    found = compared(feature_set="mosi/theirs", modalities="text+audio")
    measures = tuple(replace(measure, metric="acc2_non0", subset="") for measure in found.table.measures)
    rows = tuple(
        replace(row, published=(Published("S", "theirs", {"Corr text": (40.0, 2.0)}),)) for row in found.table.rows
    )
    found = replace(found, table=replace(found.table, measures=measures, rows=rows))
    text = markdown([found], [])
    ours = 100 * ERRORS[1, 2].mean()
    assert f"| Mix | Corr text, % | {ours:.1f} ± " in text
    assert f"| 40.0 ± 2.0[^1] | {ours - 40:+.1f} |" in text
    assert "| Empty | Corr text, % | - | 40.0 ± 2.0[^1] | - |" in text
    write_tables(tmp_path, [found], [])
    line = lines(tmp_path)["Mix", "Corr text"]
    assert [float(line["published"]), float(line["published_std"])] == [0.4, 0.02]
    assert float(line["published_difference"]) == pytest.approx(ours / 100 - 0.4, abs=1e-12)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"source": ""}, "published.source: expected some text, found ''"),
        ({"sorce": "S"}, "no key 'sorce'; nearest is source"),
        ({"values": {"MAE": "0.5"}}, "values.MAE: expected a number or [mean, standard deviation], found '0.5'"),
        ({"values": {"MAE": [0.5]}}, "values.MAE: expected a number"),
        ({"values": {"MAE": True}}, "values.MAE: expected a number"),
        ({"values": [0.5]}, "values: expected measure: number"),
        ({"modalities": "text"}, "modalities: expected a list of text"),
    ],
)
def test_a_mistake_is_told_with_row_and_key(change: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match="rows: Mix: published") as error:
        read_published("Mix", {"source": "S", "features": "F", "values": {"MAE": 0.5}, **change})
    assert told in str(error.value)


def test_two_of_one_data_set_are_refused() -> None:
    one = {"source": "S", "features": "F", "values": {}, "data": "mosi"}
    with pytest.raises(ValueError, match="expected one a data set, found 2 for mosi, mosi"):
        read_published("Mix", [one, one])


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"values": {"MEA": 0.5}}, "no measure 'MEA'; nearest is MAE"),
        ({"data": "mosei"}, "published.data: 'mosei' is none of mosi"),
        ({"data": ""}, "published.data: '' is none of mosi"),
    ],
)
def test_what_the_table_does_not_have_is_refused(tmp_path: Path, change: dict[str, Any], told: str) -> None:
    published = {"source": "S", "features": "F", "values": {}, "data": "mosi", **change}
    rows = [{"label": "A", "published": published}]
    table = {"title": "T", "datasets": ["mosi"], "rows": rows, "measures": [{"name": "MAE", "metric": "mae"}]}
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(table))
    with pytest.raises(ValueError, match="rows: A: ") as error:
        read_table(tmp_path / "own.yaml")
    assert told in str(error.value)
