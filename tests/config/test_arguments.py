"""Arguments of the scripts, and the order of train.py's."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from driver import command
from trivium.config.arguments import count, multirun_first, parse_key_values, script, truth


def test_values_keep_their_equal_signs() -> None:
    assert parse_key_values(["run=/a=b", "x=1,2"], ["run", "x"]) == {"run": "/a=b", "x": "1,2"}


@pytest.mark.parametrize(
    ("given", "told"), [(["rum=1"], "nearest is run"), (["run="], "no value"), (["run=1", "run=2"], "given twice")]
)
def test_a_wrong_argument_is_told_by_name(given: list[str], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        parse_key_values(given, ["run"])


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
    assert capsys.readouterr() == ("", "error: no file x  y in z\n")
    monkeypatch.setenv("TRIVIUM_TRACEBACK", "1")
    with pytest.raises(FileNotFoundError, match="no file x"):
        script(["run=a"], "help", mistake)


def test_truths_and_counts_are_read_strictly() -> None:
    given = {"dry": "true", "map": "false", "jobs": "12", "yes": "yes", "none": "0", "half": "1.5"}
    assert [truth(given, key) for key in ("dry", "map", "other")] == [True, False, False]
    assert truth(given, "other", True)
    assert [count(given, "jobs", 3), count(given, "seeds", 3)] == [12, 3]
    with pytest.raises(ValueError, match="yes=yes: expected true or false"):
        truth(given, "yes")
    for key in ("none", "half", "yes"):
        with pytest.raises(ValueError, match=f"{key}={given[key]}: expected a whole number, 1 or more"):
            count(given, key, 3)


def test_multirun_may_stand_anywhere() -> None:
    given = ["method=selfmi", "-m", "--config-dir", "x", "seed=1,2"]
    assert multirun_first(given) == ["-m", "method=selfmi", "--config-dir", "x", "seed=1,2"]


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
