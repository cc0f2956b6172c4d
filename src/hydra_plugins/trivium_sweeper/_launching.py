"""Runs jobs through Hydra's launchers, so that a job that fails does not lose the results of others.

The file's name begins with _, as Hydra would otherwise load it a second time while it looks for plugins.
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
    """Calls `trivium train`'s function in a job's process, in the folder that the sweep was started in.

    A cluster may start jobs elsewhere, and paths such as paths.data are relative.
    """

    function: TaskFunction
    folder: str

    def __call__(self, config: Any) -> Any:
        os.chdir(self.folder)
        return self.function(config)


class LauncherWorkers:
    """Runs jobs through one of Hydra's launchers, as the scheduler's workers (trivium.search.scheduler.Workers).

    launcher: one that is set up. kind: its name. "basic" runs one job after the other in this process; the others get
    all started jobs as one batch, and return when the last has ended.
    """

    def __init__(self, launcher: Launcher, kind: str) -> None:
        self._launcher, self._kind = launcher, kind
        self._batch: list[Job] = []
        # Hydra's basic launcher would return nothing until all jobs are done, and would end with the first one that
        # does not compose, so it gets the jobs one by one.
        self.at_once = 1 if kind == "basic" else sys.maxsize
        self.waits_for_all = kind != "basic"

    def start(self, job: Job) -> None:
        self._batch.append(job)

    def wait(self, seconds: float) -> dict[str, str | None]:
        """Runs the batch, and returns job name -> error or None. Raises ValueError if the launcher started no job."""
        jobs, self._batch = self._batch, []
        return _launch(self._launcher, self._kind, jobs) if jobs else {}

    def stop(self) -> None:
        """Does nothing: joblib's processes end with this one, and jobs of a cluster go on."""


def _launch(launcher: Launcher, kind: str, jobs: Sequence[Job]) -> dict[str, str | None]:
    from trivium.search import cluster
    from trivium.search.jobs import in_words

    names = [job.name for job in jobs]
    # The folders of a sweep's runs are named after the jobs' numbers.
    first_number = int(jobs[0].run.path.name)
    earlier_jobs = cluster.submitted(launcher, kind)
    cluster.prepare(kind)
    try:
        returns = launcher.launch([job.arguments for job in jobs], initial_job_idx=first_number)
    except Exception as error:
        # When one process was killed, a launcher gives up its whole batch; the results of other jobs lie in its folder.
        if kind != "basic" and not any(job.run.path.exists() for job in jobs):
            raise ValueError(f"hydra/launcher={kind} could not start a job: {in_words(error)}") from error
        gave_up = dict.fromkeys(names, f"the launcher gave up: {in_words(error)}")
        # The launcher numbers its jobs from the first one of the batch.
        returns_by_number = cluster.collect(launcher, kind, earlier_jobs)
        ended = {
            name: _error(returns_by_number[first_number + n])
            for n, name in enumerate(names)
            if first_number + n in returns_by_number
        }
        return {**gave_up, **ended}
    return {name: _error(end) for name, end in zip(names, returns, strict=True)}


def _error(end: JobReturn | Exception) -> str | None:
    from trivium.search.jobs import in_words

    if isinstance(end, Exception):
        return in_words(end)
    return None if end.status == JobStatus.COMPLETED else in_words(end._return_value)
