"""Holds a study: the trials of one search, in a storage that outlives the process, and who works on which."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import optuna
import yaml
from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial

from trivium.config.space import MOST_POINTS, Dimension, grid_size, in_order, points_of
from trivium.core.files import atomic_file
from trivium.core.locks import SHORT_WAIT, alone, is_taken, refuse_without_locks, take
from trivium.runs.directory import RunDirectory
from trivium.runs.status import status_of
from trivium.search.outcome import Outcome, outcome_of
from trivium.search.sampling import as_override, draw, make_pruner, make_sampler
from trivium.search.storage import PATIENCE, lost_server, open_storage
from trivium.search.study_settings import StudySettings, definition, planned_trials

# The study's attribute with what all of its trials share.
DEFINITION = "trivium"
FILE = "study.yaml"
# A trial's attribute with the number of the trial whose point it has, and that was not run again.
SAME_AS = "same_as"


@dataclass(frozen=True)
class TrialToRun:
    """Holds a trial to run. overrides: its parameters, as `trivium train`'s arguments."""

    number: int
    overrides: tuple[str, ...]
    run: RunDirectory

    @property
    def name(self) -> str:
        return name_of(self.number)


@dataclass
class OpenStudy:
    """Holds an open study. Trials that this process works on are locked until they are settled."""

    folder: Path
    settings: StudySettings
    space: dict[str, Dimension]
    study: optuna.Study
    # Told of a trial that `next` finds at its end.
    on_end: Callable[[str, Outcome], None] = lambda name, outcome: None
    _locks: dict[int, IO[bytes]] = field(default_factory=dict)

    @property
    def metric(self) -> str:
        return self.settings.objective.removeprefix("val/")

    @property
    def planned(self) -> int:
        """Returns the number of trials of the whole study: n_trials, or the points of a smaller space."""
        return planned_trials(self.settings, self.space)

    def run(self, number: int) -> RunDirectory:
        """Returns a trial's run directory."""
        return RunDirectory(self.folder / str(number))

    def trials(self) -> list[FrozenTrial]:
        return self.study.get_trials(deepcopy=False)

    def next(self, most: int) -> list[TrialToRun]:
        """Returns up to `most` trials to run now: interrupted ones or else new ones; none when the search is done.

        Settles interrupted trials whose run has ended meanwhile, once no other is left: trials that were asked for
        together are then known together, so that what is pruned and drawn does not depend on a kill among them.
        """
        trials: list[TrialToRun] = []
        over: list[FrozenTrial] = []
        # A running trial that was begun elsewhere may have a process that cannot be seen from here.
        hosts = {socket.gethostname(), *self.settings.hosts}
        with self.alone():
            for trial in self.trials():
                if len(trials) == most:
                    break
                # Most have somebody who works on them.
                began_here = trial.state is TrialState.RUNNING and trial.user_attrs.get("host") in hosts
                if not (began_here and self._lock(trial.number, wait=0.0)):
                    continue
                if self._is_over(trial.number):
                    over.append(trial)
                else:
                    self._claim(Trial(self.study, trial._trial_id), trials)
            for trial in over:
                if trials:
                    self._locks.pop(trial.number).close()
                else:
                    self._claim(Trial(self.study, trial._trial_id), trials)
            interrupted = len(trials)
            while not interrupted and len(trials) < most and len(self.trials()) < self.planned:
                try:
                    new = self._ask()
                except StorageInternalError as error:
                    if not lost_server(error):
                        raise
                    # Whether the trial was added shows when the server is back; if so, it is an interrupted one.
                    continue
                if not self._lock(new.number):
                    raise ValueError(f"{self.folder}: trial {new.number} is new, and locked by another process")
                self._claim(new, trials)
        return trials

    def settle(self, trial: TrialToRun, error: str | None) -> Outcome:
        """Tells the study how a trial ended. error: what the job died of, if it did.

        A trial whose run another process works on, which outlived an earlier search, stays as it is.
        """
        try:
            return self._settle(trial.number, error)
        finally:
            self._locks.pop(trial.number).close()

    def worked_on(self, number: int) -> bool:
        """Returns whether some process of this file system works on a trial."""
        return self.is_claimed(number) or self.run(number).in_use

    def is_claimed(self, number: int) -> bool:
        """Returns whether a search of this file system waits for a trial, which may run elsewhere."""
        return number in self._locks or is_taken(self._lock_file(number))

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Lets one process of this file system at a time ask for trials, so that there are no more than planned."""
        with alone(_study_lock(self.folder)):
            yield

    def _settle(self, number: int, error: str | None) -> Outcome:
        outcome = outcome_of(self.run(number), self.metric, error)
        if outcome.state == "running":
            return outcome
        if outcome.state == "fail":
            Trial(self.study, self.trials()[number]._trial_id).set_user_attr("error", outcome.text)
        # A server that went away may have lost its answer, but not the news.
        with suppress(UpdateFinishedTrialError):
            self.study.tell(number, outcome.value, state=TrialState[outcome.state.upper()], skip_if_finished=True)
        return outcome

    def _ask(self) -> Trial:
        """Makes a new trial and names its machine in one write, so that no kill leaves a trial that belongs to none."""
        self.study.add_trial(create_trial(state=TrialState.RUNNING, user_attrs={"host": socket.gethostname()}))
        on_this_host = [trial for trial in self.trials() if trial.user_attrs.get("host") == socket.gethostname()]
        return Trial(self.study, on_this_host[-1]._trial_id)

    def _claim(self, trial: Trial, trials: list[TrialToRun]) -> None:
        """Adds a locked trial to those to run, or settles it if its run has ended."""
        if trial.user_attrs.get("host") != socket.gethostname():
            trial.set_user_attr("host", socket.gethostname())
        for dimension in in_order(self.space):
            # A value that was drawn already stays.
            if dimension.applies(trial.params):
                draw(trial, dimension)
        twin = self._twin(trial)
        if twin is not None:
            self._copy(trial, twin)
            return
        run = self.run(trial.number)
        if self._is_over(trial.number):
            self.on_end(name_of(trial.number), self._settle(trial.number, None))
            self._locks.pop(trial.number).close()
            return
        overrides = tuple(as_override(self.space[key], value) for key, value in trial.params.items())
        trials.append(TrialToRun(trial.number, overrides, run))

    def _is_over(self, number: int) -> bool:
        """Returns whether a trial's run has come to an end that its study knows nothing of yet."""
        run = self.run(number)
        return run.finished or status_of(run).startswith("pruned")

    def _twin(self, trial: Trial) -> FrozenTrial | None:
        """Returns the complete trial of the same point, whose run would be repeated bit for bit, or None."""
        complete = (other for other in self.trials() if other.state is TrialState.COMPLETE)
        return next((other for other in complete if other.params == trial.params), None)

    def _copy(self, trial: Trial, twin: FrozenTrial) -> None:
        """Ends a trial with the value of its twin, without a run."""
        trial.set_user_attr(SAME_AS, twin.number)
        self.study.tell(trial.number, twin.value, state=TrialState.COMPLETE)
        text = f"{self.settings.objective} {float(twin.value or 0.0):.5g}, as {name_of(twin.number)} of the same point"
        self.on_end(name_of(trial.number), Outcome("complete", text, twin.value))
        self._locks.pop(trial.number).close()

    def _lock(self, number: int, wait: float = SHORT_WAIT) -> bool:
        """Takes a trial until it is settled. Returns False if another process works on it."""
        if number in self._locks:
            return False
        file = take(self._lock_file(number), wait)
        if file is None:
            return False
        if self.run(number).in_use:
            file.close()
            return False
        self._locks[number] = file
        return True

    def _lock_file(self, number: int) -> Path:
        return self.folder / ".locks" / str(number)


