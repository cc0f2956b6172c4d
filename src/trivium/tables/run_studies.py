"""Runs the searches of a table's rows: each study's trials one after the other, and several studies at once."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from optuna.trial import FrozenTrial, TrialState
from rich.console import Console

from trivium.core.wording import command
from trivium.search.outcome import Outcome
from trivium.search.reporter import Reporter
from trivium.search.scheduler import LOOK_EVERY, Job, run_jobs
from trivium.search.study import OpenStudy, TrialToRun, open_study
from trivium.search.summary import failures, write_summary
from trivium.search.titles import settings_of
from trivium.search.train_processes import TrainProcesses
from trivium.tables.estimate import Estimate
from trivium.tables.plan import Planned, assign
from trivium.tables.studies import RowStudy
from trivium.tables.work import Failure, complete


@dataclass
class _Search:
    """Holds one study at work. run: a planned run of its row, by which a failure is told."""

    run: Planned
    study: RowStudy
    opened: OpenStudy

    @property
    def of_budget(self) -> list[FrozenTrial]:
        """Returns the trials that count, without those of a larger budget of before."""
        return self.opened.trials()[: self.opened.planned]

    @property
    def left(self) -> int:
        """Returns the number of trials that have not ended."""
        return self.opened.planned - sum(trial.state.is_finished() for trial in self.of_budget)

    def command(self, parameters: Sequence[str]) -> str:
        return command("train", *self.study.fixed, *parameters)

    def job(self, trial: TrialToRun) -> Job:
        """Returns a trial as a run of `trivium train`, which reports to the study."""
        arguments = (
            *self.study.fixed,
            *trial.overrides,
            "resume=auto",
            assign("run.study", self.opened.folder.absolute()),
            f"run.trial={trial.number}",
            assign("run.dir", trial.run.path.absolute()),
        )
        return Job(
            self.name_of(trial.name),
            trial.run,
            arguments,
            self.command(trial.overrides),
            settings_of(trial.overrides),
            epochs=self.run.epochs,
            log=f"{self.opened.folder.name}_{trial.number}",
        )

    def name_of(self, trial: str) -> str:
        data = f"{self.run.table.data}, " if self.run.table.data else ""
        return f"{self.run.row.label}, {data}{trial}"


def search_rows(
    plan_again: Callable[[], list[list[Planned]]], *, jobs: int, logs: Path, estimate: Estimate
) -> tuple[list[list[Planned]], list[Failure]]:
    """Runs the searches that a table's rows wait for, and returns the runs as planned with what they have chosen.

    plan_again: plans the runs of each data set with what is finished now. A search whose trials begin from another
    row's run comes after that run. Where a search has finalists, their runs come after it. Returns also the searches
    and runs that failed.
    """
    failed: list[Failure] = []
    # The studies that were run, each once.
    ended: set[Path] = set()
    while True:
        planned = plan_again()
        runs = [run for part in planned for run in part]
        lost = {failure.run.name for failure in failed}
        waiting = {run.study.folder: run for run in reversed(runs) if run.study and run.waits and not run.lacking}
        searches = {folder: run for folder, run in waiting.items() if run.study and not run.study.contested}
        left = [run for folder, run in reversed(searches.items()) if folder not in ended]
        finals = [
            final for run in waiting.values() if run.study for final in run.study.pending if final.name not in lost
        ]
        begins = {run.name: run.study.start for run in left if run.study and run.study.start}
        ready = [run for run in left if run.name not in begins or begins[run.name].finished]
        starts = [*begins.values(), *(final.start for final in finals if final.start)]
        places = {start.path for start in starts if not start.finished}
        first = [run for run in runs if run.directory.path in places and not run.waits and run.name not in lost]
        if ready:
            ended |= {run.study.folder for run in ready if run.study}
            failed += complete_studies(ready, jobs=jobs, logs=logs)
        elif first or finals:
            failed += complete([*first, *finals], jobs=jobs, logs=logs, estimate=estimate)
        else:
            return planned, failed


def complete_studies(
    runs: Sequence[Planned], *, jobs: int, logs: Path, console: Console | None = None
) -> list[Failure]:
    """Runs what the studies of these runs lack, and returns those of which no trial is complete.

    runs: one planned run for each study. A study's trials follow each other, so that what is drawn does not depend on
    `jobs`; with several jobs as many studies are at work. Trials that another process works on are waited for.
    Each trial's output is logs/STUDY_NUMBER.log.
    """
    logs.mkdir(parents=True, exist_ok=True)
    searches = [_opened(run) for run in runs]
    reporter = Reporter(
        sum(search.opened.planned for search in searches),
        done=sum(search.opened.planned - search.left for search in searches),
        console=console,
    )
    for search in searches:
        reporter.say(_plan_text(search))
    with reporter:
        while any(search.left for search in searches):
            if not _run(searches, TrainProcesses(jobs, logs), reporter):
                _refuse_another_machines(searches)
                time.sleep(LOOK_EVERY)
    failed = []
    for search in searches:
        write_summary(search.opened, search.command)
        errors = [failure.error for failure in failures(search.opened, search.command)]
        if not any(trial.state is TrialState.COMPLETE for trial in search.of_budget):
            reason = f"no trial of its search is complete: {errors[0] if errors else 'none was run to its end'}"
            failed.append(Failure(search.run, reason, logs / f"{search.opened.folder.name}_0.log"))
    return failed


def _opened(run: Planned) -> _Search:
    study = run.study
    assert study is not None
    opened = open_study(study.folder, study.settings, dict(study.space), study.shared)
    return _Search(run, study, opened)


def _run(searches: Sequence[_Search], processes: TrainProcesses, reporter: Reporter) -> bool:
    """Runs trials until there are none for this process; returns False if there was none."""
    of_job: dict[str, tuple[_Search, TrialToRun]] = {}

    def begin(search: _Search) -> list[Job]:
        search.opened.on_end = lambda name, outcome: reporter.ends(search.name_of(name), outcome)
        trials = search.opened.next(1)
        made = [search.job(trial) for trial in trials]
        of_job.update({job.name: (search, trial) for job, trial in zip(made, trials, strict=True)})
        return made

    def judge(job: Job, error: str | None) -> Outcome:
        search, trial = of_job[job.name]
        outcome = search.opened.settle(trial, error)
        write_summary(search.opened, search.command)
        return outcome

    firsts = [job for search in searches for job in begin(search)]
    if firsts:
        run_jobs(firsts, processes, reporter, judge, follow=lambda job: begin(of_job[job.name][0]))
    return bool(firsts)


def _refuse_another_machines(searches: Sequence[_Search]) -> None:
    """Raises ValueError if a trial was begun on another machine and nobody is seen to work on it."""
    for search in searches:
        for trial in search.of_budget:
            if not trial.state.is_finished() and not search.opened.worked_on(trial.number):
                raise ValueError(
                    f"{search.opened.folder}: trial {trial.number} was begun on {trial.user_attrs.get('host')}, and "
                    "nobody is seen to work on it; go on there, or remove the folder to search anew"
                )


def _plan_text(search: _Search) -> str:
    opened = search.opened
    before = opened.planned - search.left
    had_ended = f", {before} of them done" if before else ""
    label = search.name_of("").rstrip(", ")
    return f"search of {label}: {opened.planned} trials for the {search.study.rule}{had_ended}"
