"""A study: the trials of one search, in a storage that outlives the process, and who works on which of them."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import optuna
import yaml
from optuna.pruners import BasePruner
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial

from trivium.config.space import Dimension, describe_space
from trivium.files import atomic_file
from trivium.locks import LOOK, alone, is_taken, take
from trivium.runs.directory import RunDirectory
from trivium.search.outcome import Outcome, outcome_of, status_of
from trivium.search.sampling import as_override, draw, grid_size, make_pruner, make_sampler
from trivium.search.storage import open_storage

DEFINITION = "trivium"  # the study's attribute that says what all of its trials share
FILE = "study.yaml"
PARAMS = "hydra.sweeper.params"


@dataclass(frozen=True)
class StudySettings:
    """Holds hydra.sweeper without the space, and the values of the run's config that a search needs."""

    sampler: str
    n_trials: int
    objective: str
    pruner: str
    startup: int
    warmup: int
    seed: int
    storage: str
    hosts: tuple[str, ...]
    lower_is_better: bool
    max_epochs: int


@dataclass(frozen=True)
class TrialToRun:
    """Holds a trial to run. overrides: its parameters, as train.py's arguments."""

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
    on_end: Callable[[str, Outcome], None] = lambda name, outcome: None  # of a trial that `next` finds at its end
    _locks: dict[int, IO[bytes]] = field(default_factory=dict)

    @property
    def metric(self) -> str:
        return self.settings.objective.removeprefix("val/")

    @property
    def planned(self) -> int:
        """Trials of the whole study: n_trials, or the points of a smaller grid."""
        if self.settings.sampler != "grid":
            return self.settings.n_trials
        return min(self.settings.n_trials, grid_size(self.space))

    def run(self, number: int) -> RunDirectory:
        """A trial's run directory."""
        return RunDirectory(self.folder / str(number))

    def trials(self) -> list[FrozenTrial]:
        return self.study.get_trials(deepcopy=False)

    def next(self, most: int) -> list[TrialToRun]:
        """Up to `most` trials to run now: interrupted ones first, then new ones; empty when the search is done.

        An interrupted trial whose run has ended meanwhile is settled here.
        """
        work: list[TrialToRun] = []
        with self.alone():
            for trial in self._interrupted():
                if len(work) == most:
                    break
                if self._lock(trial.number, wait=0.0):  # most have somebody who works on them
                    self._own(Trial(self.study, trial._trial_id), work)
            while len(work) < most and len(self.trials()) < self.planned:
                new = self._ask()
                if not self._lock(new.number):
                    raise ValueError(f"{self.folder}: trial {new.number} is new, and locked by another process")
                self._own(new, work)
        return work

    def settle(self, work: TrialToRun, error: str | None) -> Outcome:
        """Tell the study how a trial ended. error: what the job died of, if it did.

        A trial whose run another process works on (one that outlived an earlier search) is left as it is.
        """
        try:
            return self._settle(work.number, error)
        finally:
            self._locks.pop(work.number).close()

    def worked_on(self, number: int) -> bool:
        """Whether some process of this file system is at a trial."""
        return number in self._locks or self.run(number).in_use or is_taken(self._lock_file(number))

    @contextmanager
    def alone(self) -> Iterator[None]:
        """One process of this file system at a time asks for trials, so that there are no more than asked for."""
        with alone(_study_lock(self.folder)):
            yield

    def _settle(self, number: int, error: str | None) -> Outcome:
        found = outcome_of(self.run(number), self.metric, error)
        if found.state == "running":
            return found
        if found.state == "fail":
            Trial(self.study, self.trials()[number]._trial_id).set_user_attr("error", found.text)
        self.study.tell(number, found.value, state=TrialState[found.state.upper()], skip_if_finished=True)
        return found

    def _ask(self) -> Trial:
        """A new trial. Its machine stands there from the first moment: no kill leaves one that belongs to nobody."""
        self.study.add_trial(create_trial(state=TrialState.RUNNING, user_attrs={"host": socket.gethostname()}))
        ours = [trial for trial in self.trials() if trial.user_attrs.get("host") == socket.gethostname()]
        return Trial(self.study, ours[-1]._trial_id)

    def _interrupted(self) -> Iterator[FrozenTrial]:
        """Trials that were begun here, or on one of `hosts`, and may have nobody who works on them."""
        ours = {socket.gethostname(), *self.settings.hosts}
        for trial in self.trials():
            if trial.state is TrialState.RUNNING and trial.user_attrs.get("host") in ours:
                yield trial

    def _own(self, trial: Trial, work: list[TrialToRun]) -> None:
        if trial.user_attrs.get("host") != socket.gethostname():
            trial.set_user_attr("host", socket.gethostname())
        for one in self.space.values():
            draw(trial, one)  # what has been drawn already stays
        run = self.run(trial.number)
        if run.finished or status_of(run).startswith("pruned"):
            self.on_end(name_of(trial.number), self._settle(trial.number, None))
            self._locks.pop(trial.number).close()
            return
        overrides = tuple(as_override(self.space[key], value) for key, value in trial.params.items())
        work.append(TrialToRun(trial.number, overrides, run))

    def _lock(self, number: int, wait: float = LOOK) -> bool:
        """Whether nobody else works on a trial; until it is settled, nobody else will."""
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
    """The study in `folder`, new or begun before.

    shared: what all trials have in common. Raises ValueError, and leaves no folder behind, if the study is of something
    else or the storage cannot be opened.
    """
    url = settings.storage or str(folder / "journal.log")
    folder.joinpath(".locks").mkdir(parents=True, exist_ok=True)
    try:
        with alone(_study_lock(folder)):  # of two that open a new storage at once, one would find it half made
            study = optuna.create_study(
                storage=open_storage(url),
                study_name=folder.name,
                direction="minimize" if settings.lower_is_better else "maximize",
                sampler=make_sampler(settings.sampler, space, settings.seed),
                pruner=_pruner(settings),
                load_if_exists=True,
            )
            _same_study(study, {**shared, **definition(settings, space)}, folder)
            _write_private(folder / FILE, _for_trials(folder.name, url, settings))
    except BaseException:
        _discard_unused(folder)
        raise
    return OpenStudy(folder, settings, space, study)