def open_study(
    folder: Path, settings: StudySettings, space: dict[str, Dimension], shared: Mapping[str, Any]
) -> OpenStudy:
    """Opens the study in `folder`, new or begun before.

    shared: the settings that all trials have in common. Raises ValueError, and leaves no folder behind, if the study
    has other settings or the storage cannot be opened.
    """
    url = settings.storage or str(folder / "journal.log")
    folder.joinpath(".locks").mkdir(parents=True, exist_ok=True)
    try:
        # A database has locks of its own, but these say which trials of this machine have a process.
        refuse_without_locks(_study_lock(folder), "a search locks trials there; give paths.outputs= on another disk")
        # Of two processes that open a new storage at once, one would find it half made.
        with alone(_study_lock(folder)):
            # The database of a study that was begun before has answered once: it is waited for, where a wrong URL of a
            # new one is refused at once.
            patience = PATIENCE if (folder / FILE).is_file() else 0.0
            study = optuna.create_study(
                storage=open_storage(url, patience),
                study_name=folder.name,
                direction="minimize" if settings.lower_is_better else "maximize",
                sampler=make_sampler(_sampler_of(settings, space), space, settings.seed, settings.first),
                pruner=make_pruner(
                    settings.pruner, startup=settings.startup, warmup=settings.warmup, max_epochs=settings.max_epochs
                ),
                load_if_exists=True,
            )
            _same_study(study, {**shared, **definition(settings, space)}, folder)
            # What a trial's process needs of its study (trivium.search.pruning).
            words = ("objective", "pruner", "startup", "warmup", "max_epochs")
            for_trials = {word: getattr(settings, word) for word in words}
            _write_private(folder / FILE, {"name": folder.name, "storage": url, **for_trials})
    except BaseException:
        _discard_unused(folder)
        raise
    return OpenStudy(folder, settings, space, study)


