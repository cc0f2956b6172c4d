"""Reads submitit's jobs from its folder: when its launcher gave up on all because the process of one had died, and when
a sweep that was killed is started again.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

# The folder of a sweep's jobs, in its own.
FOLDER = ".submitit"
# Seconds between looks at a job of this machine.
LOOK_EVERY = 1.0


def prepare(kind: str) -> None:
    """Lets SLURM's queue tell of the jobs of submitit_slurm; does nothing for another launcher."""
    if kind == "submitit_slurm":
        # Importing submitit takes a moment, which other launchers need not spend.
        from trivium.search.slurm_queue import watch_queue

        watch_queue()


def wait_for_earlier_jobs(sweep: Path, kind: str, abandoned: Callable[[int], bool]) -> None:
    """Waits for SLURM jobs of an earlier start of the sweep in a folder; does nothing for another launcher.

    abandoned: tells by the number of a job's trial, or in a grid of the job, whether no process waits for it.
    Raises ValueError if SLURM does not answer.
    """
    if kind == "submitit_slurm" and (sweep / FOLDER).is_dir():
        from trivium.search import slurm_queue

        slurm_queue.wait_for_earlier_jobs(sweep / FOLDER, abandoned)


def submitted(launcher: Any, kind: str) -> set[str]:
    """Returns the ids of the jobs in the launcher's folder; none for a launcher that is not submitit's."""
    if not kind.startswith("submitit"):
        return set()
    folder = _folder(launcher).parent
    return {path.name for path in folder.iterdir() if path.is_dir()} if folder.is_dir() else set()


def collect(launcher: Any, kind: str, before: set[str]) -> dict[int, Any]:
    """Waits for all jobs that are not in `before`, and returns the end of each by its number.

    An end is what the job returned, or the exception that says how its process ended.
    """
    ends: dict[int, Any] = {}
    for name in sorted(submitted(launcher, kind) - before):
        job = _job(launcher, kind, name)
        if not job.paths.submitted_pickle.is_file():
            continue
        # Hydra's launcher calls itself with (overrides, key, number, ...).
        number = job.submission().args[2]
        try:
            ends[number] = job.results()[0]
        except Exception:
            # It was killed, or ran out of time, which ends no other job.
            state = f" ({job.state})" if kind == "submitit_slurm" else ""
            ends[number] = ChildProcessError(f"its process ended without a result{state}; see {job.paths.stderr}")
    return ends


def _folder(launcher: Any) -> Path:
    return Path(launcher.params["submitit_folder"])


def _job(launcher: Any, kind: str, name: str) -> Any:
    from submitit import LocalJob, SlurmJob

    tasks = range(launcher.params.get("nodes", 1) * launcher.params.get("tasks_per_node", 1))
    if kind == "submitit_slurm":
        return SlurmJob(folder=_folder(launcher), job_id=name, tasks=tasks)
    # Without its Popen, submitit takes a job for ended.
    while _runs(int(name)):
        time.sleep(LOOK_EVERY)
    return LocalJob(folder=_folder(launcher), job_id=name, tasks=tasks)


def _runs(child: int) -> bool:
    """Returns whether a child process is at work, and reaps one that has ended."""
    try:
        return os.waitpid(child, os.WNOHANG) == (0, 0)
    except ChildProcessError:
        return False
