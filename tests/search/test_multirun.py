"""Grids and searches by each launcher: several runs at once, and a failed one that ends nothing."""

import json
import os
import re
import shlex
import time
from multiprocessing import get_context
from pathlib import Path

import pytest
from fake_slurm import FakeSlurm
from searching import alone, search, status, study_of, sweep_of, trials

from trivium.core.files import write_text
from trivium.core.wording import command
from trivium.search import devices
from trivium.search.jobs import in_words

FAILING = "loss not finite at epoch 1, step 2"


def command_told(printed: str, job: str) -> list[str]:
    """The words of the command that is told at the end for a job that failed."""
    lines = printed[printed.rindex(" failed\n") :].splitlines()
    (at,) = [n for n, line in enumerate(lines) if line.startswith(f"{job}: ")]
    program, verb, *overrides = shlex.split(lines[at + 1])
    assert (program, verb) == ("trivium", "train")
    return overrides


def test_a_grid_that_is_killed_goes_on_in_its_folder_and_a_failed_job_ends_nothing(tmp_path: Path) -> None:
    lines = ["optimizer.lr=0.02,1e30,0.01", "trainer.max_epochs=1"]
    assert search(tmp_path, *lines, kill=("step", 1))[0] == -9
    folder = sweep_of(tmp_path)
    assert [path.name for path in folder.iterdir() if path.is_dir()] == ["0"]
    # The kill as Ctrl-C's words would have it go on.
    code, printed = search(tmp_path, *lines, f"hydra.sweep.dir={folder}", "resume=auto")
    assert code == 1
    assert sweep_of(tmp_path) == folder
    assert status(folder / "0")["resumed_at"] == [1]
    assert status(folder / "1")["status"].startswith("failed: NonFiniteLossError")
    losses = [json.loads((folder / n / "result.json").read_text())["val"]["loss"] for n in "02"]
    assert f"[1/3] job 0: val/loss {losses[0]:.5g}, " in printed
    assert f"[1/3] job 1 begins: lr=1e+30\n[2/3] job 1: FAILED: {FAILING}" in printed
    assert "[3/3] job 2: val/loss " in printed
    assert f"3 jobs in {folder}: 2 finished, 1 failed" in printed
    assert f"\n1 of 3 jobs failed\njob 1: {FAILING}" in printed
    overrides = command_told(printed, "job 1")
    assert "optimizer.lr=1e+30" in overrides
    assert not [word for word in overrides if word.startswith("hydra")]


def test_two_grids_that_begin_in_one_second_do_not_share_a_folder(tmp_path: Path) -> None:
    taken = tmp_path / "grid"
    taken.mkdir()
    line = f"hydra:\n  sweep:\n    dir: {taken}\n"
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "there.yaml").write_text(f"# @package _global_\n{line}")
    options = ["--config-dir", str(tmp_path), "experiment=there", "trainer.max_epochs=1", "seed=1"]
    code, printed = search(tmp_path, *options)
    assert code == 0, printed
    assert list(taken.iterdir()) == []
    (other,) = tmp_path.glob("grid_*")
    assert (other / "0" / "result.json").is_file()


def test_a_search_of_several_trials_at_once(tmp_path: Path) -> None:
    """By joblib; one of the trials fails."""
    code, printed = alone(
        tmp_path,
        "sweep=supervised",
        "hydra/launcher=joblib",
        "hydra.launcher.n_jobs=2",
        "hydra.sweeper.sampler=grid",
        "optimizer.lr=0.02,1e30,0.01",
        "optimizer.weight_decay=0",
        "fusion=concat",
        "encoder=identity",
        "encoder.out=16",
        "encoder.pool=mean",
        "fusion.dropout=0",
        "trainer.max_epochs=1",
    )
    assert code == 1, printed
    study = study_of(tmp_path)
    rows = trials(study)
    assert [row["state"] for row in rows] == ["complete", "fail", "complete"]
    created = [status(study / str(n))["created"] for n in range(3)]
    assert created[2] > max(created[:2])
    assert (study / "1" / "config.yaml").stat().st_mtime < (study / "0" / "result.json").stat().st_mtime  # side by side
    for n in (0, 2):
        assert float(rows[n]["value"]) == json.loads((study / str(n) / "result.json").read_text())["val"]["loss"]
    assert (study / "journal.log").read_text().count('"op_code":7') == 2  # the epochs' values, from those processes
    assert printed.count(f"trial 1: FAILED: {'NonFiniteLossError: ' * ('NonFinite' in printed)}{FAILING}") == 1
    assert {"optimizer.lr=1e+30", "trainer.threads=1"} < {*command_told(printed, "trial 1")}
    assert "epoch   1/1" not in printed  # several processes would write into each other's lines


