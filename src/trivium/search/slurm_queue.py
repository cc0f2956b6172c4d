"""Asks SLURM's queue (squeue) how submitit's jobs are, where submitit would ask SLURM's accounting (sacct)."""

from __future__ import annotations

import os
import subprocess
import time
import warnings
from collections.abc import Callable
from pathlib import Path

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


class QueueWatcher(SlurmInfoWatcher):
    """Tells submitit the states of its jobs, as squeue has them.

    sacct needs accounting, which small clusters often lack. submitit then warns at every look, and waits without end
    for a job that was killed.
    """

    def update(self) -> None:
        """Asks for the states of all jobs that have not ended. They stay as they were if SLURM does not answer."""
        self._num_calls += 1
        self._last_status_check = time.time()
        try:
            states = states_in_queue()
        except ValueError as error:
            warnings.warn(f"{error}; asking again", stacklevel=2)
            return
        for job in self._registered - self._finished:
            self._info_dict[job] = {"State": states.get(job, _FORGOTTEN)}
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


def states_in_queue() -> dict[str, str]:
    """Returns the states of the user's jobs by their ids, such as "17" and "18_0".

    Raises ValueError if SLURM does not answer.
    """
    command = ["squeue", f"--user={os.getuid()}", "--states=all", "--array", "--noheader", "--format=%i|%T"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        reason = " ".join(str(getattr(error, "stderr", "") or error).split())
        raise ValueError(f"SLURM does not answer (squeue: {reason})") from error
    pairs = (line.strip().partition("|") for line in answer.stdout.splitlines())
    return {job: state for job, _, state in pairs}


def wait_for_earlier_jobs(folder: Path, abandoned: Callable[[int], bool]) -> None:
    """Waits for jobs of an earlier start of this sweep, which go on in SLURM when the sweep itself is killed.

    folder: submitit's, with a folder for each job.
    abandoned: tells by the number of a job's trial, or in a grid of the job, whether no process waits for it.
    Raises ValueError if SLURM does not answer.
    """
    at_work = _abandoned_jobs(folder, abandoned)
    if at_work:
        names = " ".join(sorted(at_work))
        earlier = f"{counted(len(at_work), 'job')} of an earlier start"
        print(f"waiting for {earlier}: SLURM's {names} (`scancel {names}` ends them)", flush=True)
    while at_work:
        time.sleep(_LOOK_EVERY)
        at_work = _abandoned_jobs(folder, abandoned)


def _abandoned_jobs(folder: Path, abandoned: Callable[[int], bool]) -> list[str]:
    """Returns the ids of the folder's jobs that wait or run in SLURM, and that no process waits for."""
    ids = [path.name for path in folder.iterdir() if path.is_dir()] if folder.is_dir() else []
    states = states_in_queue() if ids else {}
    at_work = [job for job in ids if not has_ended(states.get(job, _FORGOTTEN))]
    return [job for job in at_work if abandoned(_number(folder, job))]


def _number(folder: Path, job: str) -> int:
    """Returns the number of a job's trial, or in a grid that of the job."""
    # Hydra's launcher calls itself with (overrides, key, number, ...), and counts a batch's jobs from its first trial.
    overrides, _, number = SlurmJob(folder=folder / "%j", job_id=job).submission().args[:3]
    trials = [word.partition("=")[2] for word in overrides if word.startswith("run.trial=")]
    return int(trials[0] if trials else number)
