"""Starts a run on several devices: torchrun starts one worker a device on the config that lies in the run directory.

Lightning's own launcher would repeat the command line of a whole sweep, and ranks could train different configs. Where
an outer torchrun or SLURM has started ranks already, these are used.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist

from trivium.core.interruption import ended_by_signals, other_handler
from trivium.core.processes import options_of_child
from trivium.runs.directory import RunDirectory


@dataclass
class Ranks:
    """Holds this process's rank among the processes that torchrun or SLURM started; size is their number, 1 without."""

    rank: int = 0
    size: int = 1

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    def first(self, make: Callable[[], RunDirectory]) -> RunDirectory:
        """Makes the run directory on the first rank, and sends its path to the others. All ranks raise its error."""
        if self.size == 1:
            return make()
        # One entry, the path or the error.
        message: list[Any] = [None]
        run: RunDirectory | None = None
        if self.is_first:
            try:
                run = make()
                message = [run.path]
            except (ValueError, OSError) as error:
                message = [error]
        dist.broadcast_object_list(message, src=0)
        if isinstance(message[0], Exception):
            raise message[0]
        return run or RunDirectory(message[0])


def join_ranks(config: dict[str, Any]) -> Ranks:
    """Joins the processes of an outer torchrun or SLURM step, if this is one of them.

    Raises ValueError if the config asks for another number of processes, or for nodes that only a launcher reaches.
    """
    if "RANK" not in os.environ and int(os.environ.get("SLURM_STEP_NUM_TASKS", "1")) > 1:
        os.environ |= _rank_in_slurm()
    size = int(os.environ.get("WORLD_SIZE", "1"))
    nodes = config["trainer"]["num_nodes"]
    if size == 1:
        if nodes > 1:
            raise ValueError(
                f"trainer.num_nodes={nodes}: expected one process a device on every node, found this one alone; start "
                "trivium train on every node with torchrun or srun"
            )
        return Ranks()
    expected = config["trainer"]["devices"] * nodes
    if expected != size:
        raise ValueError(
            f"{size} processes were started from outside (torchrun, srun), but trainer.devices x trainer.num_nodes is "
            f"{expected}; make them equal"
        )
    # Who starts one process a machine need not number them.
    os.environ.setdefault("LOCAL_RANK", "0")
    if not dist.is_initialized():
        on_cpu = config["trainer"]["accelerator"] == "cpu" or not torch.cuda.is_available()
        if not on_cpu:
            torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        dist.init_process_group("gloo" if on_cpu else "nccl")
    return Ranks(dist.get_rank(), size)


def _rank_in_slurm() -> dict[str, str]:
    """Returns torch's variables for this task of a SLURM step (srun), however the tasks were asked for.

    SLURM_NTASKS would count the tasks of the job, but a batch script that calls python without srun is one process.
    """
    from lightning.fabric.plugins.environments.slurm import SLURMEnvironment

    number, step = int(os.environ["SLURM_JOB_ID"]), int(os.environ.get("SLURM_STEP_ID", "0"))
    nodes = os.environ.get("SLURM_STEP_NODELIST") or os.environ["SLURM_JOB_NODELIST"]
    return {
        "MASTER_ADDR": os.environ.get("MASTER_ADDR") or SLURMEnvironment.resolve_root_node_address(nodes),
        # Jobs of one node, and steps of one job, get ports of their own.
        "MASTER_PORT": os.environ.get("MASTER_PORT") or str(15000 + (number + 997 * step) % 10000),
        "RANK": os.environ["SLURM_PROCID"],
        "WORLD_SIZE": os.environ["SLURM_STEP_NUM_TASKS"],
        "LOCAL_RANK": os.environ["SLURM_LOCALID"],
        "GROUP_RANK": os.environ["SLURM_NODEID"],
    }


def wants_workers(config: dict[str, Any], ranks: Ranks) -> bool:
    """Tells whether the config asks for several devices and no launcher has started a process for each of them."""
    return ranks.size == 1 and config["trainer"]["devices"] > 1


def launch_workers(run: RunDirectory, config: dict[str, Any], *, loud: bool = False) -> None:
    """Starts torchrun on this machine, one process a device, and returns when all have finished.

    loud: whether the first of them says how large the model is.
    Raises ChildProcessError if one failed; their output has been shown.
    """
    command = [sys.executable, "-m", "trivium.runs.torchrun", "--standalone"]
    command += ["--nproc-per-node", str(config["trainer"]["devices"]), "-m", "trivium.runs.worker"]
    environment = {**os.environ, "TRIVIUM_RUN_DIR": str(run.path), "TRIVIUM_LOUD": str(int(loud))}
    share = max(1, (os.cpu_count() or 1) // config["trainer"]["devices"])
    environment.setdefault("OMP_NUM_THREADS", str(share))
    ignored: tuple[signal.Signals, ...] = ()
    if other_handler() is not None:
        # SLURM signals all processes of a job, and the handler of this one is the answer.
        ignored = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
    # torchrun and the workers inherit the run's lock, so that the run cannot be resumed before the last of them has
    # ended, even if this process is killed. Ctrl-C comes to this process alone, as all of them would show tracebacks.
    process = subprocess.Popen(command, env=environment, **options_of_child(run.lock, ignored))
    try:
        with ended_by_signals():
            code = process.wait()
    except KeyboardInterrupt:
        # The workers end with it.
        process.kill()
        raise
    finally:
        if process.poll() is None:
            # The workers end with it, in whatever way.
            (process.kill if ignored else process.terminate)()
            process.wait()
    if code:
        # The first rank writes why it failed; if another one did, the status does not say so.
        status = str(run.record().get("status", ""))
        reason = status if status.startswith("failed") else "failed"
        raise ChildProcessError(f"{run.path}: a worker process {reason} (exit status {code}; its traceback is above)")
