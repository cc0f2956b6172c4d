"""Jobs through Hydra's launchers: each one's end is told when it comes, and no job takes another's result with it.

The name begins with _, or Hydra would load this file a second time while it looks for plugins.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.types import TaskFunction

if TYPE_CHECKING:
    from trivium.runs.directory import RunDirectory
    from trivium.search.progress import Progress


@dataclass(frozen=True)
class Task:
    """What a job's process calls: train.py's function, in the folder that the sweep was started in.

    (A cluster may start jobs elsewhere, and paths such as paths.data are relative.)
    """

    function: TaskFunction
    folder: str

    def __call__(self, config: Any) -> Any:
        os.chdir(self.folder)
        return self.function(config)


@dataclass(frozen=True)
class Job:
    """One run. settings: what makes it. overrides: those, and what only this start of it needs.

    run: where it will lie. words: what is its own, for a reader.
    """

    number: int
    settings: tuple[str, ...]
    overrides: tuple[str, ...]
    run: RunDirectory
    words: str


def run_jobs(
    launcher: Launcher, kind: str, jobs: Sequence[Job], metric: str, progress: Progress
) -> dict[int, str | None]:
    """Each job's error, or None. kind: the launcher's name, such as basic. metric: what is told of a finished run.

    Raises ValueError if the launcher started none of them.
    """
    from trivium.search.outcome import outcome
    from trivium.search.progress import watched

    errors: dict[int, str | None] = {}
    # Hydra's own launcher would tell nothing until all are done, and end with the first that does not compose
    for batch in [[job] for job in jobs] if kind == "basic" else [jobs]:
        for job in batch:
            progress.begun(job.number, job.words)
        with watched({job.number: job.run for job in batch} if kind != "basic" else {}, metric, progress):
            errors |= _launch(launcher, kind, batch)
        for job in batch:
            progress.ended(job.number, outcome(job.run, metric, errors[job.number]))
    return errors


def _launch(launcher: Launcher, kind: str, jobs: Sequence[Job]) -> dict[int, str | None]:
    from trivium.search import cluster
    from trivium.search.jobs import in_words

    numbers = [job.number for job in jobs]
    before = cluster.submitted(launcher, kind)
    try:
        returns = launcher.launch([job.overrides for job in jobs], initial_job_idx=numbers[0])
    except Exception as error:  # a process that was killed takes the launcher's whole batch with it
        if kind != "basic" and not any(job.run.path.exists() for job in jobs):
            raise ValueError(f"hydra/launcher={kind} could not start a job: {in_words(error)}") from error
        gave_up = dict.fromkeys(numbers, f"the launcher gave up: {in_words(error)}")
        ends = cluster.collect(launcher, kind, before)
        return {**gave_up, **{n: _error(end) for n, end in ends.items() if n in gave_up}}
    return {number: _error(end) for number, end in zip(numbers, returns, strict=True)}


def _error(end: JobReturn | Exception) -> str | None:
    from trivium.search.jobs import in_words

    if isinstance(end, Exception):
        return in_words(end)
    return None if end.status == JobStatus.COMPLETED else in_words(end._return_value)
