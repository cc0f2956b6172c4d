"""The outside fails in the middle of a training: said with path and advice, nothing half-written, and the run goes on.

Disks are small file systems in memory, which only root may mount; limits are the system's own.
"""

from __future__ import annotations

import os
import resource
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

import driver
from driver import here, in_folder, record
from logged import QUIET
from trivium.core.system_errors import words_of_error
from trivium.methods.base import Method
from trivium.runs.checkpointing import load_checkpoint

QUICK = ["encoder=identity", "trainer.progress=off", "trainer.threads=1", "data.batch_size=96", "trainer.max_epochs=3"]
QUICK += ["run.checkpoint_every=2"]
# An epoch has 4 steps: inside the second one, behind a checkpoint.
STEP = 7


def mount(*words: str) -> None:
    if subprocess.run(["mount", *words], capture_output=True, check=False).returncode:
        pytest.skip("may not mount a file system here")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, of four mebibytes."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if (
        os.name != "posix"
        or subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)], capture_output=True, check=False
        ).returncode
    ):
        pytest.skip("may not mount a file system here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that nothing disturbed, beside its data."""
    folder = tmp_path_factory.mktemp("whole")
    here(folder, *QUICK, f"run.dir={folder / 'run'}")
    return folder


def break_off(
    undisturbed: Path, run: Path, monkeypatch: pytest.MonkeyPatch, begin: Callable[[], Any], end: Callable[[], Any]
) -> str:
    """Trains in `run`, where something begins in the middle; afterwards ends it, and sees that the run goes on.

    Returns what is said.
    """
    steps, training_step = iter(range(100)), Method.training_step

    def step(*arguments: Any) -> Any:
        if next(steps) == STEP:
            begin()
        return training_step(*arguments)

    settings = [*QUICK, f"paths.data={undisturbed / 'data'}", f"run.dir={run}"]
    try:
        monkeypatch.setattr(Method, "training_step", step)
        with pytest.raises((OSError, ValueError)) as caught:
            here(run.parent, *settings)
        left = {str(file.relative_to(run)) for file in run.rglob("*") if file.is_file()}
    finally:
        end()
        monkeypatch.undo()
    # Nothing half-written lies there, and the last checkpoint is whole.
    expected = {".lock", "config.yaml", "overrides.yaml", "run.json", "metrics.csv", "weights.safetensors"}
    assert left - {"steps.csv"} == {*expected, "checkpoints/last.ckpt"}
    assert load_checkpoint(run / "checkpoints" / "last.ckpt")["global_step"] in (4, 6)
    here(run.parent, *settings, "resume=auto")
    assert record(run) == record(undisturbed / "run")
    return words_of_error(caught.value) if isinstance(caught.value, OSError) else str(caught.value)


def fill(folder: Path) -> None:
    with (folder.parent / "filler").open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"x" * 4096)
        except OSError:
            pass


def test_a_disk_that_gets_full(undisturbed: Path, disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = disk / "run"
    said = break_off(undisturbed, run, monkeypatch, lambda: fill(run), (disk / "filler").unlink)
    assert said.startswith(f"{run}/")
    assert "No space left on device; free some space" in said


def test_a_disk_that_can_only_be_read_any_more(
    undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"

    def only_read() -> None:
        # Over the folder itself: its lock is open for writing, so that it could not be changed where it is.
        mount("--bind", str(run), str(run))
        mount("-o", "remount,bind,ro", str(run))

    unmount = ["umount", "-l", str(run)]
    said = break_off(undisturbed, run, monkeypatch, only_read, lambda: subprocess.run(unmount, check=True))
    assert said.startswith(f"{run}")
    assert "Read-only file system; the disk can only be read" in said


def next_number() -> int:
    """The number that the next open file would have, below which no more may be opened."""
    number = os.dup(0)
    os.close(number)
    return number


LIMITS = {
    "size of a file": (resource.RLIMIT_FSIZE, lambda: 2000, "File too large; this shell or file system allows"),
    "open files": (resource.RLIMIT_NOFILE, next_number, "Too many open files; this shell"),
}


@pytest.mark.parametrize("name", LIMITS)
def test_a_low_limit(name: str, undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kind, low, words = LIMITS[name]
    soft, hard = resource.getrlimit(kind)
    said = break_off(
        undisturbed,
        tmp_path / "run",
        monkeypatch,
        lambda: resource.setrlimit(kind, (low(), hard)),
        lambda: resource.setrlimit(kind, (soft, hard)),
    )
    assert said.startswith(f"{tmp_path / 'run'}")
    assert words in said


def test_too_little_memory(undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)

    def ask_for_much() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (psutil.Process().memory_info().vms + (64 << 20), hard))
        torch.empty(1 << 28)

    said = break_off(
        undisturbed,
        tmp_path / "run",
        monkeypatch,
        ask_for_much,
        lambda: resource.setrlimit(resource.RLIMIT_AS, (soft, hard)),
    )
    assert said.startswith(f"{tmp_path / 'run'}: too little memory (")
    assert "data.batch_size" in said


def _without_service(argv: list[str], folder: Path, log: Path) -> None:
    steps, training_step = iter(range(100)), Method.training_step

    def step(*arguments: Any) -> Any:
        if next(steps) == STEP:
            for child in psutil.Process().children(recursive=True):
                child.kill()
        return training_step(*arguments)

    Method.training_step = step  # type: ignore[method-assign]
    driver._command(argv, folder, log, QUIET)


def test_wandb_that_dies_in_the_middle_costs_no_result(undisturbed: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    words = [*in_folder(tmp_path, *QUICK, "logger=wandb"), f"paths.data={undisturbed / 'data'}", f"run.dir={run}"]
    argv = [str(driver.ROOT / "train.py"), *words]
    code = driver.spawn(_without_service, argv, tmp_path, tmp_path / "printed.log")
    printed = (tmp_path / "printed.log").read_text()
    assert code == 2, printed
    assert "warning: Wandb has not got the metrics of this epoch (" in printed
    assert f"error: {run} is finished and its result stands, but logger=wandb has not got all of it: " in printed
    assert "Traceback" not in printed
    assert record(run) == record(undisturbed / "run")


def test_a_logger_that_fails_in_the_middle_is_warned_of_once(
    undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    import trivium.loggers.tensorboard as module

    def fails(*_: Any, **__: Any) -> None:
        raise ConnectionError("no route to host")

    monkeypatch.setattr(module.TensorBoard, "log_metrics", fails)
    where = [f"paths.data={undisturbed / 'data'}", f"run.dir={tmp_path / 'run'}"]
    with pytest.raises(OSError, match="is finished and its result stands, but logger=tensorboard"):
        here(tmp_path, *QUICK, "logger=tensorboard", *where)
    assert len([one for one in recwarn if "the run goes on" in str(one.message)]) == 1
    assert record(tmp_path / "run") == record(undisturbed / "run")