def name_of(number: int) -> str:
    """Returns a trial's name, for a reader."""
    return f"trial {number}"


def _pruner(settings: StudySettings) -> BasePruner:
    return make_pruner(
        settings.pruner, startup=settings.startup, warmup=settings.warmup, max_epochs=settings.max_epochs
    )


def _for_trials(name: str, url: str, settings: StudySettings) -> dict[str, Any]:
    """What a trial's process has to know of its study (trivium.search.pruning)."""
    words = ("objective", "pruner", "startup", "warmup", "max_epochs")
    return {"name": name, "storage": url, **{word: getattr(settings, word) for word in words}}


def _discard_unused(folder: Path) -> None:
    """Remove the folder of a study that could not be opened, unless it holds one already."""
    if not (folder / FILE).is_file():
        _study_lock(folder).unlink(missing_ok=True)
        for path in (folder / ".locks", folder):
            if path.is_dir() and not any(path.iterdir()):
                path.rmdir()


def definition(settings: StudySettings, space: Mapping[str, Dimension]) -> dict[str, Any]:
    """What may not change when a study is gone on with, beside the trials' config."""
    # a grid's points are counted through: how many a dimension has, and in which order, decides which is the n-th
    grid = {"order of the grid": list(space), **{f"{PARAMS}.{key}.points": one.points for key, one in space.items()}}
    return {
        "hydra.sweeper.objective": settings.objective,
        "hydra.sweeper.sampler": settings.sampler,
        "hydra.sweeper.seed": settings.seed,
        **{f"{PARAMS}.{key}": words for key, words in describe_space(space).items()},
        **(grid if settings.sampler == "grid" else {}),
    }


def _study_lock(folder: Path) -> Path:
    return folder / ".locks" / "study"


def _same_study(study: optuna.Study, wanted: dict[str, Any], folder: Path) -> None:
    known = study.user_attrs.get(DEFINITION)
    if known is None and not study.get_trials(deepcopy=False):
        study.set_user_attr(DEFINITION, wanted)
        return
    if known is None:
        raise ValueError(f"hydra.sweeper.study: a study {folder.name!r} is in the storage, and not of this program")
    keys = [key for key in {**known, **wanted} if known.get(key) != wanted.get(key)]
    differing = [f"{key} ({known.get(key)!r} there, {wanted.get(key)!r} now)" for key in keys]
    if differing:
        raise ValueError(
            f"study {folder.name} was begun with other settings: {'; '.join(differing)}. Repeat them, or choose "
            "another hydra.sweeper.study"
        )


def _write_private(path: Path, value: Mapping[str, Any]) -> None:
    """For this user alone: a storage's URL may hold a password."""
    with atomic_file(path) as file:
        os.fchmod(file.fileno(), 0o600)
        file.write(yaml.safe_dump(dict(value), sort_keys=False).encode())
