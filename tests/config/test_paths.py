"""Paths on a command line: ~ is the home directory everywhere, and what a message proposes can be typed."""

import re
import shlex
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from trivium.cli.reproduce import _call
from trivium.config.check import problems_of
from trivium.config.compose import compose_config
from trivium.config.space import path_setting, with_home


def test_a_tilde_is_the_home_directory_in_every_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("TRIVIUM_DATA", "~/from_variable")
    words = ["paths.outputs=~/o", "run.dir=~/r", "data.store=~/s.h5", "resume='~/r'", "start_from='~/r'"]
    config = compose_config(with_home(words))
    found = [config["paths"]["data"], config["paths"]["outputs"], config["run"]["dir"], config["data"]["store"]]
    assert found == [f"{tmp_path}/{name}" for name in ("from_variable", "o", "r", "s.h5")]
    assert config["resume"] == config["start_from"] == f"{tmp_path}/r"


@pytest.mark.parametrize("word", ["run.dir=runs/a,b", "run.dir=runs/it's", "run.dir=runs/a=b"])
def test_what_is_proposed_for_a_path_works_when_it_is_typed(word: str) -> None:
    (problem,) = problems_of([word])
    proposed = re.search(r"quote it(?:, if it is one text)?: (.*)$", problem)
    assert proposed, problem
    (typed,) = shlex.split(proposed[1])
    assert OverridesParser.create().parse_overrides([typed])[0].value() == word.partition("=")[2]
    assert problems_of([typed]) == []


@pytest.mark.parametrize(
    "path", ["runs/a", "/data/a b", "a,b", "it's", "x=y", "größe", "[a]", "a\\b", "~user/x", "${a}"]
)
def test_a_path_is_read_by_hydra_as_it_was_written(path: str) -> None:
    (override,) = OverridesParser.create().parse_overrides([path_setting("run.dir", path)])
    assert override.value() == path


def test_the_folder_of_outputs_has_one_spelling_in_tables_too(tmp_path: Path) -> None:
    assert _call(["table=smoke", f"paths.outputs={tmp_path}"]).outputs == tmp_path
    assert _call(["table=smoke", f"outputs={tmp_path}"]).outputs == tmp_path
