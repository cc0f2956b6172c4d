"""`make soak` kills, goes on and compares; what ends otherwise, hangs or leaves a process behind is a miss."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

import soak
from driver import in_folder
from soak import MissedError, Tally, Work

WORDS = ["encoder.hidden=8", "encoder.out=8", "trainer.max_epochs=8", "run.checkpoint_every=1", "trainer.progress=off"]


class Early(Random):
    """Kills a work in the middle of its time."""

    def uniform(self, a: float, b: float) -> float:
        return (a + b) / 2


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Work, object, float]:
    """A work, its outcome and its time."""
    folder = tmp_path_factory.mktemp("whole")
    words = (*in_folder(folder, *WORDS), "run.dir=run", "resume=auto")
    work = Work("run", "supervised", "train.py", words, soak._record)
    soak.leave_alone(work, folder / "first")
    return work, *soak.leave_alone(work, folder / "second")


def test_a_killed_run_is_resumed_and_counted(undisturbed: tuple[Work, object, float], tmp_path: Path) -> None:
    tally = Tally()
    soak.disturb(*undisturbed[:1], tmp_path / "run", *undisturbed[1:], Early(1), tally)
    assert tally.kills.total() == tally.resumed >= 1
    assert (tally.works, tally.equal) == (1, 1)
    assert ", 1 of 1 ends bit-equal, 0 misses; 3 s, seed 7, commit " in tally.line(3.2, 7)


@pytest.mark.slow
def test_another_end_than_the_undisturbed_one_is_a_miss(
    undisturbed: tuple[Work, object, float], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    work = undisturbed[0]
    other = Work("run", "another seed", work.script, (*work.words, "seed=2"), work.outcome)
    ends = {(work.kind, work.name): undisturbed[1:]}

    def twice() -> Iterator[Work]:
        yield other

    tally = Tally()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(soak, "leave_alone", lambda *_: ends[work.kind, work.name])
        soak.disturb_in_turn(twice(), tmp_path, tally, 60, 1)
    assert (tally.works, tally.equal) == (1, 0)
    (miss,) = tally.misses
    assert miss.startswith("run another seed: ended otherwise than undisturbed")
    assert "MISSED" in capsys.readouterr().err


def test_a_failed_start_is_a_miss_with_its_last_words(tmp_path: Path) -> None:
    work = Work("run", "wrong", "train.py", ("trainr.max_epochs=3",), soak._record)
    with pytest.raises(MissedError, match=r"expected exit code 0, found 2; .*\n(.*\n)*.*trainr"):
        soak.leave_alone(work, tmp_path / "run")


def test_a_process_that_stays_behind_is_a_miss(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(soak, "GONE", 0.3)
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], cwd=tmp_path) as left:
        with pytest.raises(MissedError, match=rf"after the parent was killed there are still {left.pid} .*python"):
            soak._require_alone(tmp_path, "the parent")
        left.kill()
    soak._require_alone(tmp_path, "the parent")


@pytest.mark.slow  # a minute or more
@pytest.mark.parametrize("kind", ["ranks", "search", "table"])
def test_each_kind_is_killed_and_ends_bit_equal(kind: str, tmp_path: Path) -> None:
    tally = Tally()
    soak.disturb_in_turn(soak.works(tmp_path, [kind], Random(1)), tmp_path, tally, 30, 1)
    assert tally.misses == []
    assert tally.kills[kind] == tally.resumed
    assert tally.equal == tally.works
