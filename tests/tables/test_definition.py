"""Every table that is there reads, and each of its rows is a command line that train.py takes; mistakes are named."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from trivium.config.check import compose_with_reference, problems_of
from trivium.config.compose import composer
from trivium.config.config_folder import TABLES
from trivium.config.limits import out_of_range
from trivium.config.reference import mismatches
from trivium.runs.config_hash import OF_A_TABLE
from trivium.tables.datasets import parts_of
from trivium.tables.definition import Row, find_table, read_table
from trivium.tables.measures import Measure
from trivium.tables.plan import merged

FILES = sorted(TABLES.glob("*.yaml"))
GOOD: dict[str, Any] = {
    "title": "T",
    "rows": [{"label": "A b+C", "overrides": ["method=selfmi"]}],
    "measures": [{"name": "x", "probe": "x", "of": "joint", "factor": "x", "modalities": "text"}],
}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_row_is_a_command_line_that_passes_the_check(file: Path) -> None:
    """On the first data set; on the others the rows that are written differently there, and one.

    Rows that are another table's are checked there, and one of them here.
    """
    first, *others = parts_of(read_table(file))
    are_taken = isinstance(yaml.safe_load(file.read_text())["rows"], dict)
    told = [(first, row) for row in first.rows[: 1 if are_taken else None]]
    for other in others:
        same = other.overrides[1:] == first.overrides[1:]
        differing = [(other, b) for a, b in zip(first.rows, other.rows, strict=True) if a.overrides != b.overrides]
        told += [] if are_taken else differing
        told += [(other, other.rows[0])] if same or are_taken else [(other, row) for row in other.rows]
    with composer() as session:
        for table, row in told:
            config, reference = compose_with_reference(session, merged(table.overrides, row.overrides))
            assert [*mismatches(config, reference), *out_of_range(config)] == [], (table.data, row.label)
            assert config["data"]["name"] == table.data.partition("/")[0] or not table.data


def test_a_table_is_no_choice_of_a_run() -> None:
    """Else `+table=NAME` would put rows and measures into a run's config."""
    with composer() as session:
        assert "table" not in session.groups()
    (problem,) = problems_of(["+table=interactions"])
    assert problem.startswith("table: no such group")


def test_what_a_table_asks_for(tmp_path: Path) -> None:
    other = {"name": "y", "metric": "acc2_non0", "factor": "x", "modalities": "text"}
    second = {"name": "z", "probe": "x", "of": "text", "factor": "x", "modalities": "text"}
    table = read_table(written(tmp_path, **{"measures": [*GOOD["measures"], other, second]}))
    assert (table.name, table.seeds, table.rows[0].slug) == ("own", 3, "a_b_c")
    assert table.measures[1] == Measure("y", metric="acc2_non0", factor="x", modalities="text")
    assert table.probes == {"x": ("joint", "text")}
    assert table.bars == {"x": ("x",), "y": ("y",), "z": ("z",)}


def test_a_label_in_another_script_names_its_runs_too() -> None:
    assert Row("自监督, Self-MI 50 %", ()).slug == "自监督_self_mi_50"
    assert OF_A_TABLE.fullmatch("自监督_self_mi_50_s1_0123ab")


