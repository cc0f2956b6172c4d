"""Runs jobs through Hydra's launchers, so that no job takes another's result with it.

The name begins with _, or Hydra would load this file a second time while it looks for plugins.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.types import TaskFunction

if TYPE_CHECKING:
    from trivium.search.scheduler import Job


@dataclass(frozen=True)
class Task:
    """Calls train.py's function in a job's process, in the folder that the sweep was started in.

    A cluster may start jobs elsewhere, and paths such as paths.data are relative.
    """

    function: TaskFunction
    folder: str

    def __call__(self, config: Any) -> Any:
        os.chdir(self.folder)
        return self.function(config)


class LauncherWorkers:
    """Runs jobs through one of Hydra's launchers, as the scheduler's workers (trivium.search.scheduler.Workers).

    launcher: set up. kind: its name. basic runs one job after the other in this process; the others take all jobs that
    were started as one batch, and return when the last has ended.
    """

    def __init__(self, launcher: Launcher, kind: str) -> None:
        self._launcher, self._kind = launcher, kind
        self._batch: list[Job] = []
        # Hydra's basic launcher would tell nothing until all jobs are done, and end with the first that does not
        # compose, so it gets them singly.
        self.at_once = 1 if kind == "basic" else sys.maxsize
        self.waits_for_all = kind != "basic"

    def start(self, job: Job) -> None:
        self._batch.append(job)

    def wait(self, seconds: float) -> dict[str, str | None]:
        """Runs the batch. Raises ValueError if the launcher started none of it."""
        jobs, self._batch = self._batch, []
        return _launch(self._launcher, self._kind, jobs) if jobs else {}

    def stop(self) -> None:
        """Does nothing: joblib's processes end with this one, and jobs of a cluster go on."""


def _launch(launcher: Launcher, kind: str, jobs: Sequence[Job]) -> dict[str, str | None]:
    from trivium.search import cluster
    from trivium.search.jobs import in_words

    names = [job.name for job in jobs]
    # A sweep's runs lie in folders of their numbers.
    first = int(jobs[0].run.path.name)
    before = cluster.submitted(launcher, kind)
    try:
        returns = launcher.launch([job.arguments for job in jobs], initial_job_idx=first)
    except Exception as error:
        # A process that was killed takes the launcher's whole batch with it; what ended is in the launcher's folder.
        if kind != "basic" and not any(job.run.path.exists() for job in jobs):
            raise ValueError(f"hydra/launcher={kind} could not start a job: {in_words(error)}") from error
        gave_up = dict.fromkeys(names, f"the launcher gave up: {in_words(error)}")
        # By the launcher's numbers, which count on from the first.
        ends = cluster.collect(launcher, kind, before)
        known = {name: _error(ends[first + n]) for n, name in enumerate(names) if first + n in ends}
        return {**gave_up, **known}
    return {name: _error(end) for name, end in zip(names, returns, strict=True)}


def _error(end: JobReturn | Exception) -> str | None:
    from trivium.search.jobs import in_words

    if isinstance(end, Exception):
        return in_words(end)
    return None if end.status == JobStatus.COMPLETED else in_words(end._return_value)
