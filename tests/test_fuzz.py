"""`make fuzz` for a second each, and its own sight: a foreign exception, a hang and too much memory are found."""

import time
from pathlib import Path

import numpy as np
import pytest

import fuzz
import fuzz_targets
from fuzz_targets import TARGETS, ForeignError, read, seeds_of

# Seconds for each target.
SHORT = 1.0
# A constant number, so that the same inputs come at every time.
SEED = 17


@pytest.mark.parametrize("name", TARGETS)
def test_spoiled_files_are_refused_in_words(name: str, tmp_path: Path) -> None:
    result = fuzz.fuzz(name, SHORT, SEED, tmp_path / "input")
    assert result.problem == ""
    assert result.inputs > 1


@pytest.mark.parametrize("name", TARGETS)
def test_the_first_seed_is_whole_and_those_that_found_something_are_refused(name: str, tmp_path: Path) -> None:
    for number, seed in enumerate(seeds_of(name)):
        folder = tmp_path / str(number)
        fuzz.put(seed, folder)
        refusal = read(name, folder)
        assert (refusal == "") == (not seed.name.startswith("found")), refusal


@pytest.fixture
def target(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, object]:
    """A target of one small file, whose reader the test gives."""
    (tmp_path / "corpus" / "mine" / "whole").mkdir(parents=True)
    (tmp_path / "corpus" / "mine" / "whole" / "a.txt").write_text("1 2 3")
    monkeypatch.setattr(fuzz_targets, "CORPUS", tmp_path / "corpus")
    targets: dict[str, object] = {}
    monkeypatch.setattr(fuzz_targets, "TARGETS", targets)
    return targets


def numbers(folder: Path) -> list[int]:
    return [int(word) for word in (folder / "a.txt").read_text().split()]


def test_a_foreign_exception_is_found_and_made_small(target: dict[str, object], tmp_path: Path) -> None:
    target["mine"] = numbers
    result = fuzz.fuzz("mine", 20, SEED, tmp_path / "input")
    assert "invalid literal for int()" in result.problem or "UnicodeDecodeError" in result.problem
    with pytest.raises(ForeignError):
        read("mine", tmp_path / "found")


def _eats(name: str, seconds: float, seed: int, folder: Path) -> None:
    whole = (fuzz_targets.CORPUS / name / "whole" / "labels.csv").read_bytes()

    def reader(folder: Path) -> None:
        if (folder / "labels.csv").read_bytes() != whole:
            np.ones(fuzz.MOST_MEMORY // 4)

    fuzz_targets.TARGETS[name] = reader
    fuzz._in_child(name, seconds, seed, folder)


@pytest.mark.slow  # 20 s
def test_memory_above_the_bound_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(fuzz, "_in_child", _eats)
    assert "MiB" in fuzz.apart("folder", 20, SEED, tmp_path).problem


def _hangs(name: str, seconds: float, seed: int, folder: Path) -> None:
    def reader(folder: Path) -> None:
        time.sleep(60)

    fuzz.LONGEST = 1
    fuzz_targets.TARGETS[name] = reader
    fuzz._in_child(name, seconds, seed, folder)


def test_a_hang_is_ended_and_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(fuzz, "_in_child", _hangs)
    assert fuzz.apart("folder", 5, SEED, tmp_path).problem == "folder: no answer within 20 s"


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (KeyError("a"), "KeyError: 'a'"),
        (ValueError("no place"), "names no file: no place"),
        (OSError(28, "No space left"), "an error of the system without its file"),
        (UnicodeError("utf"), "another library's UnicodeError"),
        (RecursionError(), "RecursionError"),
    ],
)
def test_what_counts_as_foreign(error: Exception, expected: str, target: dict[str, object], tmp_path: Path) -> None:
    def reader(folder: Path) -> None:
        raise error

    target["mine"] = reader
    with pytest.raises(ForeignError, match=expected):
        read("mine", tmp_path)