def _sampler_of(settings: StudySettings, space: Mapping[str, Dimension]) -> str:
    """Returns the sampler: a grid where all points of the space are to be tried, as none is worth trying twice."""
    points = points_of(space)
    if points is None or points > min(settings.n_trials, MOST_POINTS):
        return settings.sampler
    return "grid" if grid_size(space) == points else settings.sampler


def name_of(number: int) -> str:
    """Returns a trial's name, for a reader."""
    return f"trial {number}"


def _discard_unused(folder: Path) -> None:
    """Removes the folder of a study that could not be opened, unless it holds one already."""
    if not (folder / FILE).is_file():
        _study_lock(folder).unlink(missing_ok=True)
        for path in (folder / ".locks", folder):
            if path.is_dir() and not any(path.iterdir()):
                path.rmdir()


def _study_lock(folder: Path) -> Path:
    return folder / ".locks" / "study"


def _same_study(study: optuna.Study, wanted: dict[str, Any], folder: Path) -> None:
    known = study.user_attrs.get(DEFINITION)
    if known is None and not study.get_trials(deepcopy=False):
        study.set_user_attr(DEFINITION, wanted)
        return
    if known is None:
        raise ValueError(f"hydra.sweeper.study: a study {folder.name!r} is in the storage, and not of this program")
    if not isinstance(known, Mapping):
        raise ValueError(f"hydra.sweeper.study: the study {folder.name!r} in the storage is not of this program")
    keys = [key for key in {**known, **wanted} if known.get(key) != wanted.get(key)]
    differing = [f"{key} ({known.get(key)!r} there, {wanted.get(key)!r} now)" for key in keys]
    if differing:
        raise ValueError(
            f"study {folder.name} was begun with other settings: {'; '.join(differing)}. Repeat them, or choose "
            "another hydra.sweeper.study"
        )


def _write_private(path: Path, value: Mapping[str, Any]) -> None:
    """Writes a file for this user alone: a storage's URL may hold a password."""
    with atomic_file(path) as file:
        os.fchmod(file.fileno(), 0o600)
        file.write(yaml.safe_dump(dict(value), sort_keys=False).encode())
