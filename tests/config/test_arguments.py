"""Arguments of the scripts, and the order of train.py's."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from driver import command
from trivium.config.arguments import (
    keys_of,
    names,
    one_of,
    parse_key_values,
    path,
    script,
    truth,
    whole_number,
)
from trivium.config.check import multirun_first
from trivium.config.config_folder import take_config_dir, user_config_folder

HELP = """\
Does a thing.

Examples
  python scripts/thing.py run=DIR

Keys
  run=DIR        a run
  x=A,B          words; and=more of the same
  paths.data=DIR where the data are
"""


def test_keys_are_those_of_the_help_and_values_keep_their_equal_signs() -> None:
    assert keys_of(HELP) == ["run", "x", "paths.data"]
    words = ["run=/a=b", "x=1,2", "paths.data=~/d"]
    found = parse_key_values(words, HELP, {"x": names, "paths.data": path})
    assert found == {"run": "/a=b", "x": ["1", "2"], "paths.data": Path.home() / "d"}


@pytest.mark.parametrize(
    ("given", "told"), [(["rum=1"], "nearest is run"), (["run="], "no value"), (["run=1", "run=2"], "given twice")]
)
def test_a_wrong_argument_is_told_by_name(given: list[str], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        parse_key_values(given, HELP)


def test_a_script_shows_its_help_and_ends_a_mistake_with_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def mistake() -> int:
        raise FileNotFoundError("no file x  y\n  in z")

    assert [script(words, "help\n", lambda: 7) for words in (["-h"], ["--help"], ["help"], [], ["run=a"])] == [
        0,
        0,
        0,
        2,
        7,
    ]
    assert script([], "help\n", lambda: 7, needs_words=False) == 7
    assert capsys.readouterr() == ("help\n" * 4, "")
    assert script(["run=a"], "help", mistake) == 2
    assert capsys.readouterr() == ("", "error: no file x y in z\n")
    monkeypatch.setenv("TRIVIUM_TRACEBACK", "1")
    with pytest.raises(FileNotFoundError, match="no file x"):
        script(["run=a"], "help", mistake)


@pytest.mark.parametrize(
    ("word", "kind", "value"),
    [("x=true", truth, True), ("x=false", truth, False), ("x=12", whole_number, 12), ("x=b", one_of("a", "b"), "b")],
)
def test_a_value_is_of_its_type(word: str, kind: Callable[[str], Any], value: Any) -> None:
    assert parse_key_values([word], HELP, {"x": kind}) == {"x": value}


@pytest.mark.parametrize(
    ("word", "kind", "told"),
    [
        ("x=yes", truth, "x=yes: expected true or false"),
        *((f"x={text}", whole_number, f"x={text}: expected a whole number, 1 or more") for text in ("0", "1.5", "ten")),
        ("x=tsen", one_of("pca", "tsne", "none"), "x=tsen: expected pca, tsne or none; nearest is tsne"),
    ],
)
def test_a_value_that_its_type_refuses_is_told_with_its_key(word: str, kind: Callable[[str], Any], told: str) -> None:
    with pytest.raises(ValueError, match=re.escape(told)):
        parse_key_values([word], HELP, {"x": kind})


def test_options_may_stand_anywhere(tmp_path: Path) -> None:
    given = ["method=selfmi", "-m", "seed=1,2", "--config-dir", str(tmp_path), "fusion=sum"]
    assert multirun_first(take_config_dir(given)) == ["-m", "method=selfmi", "seed=1,2", "fusion=sum"]
    assert user_config_folder() == tmp_path
    assert take_config_dir(["seed=1", f"--config-dir={tmp_path}"]) == ["seed=1"]
    with pytest.raises(ValueError, match="--config-dir: a folder is missing behind it"):
        take_config_dir(["seed=1", "--config-dir"])
    with pytest.raises(ValueError, match=r"--config-dir: there is no folder .*/nowhere"):
        take_config_dir(["--config-dir", "nowhere"])


def test_overrides_on_both_sides_of_multirun_make_every_run(tmp_path: Path) -> None:
    data = [f"paths.data={tmp_path / 'data'}", f"paths.outputs={tmp_path / 'outputs'}", "trainer.accelerator=cpu"]
    code, printed = command(tmp_path, "debug=fast", "-m", "seed=1,2", *data)
    assert code == 0, printed
    assert len(list((tmp_path / "outputs" / "sweeps").glob("*/[01]/result.json"))) == 2


def test_a_reader_of_the_help_that_has_enough_is_no_error() -> None:
    """More than a pipe holds, and nobody reads it."""
    tell = "from trivium.config.arguments import print_help; print_help('long\\n' * 100_000); print('more')"
    read, write = os.pipe()
    os.close(read)
    ended = subprocess.run([sys.executable, "-c", tell], stdout=write, stderr=subprocess.PIPE, text=True, check=False)
    os.close(write)
    assert (ended.returncode, ended.stderr) == (0, "")