def test_submitit_on_this_machine(tmp_path: Path) -> None:
    code, printed = search(tmp_path, "hydra/launcher=submitit_local", "optimizer.lr=1e30")
    assert code == 1, printed
    assert f"\n1 of 1 job failed\njob 0: {FAILING}" in printed
    assert {"optimizer.lr=1e+30", "trainer.threads=1"} < {*command_told(printed, "job 0")}


@pytest.mark.slow
def test_an_array_of_slurm_one_task_of_which_is_killed(tmp_path: Path) -> None:
    """The tasks start in another folder than the command; the third waits in the queue while the second dies."""
    slurm = FakeSlurm(tmp_path, kill={1: ("step", 1)})
    with slurm.serving():
        code, printed = search(
            tmp_path,
            "hydra/launcher=submitit_slurm",
            "hydra.launcher.partition=gpu",
            "hydra.launcher.timeout_min=240",
            "hydra.launcher.gpus_per_node=1",
            "optimizer.lr=1e30,0.02,0.01",
            "trainer.max_epochs=1",
            "paths.data=data",
            "paths.outputs=outputs",
            environment={"PATH": slurm.path},
        )
    assert code == 1, printed
    (script,) = slurm.scripts
    flags = dict(re.findall(r"^#SBATCH --([\w-]+)=(.*)$", script, re.MULTILINE))
    assert {"array": "0-2%3", "partition": "gpu", "time": "240", "gpus-per-node": "1"}.items() <= flags.items()
    folder = sweep_of(tmp_path)
    assert script.rstrip().endswith(f"submitit.core._submit {folder}/.submitit/%j")
    assert [(folder / n / "result.json").is_file() for n in "012"] == [False, False, True]
    assert status(folder / "1")["status"] == "running"
    end = printed[printed.index("2 of 3 jobs failed") :].splitlines()
    assert end[1].startswith(f"job 0: {FAILING}")
    assert end[3].startswith("job 1: ChildProcessError: its process ended without a result (FAILED); see ")
    assert Path(end[3].rpartition(" ")[2]).is_file()
    assert "job 2: val/loss" in printed
    assert list(slurm.elsewhere.iterdir()) == []


def test_each_process_takes_a_gpu_that_no_other_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "_locks", [])
    assert [devices.choose(["0", "1"], tmp_path) for _ in range(2)] == ["0", "1"]
    assert devices.choose(["0", "1"], tmp_path) in ("0", "1")  # more processes than devices: shared
    devices._locks.pop(0).close()  # its process has ended
    assert devices.choose(["0", "1"], tmp_path) == "0"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    monkeypatch.setattr(devices, "_locks", [])
    monkeypatch.setattr(devices.tempfile, "gettempdir", lambda: str(tmp_path))
    devices.take_device()
    devices.take_device()
    assert devices.os.environ["CUDA_VISIBLE_DEVICES"] == "3"


def test_a_process_of_joblib_ends_with_its_sweep(tmp_path: Path) -> None:
    context = get_context("fork")
    sweep = context.Process(target=_sweep_with_a_worker, args=(tmp_path / "worker",))
    sweep.start()
    until = time.monotonic() + 20
    while not (tmp_path / "worker").is_file() and time.monotonic() < until:
        time.sleep(0.01)
    worker = int((tmp_path / "worker").read_text())
    sweep.kill()
    sweep.join()
    while _lives(worker) and time.monotonic() < until:
        time.sleep(0.01)
    assert not _lives(worker)


def _sweep_with_a_worker(told: Path) -> None:
    worker = os.fork()
    if worker == 0:
        devices.begin_worker()
        write_text(told, str(os.getpid()))
        time.sleep(60)
        os._exit(0)
    os.waitpid(worker, 0)


def _lives(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(") ")[2][0]
    except FileNotFoundError:
        return False
    return state != "Z"


def test_commands_can_be_pasted_into_a_shell() -> None:
    line = command(
        "train", "--config-dir", "my folder", "data=mosi", "method.pairs=[[text,audio]]", "paths.data='/a b'"
    )
    assert shlex.split(line)[4:] == ["data=mosi", "method.pairs=[[text,audio]]", "paths.data='/a b'"]
    assert line.startswith("trivium train --config-dir 'my folder' data=mosi 'method.pairs=[[text,audio]]' ")
    assert in_words(ValueError("one\n  two")) == "one | two"
    assert in_words(KeyError()) == "KeyError: no message"
