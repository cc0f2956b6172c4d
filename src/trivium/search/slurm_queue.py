"""Asks SLURM's queue (squeue) how submitit's jobs are, where submitit would ask SLURM's accounting (sacct)."""

from __future__ import annotations

import os
import subprocess
import time
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

from submitit import SlurmJob
from submitit.slurm.slurm import SlurmInfoWatcher

from trivium.core.wording import counted

# A job in any other state waits, runs or goes back into the queue.
_ENDED = {
    *("BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL"),
    *("OUT_OF_MEMORY", "PREEMPTED", "REVOKED", "TIMEOUT"),
}
# The queue forgets a job some minutes after its end.
_FORGOTTEN = "no longer in the queue"
# Seconds between looks at jobs of an earlier start, and at most between those at the jobs of this one.
_LOOK_EVERY, _LOOK_AT_LEAST_EVERY = 5.0, 60


class QueuedJob(NamedTuple):
    """Holds what squeue says of a job. reason: why a job that waits does not run."""

    state: str
    reason: str = ""


class QueueWatcher(SlurmInfoWatcher):
    """Tells submitit the states of its jobs, as squeue has them.

    sacct needs accounting, which small clusters often lack. submitit then warns at every look, and waits without end
    for a job that was killed.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._held: set[str] = set()

    def update(self) -> None:
        """Asks for the states of all jobs that have not ended. They stay as they were if SLURM does not answer."""
        self._num_calls += 1
        self._last_status_check = time.time()
        try:
            queue = jobs_in_queue()
        except ValueError as error:
            warnings.warn(f"{error}; asking again", stacklevel=2)
            return
        at_work = self._registered - self._finished
        _warn_of_held(queue, at_work, self._held)
        for job in at_work:
            self._info_dict[job] = {"State": queue[job].state if job in queue else _FORGOTTEN}
            if self.is_done(job, mode="cache"):
                self._finished.add(job)

    def is_done(self, job_id: str, mode: str = "standard") -> bool:
        """Tells whether a job has ended. mode: as in submitit."""
        return has_ended(self.get_state(job_id, mode=mode))


def watch_queue() -> None:
    """Lets squeue tell of all jobs that this process submits through submitit."""
    if not isinstance(SlurmJob.watcher, QueueWatcher):
        SlurmJob.watcher = QueueWatcher(delay_s=_LOOK_AT_LEAST_EVERY)


def has_ended(state: str) -> bool:
    """Tells whether a job in this state of squeue has ended for good."""
    return state in _ENDED or state == _FORGOTTEN


def jobs_in_queue() -> dict[str, QueuedJob]:
    """Returns the user's jobs by their ids, such as "17" and "18_0".

    Raises ValueError if SLURM does not answer.
    """
    command = ["squeue", f"--user={os.getuid()}", "--states=all", "--array", "--noheader", "--format=%i|%T|%r"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        reason = " ".join(str(getattr(error, "stderr", "") or error).split())
        raise ValueError(f"SLURM does not answer (squeue: {reason})") from error
    lines = (line.strip().split("|") for line in answer.stdout.splitlines())
    return {job: QueuedJob(*rest[:2]) for job, *rest in lines if rest}


def _warn_of_held(queue: dict[str, QueuedJob], jobs: Iterable[str], warned_of: set[str]) -> None:
    """Warns of jobs that SLURM holds, which nobody starts but by a command. warned_of: those that were told of already.

    SLURM holds a job of its own accord when it could not be started where it was queued again.
    """
    for job in sorted(set(jobs) & queue.keys() - warned_of):
        state, reason = queue[job]
        if state == "PENDING" and any(word in reason.lower() for word in ("held", "hold")):
            warned_of.add(job)
            warnings.warn(
                f"SLURM holds job {job} ({reason}), so that it never starts by itself: `scontrol release {job}` lets "
                f"it run, `scancel {job}` ends it",
                stacklevel=2,
            )


def wait_for_earlier_jobs(folder: Path, abandoned: Callable[[int], bool]) -> None:
    """Waits for jobs of an earlier start of this sweep, which go on in SLURM when the sweep itself is killed.

    folder: submitit's, with a folder for each job.
    abandoned: tells by the number of a job's trial, or in a grid of the job, whether no process waits for it.
    Raises ValueError if SLURM does not answer.
    """
    held: set[str] = set()
    at_work = _abandoned_jobs(folder, abandoned, held)
    if at_work:
        names = " ".join(sorted(at_work))
        earlier = f"{counted(len(at_work), 'job')} of an earlier start"
        print(f"waiting for {earlier}: SLURM's {names} (`scancel {names}` ends them)", flush=True)
    while at_work:
        time.sleep(_LOOK_EVERY)
        at_work = _abandoned_jobs(folder, abandoned, held)


def _abandoned_jobs(folder: Path, abandoned: Callable[[int], bool], held: set[str]) -> list[str]:
    """Returns the ids of the folder's jobs that wait or run in SLURM, and that no process waits for.

    held: those that were warned of, as SLURM holds them.
    """
    ids = [path.name for path in folder.iterdir() if path.is_dir()] if folder.is_dir() else []
    queue = jobs_in_queue() if ids else {}
    at_work = [job for job in ids if job in queue and not has_ended(queue[job].state)]
    waited_for = [job for job in at_work if abandoned(_number(folder, job))]
    _warn_of_held(queue, waited_for, held)
    return waited_for


def _number(folder: Path, job: str) -> int:
    """Returns the number of a job's trial, or in a grid that of the job."""
    # Hydra's launcher calls itself with (overrides, key, number, ...), and counts a batch's jobs from its first trial.
    overrides, _, number = SlurmJob(folder=folder / "%j", job_id=job).submission().args[:3]
    trials = [word.partition("=")[2] for word in overrides if word.startswith("run.trial=")]
    return int(trials[0] if trials else number)