def test_what_a_table_of_subsets_asks_for(tmp_path: Path) -> None:
    names = {"TA MAE": "mae", "TA Corr": "corr", "T MAE": "mae", "T F1 Non0": "f1_non0", "T loss": "loss"}
    measures = [{"name": name, "metric": metric, "subset": "text"} for name, metric in names.items()]
    table = read_table(written(tmp_path, measures=measures, baseline="A b+C"))
    assert table.asks_subsets
    assert (table.baseline, table.probes) == ("A b+C", {})
    assert table.bars == {"T F1 Non0": ("T F1 Non0",)}, "errors and correlations are not in %"
    assert {unit: [m.head for m in found] for unit, found in table.units.items()} == {
        "MAE": ["TA", "T"],
        "Corr": ["TA"],
        "%": ["T F1 Non0"],
        "loss": ["T"],
    }
    assert [m.lower_is_better for m in table.measures] == [True, False, True, False, True]
    assert not read_table(written(tmp_path)).asks_subsets
    erased = [{"name": f"at {rate}", "metric": "mae", "erased": rate} for rate in (0, 0.5, 0.10, "mean", "auilc")]
    table = read_table(written(tmp_path, measures=erased))
    assert [m.erased for m in table.measures] == ["0", "0.5", "0.1", "mean", "auilc"]
    assert table.asks_erased
    assert not table.asks_subsets
    own = [{"name": way, "metric": "own", "better": way} for way in ("lower", "higher")]
    assert [m.lower_is_better for m in read_table(written(tmp_path, measures=own)).measures] == [True, False]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"rwos": []}, "no key 'rwos'; nearest is rows"),
        ({"rows": []}, "rows: expected a list of at least one"),
        ({"rows": [{"label": "a"}, {"label": "A!"}]}, "rows: a stands there twice"),
        ({"rows": [{"label": "?"}]}, "rows.label: expected some letters or digits"),
        ({"rows": [{"label": "a", "overrides": "method=comm"}]}, "rows.overrides: expected a list of text"),
        ({"measures": [{"name": "x", "factor": "x", "modalities": "text"}]}, "either metric, or probe and of"),
        (
            {"measures": [{"name": "x", "probe": "x", "factor": "x", "modalities": "text"}]},
            "either metric, or probe and of",
        ),
        (
            {"measures": [{"name": "x", "probe": "x", "of": "joint", "factor": "x"}]},
            "factor and modalities go together",
        ),
        (
            {"measures": [{"name": "x", "metric": "mae", "factor": "x", "modalities": "t"}]},
            "are for accuracies, not mae",
        ),
        ({"measures": [{"name": "x", "metric": "mea"}]}, "x: no metric 'mea'; nearest is ma"),
        ({"measures": [{"name": "x", "metric": "own"}]}, "one of your own needs better: higher, or lower"),
        ({"measures": [{"name": "x", "metric": "own", "better": "up"}]}, "x: better: expected higher or lower"),
        ({"measures": [{"name": "x", "metric": "mae", "better": "higher"}]}, "of a metric of your own alone"),
        (
            {"measures": [{"name": "x", "probe": "x", "of": "joint", "subset": "text"}]},
            "one of subset, erased and probe",
        ),
        ({"measures": [{"name": "x", "metric": "mae", "erased": 0.5, "subset": "text"}]}, "one of subset, erased"),
        ({"measures": [{"name": "x", "metric": "mae", "erased": 0.55}]}, "erased: expected one of 0, 0.1, 0.2"),
        ({"measures": [{"name": "x", "metric": "mae", "erased": "much"}]}, "0.9, mean or auilc, found much"),
        ({"measures": [{"name": "x", "metric": "val/mae", "erased": 0.5}]}, "erased is of the test split"),
        ({"measures": [{"name": "x", "metric": "mae"}], "figure": {"g": ["x"]}}, "bars are for accuracies, and x is"),
        ({"figure": ["x"]}, "figure: expected groups of the measures x"),
        ({"baseline": "B"}, "baseline: 'B' is none of the rows A b+C"),
        ({"figure": {"g": ["y"]}}, "figure.g: expected some of the measures x"),
        ({"figure": {"g": []}}, "figure.g: expected some of the measures x"),
        ({"seeds": 0}, "seeds: expected how many"),
        ({"title": None, "rows": None}, "rows: expected a list"),
    ],
)
def test_a_mistake_is_told_with_file_and_key(tmp_path: Path, change: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=r"own\.yaml: ") as error:
        read_table(written(tmp_path, **change))
    assert told in str(error.value)


def test_a_missing_key_is_told(tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text("title: T\nrows: [{label: a}]\n")
    with pytest.raises(ValueError, match=r"own.yaml: the table: measures missing; found title"):
        read_table(tmp_path / "own.yaml")


def test_tables_are_found_by_name_and_by_file(tmp_path: Path) -> None:
    own = written(tmp_path)
    assert find_table("own", [TABLES, tmp_path]) == own
    assert find_table(str(own), [TABLES]) == own
    with pytest.raises(ValueError, match="table=interactoins: no such table; nearest is interactions"):
        find_table("interactoins", [TABLES])
    with pytest.raises(ValueError, match="no such file"):
        find_table(str(tmp_path / "other.yaml"), [TABLES])


def written(folder: Path, **changes: Any) -> Path:
    (folder / "own.yaml").write_text(yaml.safe_dump({**GOOD, **changes}))
    return folder / "own.yaml"
