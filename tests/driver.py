"""Runs in this process, in processes of their own that die where a test wants them to, and whole command lines."""

from __future__ import annotations

import csv
import json
import multiprocessing
import os
import runpy
import signal
import socket
import sys
from collections.abc import Callable, Iterable, Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from trivium.config.compose import compose_config

# A server that has imported everything once: a run then starts in milliseconds instead of seconds.
_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["trivium.runs.train", "trivium.config.check", "sklearn.metrics"])

ROOT = Path(__file__).resolve().parents[1]
# Of `srun -n 2` in a shell; the tasks do not say how many of them are on a node.
_STEP = {
    **{"SLURM_JOB_ID": "17", "SLURM_JOB_NAME": "train.py", "SLURM_NTASKS": "2", "SLURM_NNODES": "1"},
    **{"SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": "2", "SLURM_STEP_NODELIST": "localhost", "SLURM_NODEID": "0"},
}
SMALL = ["data.batch_size=48", "trainer.accelerator=cpu", "trainer.max_epochs=3", "trainer.threads=1"]


def run(folder: Path, *overrides: str, kill: tuple[str, int] | None = None) -> int:
    """Train in `folder` with `overrides`; returns the process's exit code (-9 after SIGKILL).

    kill: ("step", n) before the n-th training step from 0, over all epochs; ("validation", n) in the n-th validation;
    ("saved", n) right after the n-th checkpoint; ("unsaved", n) right before it; ("finish", 0) before result.json.
    """
    return spawn(_child, in_folder(folder, *overrides), kill)


def run_ranks(folder: Path, *overrides: str, by: str = "torchrun") -> list[int]:
    """As `run`, on two processes that are given from outside, by: "torchrun" or "srun -n 2"; their exit codes."""
    return run_ranks_each(folder, [overrides], by)


def run_ranks_each(folder: Path, runs: Iterable[Sequence[str]], by: str = "torchrun") -> list[int]:
    """As `run_ranks`, several runs one after the other on the same two processes. runs: the overrides of each."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        outside = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1]), "WORLD_SIZE": "2"}
    settings = [in_folder(folder, *overrides, "trainer=ddp", "trainer.devices=2") for overrides in runs]
    ranks = [{"TORCHELASTIC_RUN_ID": "none", "RANK": rank, "LOCAL_RANK": rank} for rank in ("0", "1")]
    if by != "torchrun":
        outside = {"MASTER_PORT": outside["MASTER_PORT"], **_STEP}
        ranks = [{"SLURM_PROCID": rank, "SLURM_LOCALID": rank} for rank in ("0", "1")]
    codes = [_exit_code(process) for process in [_start(_rank, settings, {**outside, **rank}) for rank in ranks]]
    if any(codes):
        print("of these runs the first without a result failed:", *(line[-1] for line in settings), sep="\n")
    return codes


def here(folder: Path, *overrides: str) -> dict[str, Any]:
    """Train in this process, which is the fastest; returns result.json."""
    from trivium.runs.train import train

    settings = in_folder(folder, *overrides)
    return train(compose_config(settings), settings)


def command(folder: Path, *arguments: str, script: str = "train.py", **environment: str) -> tuple[int, str]:
    """`python SCRIPT ARGUMENTS` in `folder`, in a process that has torch already: (exit code, all that it printed)."""
    log = folder / "printed.log"
    code = spawn(_command, [str(ROOT / script), *arguments], folder, log, environment)
    return code, log.read_text()


def in_folder(folder: Path, *overrides: str) -> list[str]:
    """The overrides of a small run whose data and outputs lie in `folder`."""
    return [f"paths.data={folder / 'data'}", f"paths.outputs={folder / 'outputs'}", *SMALL, *overrides]


def spawn(target: Callable[..., None], *arguments: Any) -> int:
    """Call a function of a test module in a fresh process; returns its exit code."""
    return _exit_code(_start(target, *arguments))


def _start(target: Callable[..., None], *arguments: Any) -> BaseProcess:
    process = _CONTEXT.Process(target=target, args=arguments)
    process.start()
    return process


def _exit_code(process: BaseProcess) -> int:
    process.join(timeout=240)
    if process.exitcode is None:
        process.kill()
    assert process.exitcode is not None, "the process hangs"
    return process.exitcode


def _command(argv: list[str], folder: Path, log: Path, environment: dict[str, str]) -> None:
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(output, 1)
    os.dup2(output, 2)
    sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", closefd=False)
    os.environ |= environment
    os.chdir(folder)
    sys.argv = argv
    runpy.run_path(argv[0], run_name="__main__")


def _child(overrides: list[str], kill: tuple[str, int] | None) -> None:
    from trivium.runs.train import train

    if kill is not None:
        _arrange_death(*kill)
    train(compose_config(overrides), overrides)


def _rank(runs: list[list[str]], outside: dict[str, str]) -> None:
    os.environ |= outside
    for overrides in runs:
        _child(overrides, None)


def _arrange_death(where: str, count: int) -> None:
    """SIGKILL, which nothing can catch, at the given moment."""
    import trivium.runs.checkpointing as checkpointing
    import trivium.runs.final_test as final_test
    from trivium.evaluation.validation import Validation
    from trivium.methods.base import Method

    owner, name = {
        "step": (Method, "training_step"),
        "validation": (Validation, "on_validation_batch_end"),
        "saved": (checkpointing.AtomicCheckpointIO, "save_checkpoint"),
        "unsaved": (checkpointing.AtomicCheckpointIO, "save_checkpoint"),
        "finish": (final_test, "write_predictions"),
    }[where]
    original, calls = getattr(owner, name), iter(range(10**9))

    def deadly(*args: Any, **kwargs: Any) -> Any:
        last = next(calls) == count
        if last and where != "saved":
            os.kill(os.getpid(), signal.SIGKILL)
        result = original(*args, **kwargs)
        if last:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(owner, name, deadly)


def record(run_dir: Path) -> dict[str, Any]:
    """What must be equal between two runs of one config: weights, metrics per epoch, predictions, result; not times."""
    result = json.loads((run_dir / "result.json").read_text())
    return {
        "weights": (run_dir / "weights.safetensors").read_bytes(),
        "epochs": rows(run_dir / "metrics.csv"),
        "predictions": (run_dir / "predictions.csv").read_text(),
        "scores": {split: result[split] for split in ("val", "test")},
        "best": (result["best_epoch"], result["epochs"]),
    }


def rows(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return [{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(file)]
