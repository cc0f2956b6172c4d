"""Which runs a table needs and where they lie."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.types import RunMode
from omegaconf import DictConfig

from trivium.config.compose import compose_config
from trivium.runs.config_hash import config_hash
from trivium.tables.definition import Row, Table
from trivium.tables.measures import Measure
from trivium.tables.plan import Planned, merged, plan

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
    changed = replace(TABLE, rows=(replace(ROWS[0], overrides=("method=selfmi", "method.cpc_weight=0.2")), ROWS[1]))
    after = [run.directory.path for run in plan(changed, 1, tmp_path)]
    assert before[0] != after[0]
    assert before[1] == after[1]


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("method=selfie", "method=selfie: no such choice; nearest is selfmi"),
        ("optimizer.lr=abc", "optimizer.lr: expected a number, found 'abc'"),
        ("+trainer.max_epoch=3", "trainer.max_epoch: no such key; nearest is trainer.max_epochs"),
        ("trainer.max_epochs=-1", "trainer.max_epochs: expected at least 1, found -1"),
    ],
)
def test_a_row_that_cannot_run_is_named_before_another_runs(override: str, said: str, tmp_path: Path) -> None:
    wrong = replace(TABLE, rows=(*ROWS, Row("Wrong", (override,))))
    with pytest.raises(ValueError, match=re.escape(f"table own, row 'Wrong': {said}")):
        plan(wrong, 1, tmp_path)


def test_later_overrides_replace_earlier_ones_of_the_same_key() -> None:
    assert merged(["data=a", "x.y=1"], ["+z=1", "x.y=2"], ["data=b=c"]) == ["data=b=c", "x.y=2", "+z=1"]


def test_a_row_is_composed_once_and_its_hashes_are_those_of_each_seed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    composed: list[list[str]] = []
    whole = ConfigLoaderImpl.load_configuration

    def counted(self: ConfigLoaderImpl, root: str, overrides: list[str], mode: RunMode) -> DictConfig:
        composed.append(overrides)
        return whole(self, root, overrides, mode)

    monkeypatch.setattr(ConfigLoaderImpl, "load_configuration", counted)
    begun = replace(TABLE, rows=(*ROWS, Row("Tuned", ("method=tcmax",), start="Long")))
    runs = plan(begun, 4, tmp_path)
    assert (len(runs), len(composed)) == (12, 3)
    for run in runs[-3:]:
        assert run.directory.path.name.endswith(f"_s4_{config_hash(whole_config(run))[:6]}")


def test_a_setting_that_follows_the_seed_is_composed_for_each(tmp_path: Path) -> None:
    follows = replace(TABLE, rows=(replace(ROWS[0], overrides=("method=selfmi", "data.batch_size=${seed}")),))
    runs = plan(follows, 3, tmp_path)
    assert len({run.directory.path.name[-6:] for run in runs}) == 3
    for run in runs:
        assert whole_config(run)["data"]["batch_size"] == run.seed
        assert run.directory.path.name.endswith(config_hash(whole_config(run))[:6])


@pytest.mark.parametrize("name", ["a b", "a,b", "a=b (c)", "it's", "ä~#"])
def test_folders_of_any_name_reach_the_config(tmp_path: Path, name: str) -> None:
    """Hydra's grammar would take such a path for a list, or for nothing."""
    begun = replace(TABLE, rows=(ROWS[0], Row("Tuned", ("method=tcmax",), start="Self-MI")))
    first, second = plan(begun, 1, tmp_path / name)
    config = compose_config(second.arguments)
    assert (config["run"]["dir"], config["start_from"]) == (str(second.directory.path), str(first.directory.path))
    assert first.arguments[-2].startswith("run.dir='")
    assert second.directory.path.name.endswith(config_hash(config)[:6])


def whole_config(run: Planned) -> dict[str, Any]:
    return compose_config(list(run.overrides))
