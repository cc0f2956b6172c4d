"""Ctrl-C, at any moment: one line that says how to go on, exit code 130, and a run that is marked as interrupted."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import driver
from driver import in_folder, record
from trivium.core.interruption import Interrupted, one_line_on_ctrl_c

SMALL = ["encoder.hidden=8", "encoder.out=8", "fusion.out=16", "data.batch_size=96", "trainer.max_epochs=2"]
TINY = ["method=comm", "encoder.dim=10", "encoder.feedforward=32", "encoder.layers=1", "fusion.dim=8"]
# module, function or method -> in which call
MOMENTS = {
    "torch is there, no run yet": ("trivium.runs.train", "join_ranks", 0),
    "the run's directory is there, no model yet": ("trivium.runs.train", "assemble", 0),
    "a training step": ("trivium.methods.base", "Method.training_step", 5),
    "a validation": ("trivium.evaluation.validation", "Validation.on_validation_batch_end", 1),
    "the final test": ("trivium.runs.final_test", "write_predictions", 0),
    "a probe": ("trivium.runs.final_test", "fit_readout", 0),
    "the printed result": ("trivium.runs.train", "print_result", 0),
}


def interrupted(folder: Path, moment: tuple[str, str, int], *arguments: str) -> tuple[int, str]:
    """Runs `train.py ARGUMENTS` in `folder`, with SIGINT at a moment: (exit code, all that it printed)."""
    log = folder / "printed.log"
    return driver.spawn(
        _interrupted, signal.SIGINT, moment, [str(driver.ROOT / "train.py"), *arguments], folder, log
    ), log.read_text()


def _interrupted(number: int, moment: tuple[str, str, int], argv: list[str], folder: Path, log: Path) -> None:
    from importlib import import_module

    signal.signal(signal.SIGINT, signal.default_int_handler)  # a process of the fork server ignores it
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # tests under nohup ignore it
    module, name, count = moment
    owner: Any = import_module(module)
    *parents, last = name.split(".")
    for parent in parents:
        owner = getattr(owner, parent)
    original, calls = getattr(owner, last), iter(range(10**9))

    def with_signal(*args: Any, **kwargs: Any) -> Any:
        if next(calls) == count:
            os.kill(os.getpid(), number)
        return original(*args, **kwargs)

    setattr(owner, last, with_signal)
    driver._command(argv, folder, log, {})


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    driver.here(folder, *SMALL, f"run.dir={folder / 'run'}")
    return folder


@pytest.mark.parametrize("when", MOMENTS)
def test_one_line_and_130_whenever_it_comes(when: str, whole: Path, tmp_path: Path) -> None:
    method = [*TINY, "trainer.max_epochs=1", "data.batch_size=96"] if when == "a probe" else SMALL
    run_dir, data = tmp_path / "run", f"paths.data={whole / 'data'}"
    code, printed = interrupted(tmp_path, MOMENTS[when], *in_folder(tmp_path, *method, data), f"run.dir={run_dir}")
    assert code == 130, printed
    assert "Traceback" not in printed
    begun = run_dir.exists()
    go_on = f"; go on with: trivium train resume={run_dir}" if begun else ""
    assert printed.splitlines()[-1] == f"interrupted{go_on}"
    assert begun == ("yet" not in when)
    if not begun:
        return
    finished = (run_dir / "result.json").is_file()
    status = json.loads((run_dir / "run.json").read_text())["status"]
    assert status == ("finished" if finished else "interrupted")
    if when != "a probe":
        code, printed = driver.command(tmp_path, f"resume={run_dir}")
        assert code == 0, printed
        assert record(run_dir) == record(whole / "run")
    if when == "a training step":
        assert f"resume {run_dir}, at epoch 2 of 2, step 5" in re.sub(r"\s+", " ", printed)


@pytest.mark.parametrize(
    ("number", "when"),
    [
        (signal.SIGTERM, "the run's directory is there, no model yet"),
        (signal.SIGHUP, "a training step"),
        (signal.SIGTERM, "the final test"),
        (signal.SIGHUP, "a probe"),
    ],
)
def test_sigterm_and_a_closed_terminal_are_143_with_status_and_command(
    number: signal.Signals, when: str, whole: Path, tmp_path: Path
) -> None:
    method = [*TINY, "trainer.max_epochs=1", "data.batch_size=96"] if when == "a probe" else SMALL
    run_dir, log = tmp_path / "run", tmp_path / "printed.log"
    words = [*in_folder(tmp_path, *method, f"paths.data={whole / 'data'}"), f"run.dir={run_dir}"]
    code = driver.spawn(_interrupted, number, MOMENTS[when], [str(driver.ROOT / "train.py"), *words], tmp_path, log)
    printed = log.read_text()
    assert code == 143, printed
    assert "Traceback" not in printed
    begun = "yet" not in when
    assert run_dir.exists() == begun
    go_on = f"; go on with: trivium train resume={run_dir}" if begun else ""
    assert printed.splitlines()[-1] == f"ended by a signal{go_on}"
    if begun:
        assert json.loads((run_dir / "run.json").read_text())["status"] == "interrupted"


def test_who_ignores_sigterm_is_not_ended_by_it(whole: Path, tmp_path: Path) -> None:
    """As a job of SLURM must: one that ends in the grace time of its preemption has failed, and is not queued again."""
    code = driver.spawn(_ignoring, [*SMALL, f"paths.data={whole / 'data'}", f"run.dir={tmp_path / 'run'}"], tmp_path)
    assert code == 0, (tmp_path / "printed.log").read_text()
    assert record(tmp_path / "run") == record(whole / "run")


def _ignoring(settings: list[str], folder: Path) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    words = [str(driver.ROOT / "train.py"), *settings, "trainer.accelerator=cpu", "trainer.threads=1"]
    _interrupted(signal.SIGTERM, MOMENTS["a training step"], words, folder, folder / "printed.log")


def test_a_grid_says_how_it_goes_on(whole: Path, tmp_path: Path) -> None:
    words = [*in_folder(tmp_path, *SMALL, f"paths.data={whole / 'data'}"), "seed=1,2"]
    code, printed = interrupted(tmp_path, MOMENTS["a training step"], "-m", *words)
    assert code == 130, printed
    (folder,) = (tmp_path / "outputs" / "sweeps").iterdir()
    command = f"trivium train -m {' '.join(words)} hydra.sweep.dir={folder} resume=auto"
    assert printed.splitlines()[-1] == f"interrupted; go on with: {command}"
    code, printed = driver.command(tmp_path, *command.split()[2:])
    assert code == 0, printed
    assert sorted(path.parent.name for path in folder.glob("*/result.json")) == ["0", "1"]
    assert record(folder / "0") == record(whole / "run")


# Sends SIGINT while a verb's own modules are imported, which is where its start takes its time.
AT_IMPORT = """
import os, signal, sys
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            os.kill(os.getpid(), signal.SIGINT)
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.meta_path.insert(0, Finder())
from trivium.cli.main import main
sys.exit(main())
"""


@pytest.mark.parametrize(
    ("verb", "word", "module"),
    [
        ("train", "seed=2", "trivium.cli.train"),
        ("train", "seed=2", "torch"),
        ("prepare", "verify=x", "h5py"),
        ("evaluate", "run=x", "torch"),
        ("report", "x", "trivium.cli.report"),
        ("reproduce", "table=smoke", "numpy"),
    ],
)
def test_no_verb_has_a_traceback_at_its_start(verb: str, word: str, module: str, tmp_path: Path) -> None:
    argv = [sys.executable, "-c", AT_IMPORT.format(module=module), verb, word]
    done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode, done.stderr) == (130, "interrupted\n")


@pytest.mark.parametrize(("rank", "told"), [("0", "interrupted; go on with: trivium train 'resume=a b'\n"), ("1", "")])
def test_only_the_first_rank_speaks(
    rank: str, told: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RANK", rank)
    before = signal.getsignal(signal.SIGINT)
    try:
        with pytest.raises(SystemExit) as end, one_line_on_ctrl_c():
            raise Interrupted("train", "resume=a b")
    finally:
        signal.signal(signal.SIGINT, before)
    assert end.value.code == 130
    assert capsys.readouterr().err == told
