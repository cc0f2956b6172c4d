"""What a run says: before torch is imported, when its model is built, and about resume; and when it says nothing."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from driver import command, here, in_folder, run
from trivium.config.compose import compose_config
from trivium.runs.announce import say_settings

SMALL = ["encoder.hidden=8", "encoder.out=8", "fusion.out=16", "data.batch_size=72", "trainer.progress=lines"]
# Ends where torch would be imported, and says how much of the processor's time it took to come so far.
UNTIL_TORCH = """
import os, sys, time
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "torch":
            print(time.process_time(), file=sys.stderr, flush=True)
            os._exit(7)
sys.meta_path.insert(0, Finder())
from trivium.cli.main import main
sys.exit(main())
"""


def words(printed: str) -> str:
    """The text without its line breaks."""
    return re.sub(r"\s+", " ", printed)


def processor_seconds(code: str) -> float:
    """What a Python process that runs `code` takes of the processor, in seconds."""
    timed = f"import time\n{code}\nprint(time.process_time())"
    return float(subprocess.run([sys.executable, "-c", timed], capture_output=True, text=True, check=True).stdout)


def test_it_says_what_it_is_before_torch_is_imported(tmp_path: Path) -> None:
    argv = [sys.executable, "-c", UNTIL_TORCH, "train", "method=selfmi", "trainer.patience=0"]
    done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 7, done.stderr
    assert done.stdout.splitlines() == [
        "train   selfmi on fixture, seed 1, 40 epochs",
        "data    made now, as it is used for the first time: data/fixture/fixture.h5",
        "data    fixture/synthetic: 320 train, 96 valid, 128 test clips",
        "        text 16, audio 6, vision 8",
    ]
    # .6 s against 3 s on an idle core
    assert float(done.stderr) < processor_seconds("import torch, lightning") / 2
    again = subprocess.run(
        [*argv, "data.modalities=[text,vision]"], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120
    )
    assert "made now" not in again.stdout
    assert again.stdout.splitlines()[-1] == "        text 16, vision 8"


def test_folder_model_and_what_resume_does(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = here(tmp_path, *SMALL, "trainer.max_epochs=1", "resume=auto")
    printed = capsys.readouterr().out
    (path,) = (tmp_path / "outputs" / "runs").iterdir()
    assert printed.startswith("resume  no unfinished run of this config\n")
    assert f"run {path} model {result['parameters']:,} parameters, on cpu epoch 1/1" in words(printed)
    # 5 steps an epoch
    assert run(tmp_path, *SMALL, kill=("step", 7)) == -9
    (stopped,) = [run for run in (tmp_path / "outputs" / "runs").iterdir() if run != path]
    here(tmp_path, *SMALL, "optimizer.lr=0.002", "seed=2", "trainer.max_epochs=1", "resume=auto")
    nearest = f"no unfinished run of this config; the nearest is {stopped}, which differs in"
    differing = ["seed (1 -> 2)", "optimizer.lr (0.001 -> 0.002)", "trainer.max_epochs (3 -> 1)"]
    printed = words(capsys.readouterr().out)
    assert all(f"resume {nearest}" in printed and key in printed for key in differing)
    assert "more" not in printed
    here(tmp_path, *SMALL, "resume=auto")
    printed = capsys.readouterr().out
    assert f"resume {stopped}, at epoch 2 of 3, step 6 " in words(printed)
    assert max(len(line) for line in printed.splitlines() if str(tmp_path) not in line) <= 80


def test_sweeps_and_silent_runs_say_nothing_of_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = in_folder(tmp_path, *SMALL, "trainer.max_epochs=1")
    code, printed = command(tmp_path, "-m", *settings)
    assert code == 0, printed
    assert not re.search("^(train|data|run|model) ", printed, flags=re.MULTILINE)
    assert re.search("^epoch   1/1  train/loss", printed, flags=re.MULTILINE)
    say_settings(compose_config([*settings, "trainer.progress=off"]))
    here(tmp_path, *SMALL, "trainer.max_epochs=1", "trainer.progress=off", "resume=auto")
    assert not re.search("^(train|data|run|model|resume) ", capsys.readouterr().out, flags=re.MULTILINE)


@pytest.mark.parametrize(("rank", "speaks"), [("0", True), ("1", False)])
def test_only_the_first_rank_speaks(
    rank: str, speaks: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RANK", rank)
    say_settings(compose_config(in_folder(tmp_path, *SMALL)))
    assert bool(capsys.readouterr().out) == speaks
