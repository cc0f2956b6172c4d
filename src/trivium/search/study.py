"""A study: the trials of one search, in a storage that outlives the process, and who works on which of them."""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import optuna
import yaml
from optuna.trial import FrozenTrial, Trial, TrialState

from trivium.config.space import Dimension, describe_space
from trivium.evaluation.metrics import DIRECTION, METRICS
from trivium.files import atomic_file
from trivium.runs.directory import RunDirectory
from trivium.search.sampling import as_override, draw, grid_size, is_number, make_pruner, make_sampler
from trivium.search.storage import open_storage

DEFINITION = "trivium"  # the study's attribute that says what all of its trials share
FILE = "study.yaml"


@dataclass(frozen=True)
class Settings:
    """hydra.sweeper without the space, and what a search takes from the run's config."""

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
class Work:
    """A trial to be run. overrides: its parameters, as train.py's arguments."""

    number: int
    overrides: tuple[str, ...]
    run: RunDirectory


@dataclass
class Search:
    """An open study. Trials that this process works on are locked until they are settled."""

    folder: Path
    settings: Settings
    space: dict[str, Dimension]
    study: optuna.Study
    _locks: dict[int, IO[bytes]] = field(default_factory=dict)

    @property
    def metric(self) -> str:
        return self.settings.objective.removeprefix("val/")

    def run(self, number: int) -> RunDirectory:
        """A trial's run directory."""
        return RunDirectory(self.folder / str(number))

    def trials(self) -> list[FrozenTrial]:
        return self.study.get_trials(deepcopy=False)

    def next(self, most: int) -> list[Work]:
        """Up to `most` trials to run now: interrupted ones first, then new ones; empty when the search is done.

        An interrupted trial whose run has finished meanwhile is settled here.
        """
        work: list[Work] = []
        with self._alone():
            for trial in self._interrupted():
                if len(work) == most:
                    break
                if self._lock(trial.number):
                    self._own(Trial(self.study, trial._trial_id), work)
            while len(work) < most and len(self.trials()) < self._planned:
                new = self.study.ask()
                if not self._lock(new.number):
                    raise ValueError(f"{self.folder}: trial {new.number} is new, and locked by another process")
                self._own(new, work)
        return work

    def settle(self, work: Work, error: str | None) -> str:
        """Tell the study how a trial ended; returns that in words. error: what the job died of, if it did.

        A trial whose run another process works on (one that outlived an earlier search) is left as it is.
        """
        try:
            return self._settle(work.number, error)
        finally:
            self._locks.pop(work.number).close()

    def _settle(self, number: int, error: str | None) -> str:
        state, value, told = outcome(self.run(number), self.metric, error)
        if state is None:
            return f"trial {number}: {told}"
        if state is TrialState.FAIL:
            Trial(self.study, self.trials()[number]._trial_id).set_user_attr("error", told)
        self.study.tell(number, value, state=state, skip_if_finished=True)
        return f"trial {number}: {told}"

    @property
    def _planned(self) -> int:
        if self.settings.sampler != "grid":
            return self.settings.n_trials
        return min(self.settings.n_trials, grid_size(self.space))

    def _interrupted(self) -> Iterator[FrozenTrial]:
        """Trials that were begun here, or on one of `hosts`, and may have nobody who works on them."""
        ours = {socket.gethostname(), *self.settings.hosts}
        for trial in self.trials():
            if trial.state is TrialState.RUNNING and trial.user_attrs.get("host") in ours:
                yield trial

    def _own(self, trial: Trial, work: list[Work]) -> None:
        trial.set_user_attr("host", socket.gethostname())
        for one in self.space.values():
            draw(trial, one)  # what has been drawn already stays
        run = self.run(trial.number)
        if run.finished or _status(run).startswith("pruned"):
            print(self._settle(trial.number, None), flush=True)
            self._locks.pop(trial.number).close()
            return
        overrides = tuple(as_override(self.space[key], value) for key, value in trial.params.items())
        work.append(Work(trial.number, overrides, run))

    def _lock(self, number: int) -> bool:
        """Whether nobody else works on a trial; until it is settled, nobody else will."""
        if number in self._locks:
            return False
        file = (self.folder / ".locks" / str(number)).open("ab")
        if not _flock(file) or in_use(self.run(number)):
            file.close()
            return False
        self._locks[number] = file
        return True

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """One process of this file system at a time asks for trials, so that there are no more than asked for."""
        with (self.folder / ".locks" / "study").open("ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def open_search(folder: Path, settings: Settings, space: dict[str, Dimension], shared: Mapping[str, Any]) -> Search:
    """The study in `folder`, new or begun before.

    shared: what all trials have in common. Raises ValueError if the study is of something else, if the storage cannot
    be opened, or if the objective is no metric.
    """
    name = folder.name
    folder.joinpath(".locks").mkdir(parents=True, exist_ok=True)
    url = settings.storage or str(folder / "journal.log")
    study = optuna.create_study(
        storage=open_storage(url),
        study_name=name,
        direction="minimize" if settings.lower_is_better else "maximize",
        sampler=make_sampler(settings.sampler, space, settings.seed),
        pruner=make_pruner(
            settings.pruner, startup=settings.startup, warmup=settings.warmup, max_epochs=settings.max_epochs
        ),
        load_if_exists=True,
    )
    _same_study(study, {**shared, **definition(settings, space)}, folder)
    _write_private(
        folder / FILE,
        {
            "name": name,
            "storage": url,
            "objective": settings.objective,
            "pruner": settings.pruner,
            "startup": settings.startup,
            "warmup": settings.warmup,
            "max_epochs": settings.max_epochs,
        },
    )
    return Search(folder, settings, space, study)


def definition(settings: Settings, space: Mapping[str, Dimension]) -> dict[str, Any]:
    """What may not change when a study is gone on with, beside the trials' config."""
    return {
        "objective": settings.objective,
        "sampler": settings.sampler,
        "sampling_seed": settings.seed,
        "space": describe_space(space),
    }


def lower_is_better(objective: str, protocol: str) -> bool:
    """Of an objective such as val/mae. protocol: data.metrics.

    Raises ValueError for what is no metric of the validation split.
    """
    split, _, metric = objective.partition("/")
    known = {"loss": "min", **{name: DIRECTION[name] for name in (*METRICS[protocol], "acc_argmax")}}
    if split != "val" or metric not in known:
        raise ValueError(
            f"hydra.sweeper.objective: {objective!r} is refused; a search selects on the validation split, by one of "
            + ", ".join(f"val/{name}" for name in known)
        )
    return known[metric] == "min"


def outcome(run: RunDirectory, metric: str, error: str | None) -> tuple[TrialState | None, float | None, str]:
    """How a run ended: its state (None if somebody still works on it), its value, and a line about it."""
    if run.finished:
        value = run.result()["val"].get(metric)
        if not is_number(value):
            return TrialState.FAIL, None, f"val/{metric} is {value} in {run.result_file}"
        return TrialState.COMPLETE, float(value), f"val/{metric} {value:.5g}"
    if (status := _status(run)).startswith("pruned"):
        return TrialState.PRUNED, None, status
    if in_use(run):
        return None, None, f"{run.path} is in use by another process; start the search again when that has ended"
    return TrialState.FAIL, None, error or f"{run.path} is unfinished, and its process told no error"


def in_use(run: RunDirectory) -> bool:
    """Whether a process holds the run's lock."""
    lock = run.path / ".lock"
    if not lock.is_file():
        return False
    with lock.open("ab") as file:
        return not _flock(file)


def _status(run: RunDirectory) -> str:
    return str(run.record()["status"]) if (run.path / "run.json").is_file() else ""


def _flock(file: IO[bytes]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


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
