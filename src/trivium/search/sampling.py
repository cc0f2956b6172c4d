"""Draws a trial's values by Optuna's samplers, with random numbers keyed by (seed, trial number).

A sampler's own generator starts anew with each process, so that a search that goes on would repeat its draws.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner
from optuna.samplers import BaseSampler, CmaEsSampler, RandomSampler, TPESampler
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState

from trivium.config.space import Dimension, as_text
from trivium.core.seeding import derive

_Space = dict[str, BaseDistribution]


class Keyed(BaseSampler):
    """Makes a sampler from a seed for each trial, and for each parameter that is drawn alone.

    first: values that the first trials have, by trial number; what they do not name is drawn.
    """

    def __init__(self, make: Callable[[int], BaseSampler], seed: int, first: Sequence[Mapping[str, Any]] = ()) -> None:
        self._make, self._seed, self._first = make, seed, first
        self._of: dict[tuple[int, str], BaseSampler] = {}

    def _sampler(self, trial: FrozenTrial, name: str = "") -> BaseSampler:
        key = (trial.number, name)
        if key not in self._of:
            self._of[key] = self._make(derive(self._seed, "search", *key) % 2**32)
        return self._of[key]

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> _Space:
        # What is drawn together does not know which values are given.
        return {} if self._given(trial) else self._sampler(trial).infer_relative_search_space(study, trial)

    def sample_relative(self, study: Study, trial: FrozenTrial, search_space: _Space) -> dict[str, Any]:
        return self._sampler(trial).sample_relative(study, trial, search_space)

    def sample_independent(self, study: Study, trial: FrozenTrial, param_name: str, distribution: Any) -> Any:
        if param_name in self._given(trial):
            return stored(self._given(trial)[param_name])
        return self._sampler(trial, param_name).sample_independent(study, trial, param_name, distribution)

    def _given(self, trial: FrozenTrial) -> Mapping[str, Any]:
        return self._first[trial.number] if trial.number < len(self._first) else {}

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        self._sampler(trial).before_trial(study, trial)

    def after_trial(self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None) -> None:
        self._sampler(trial).after_trial(study, trial, state, values)
        self._of = {key: sampler for key, sampler in self._of.items() if key[0] != trial.number}


class GridSampler(BaseSampler):
    """Gives trial n the n-th point of the grid, the last key changing fastest."""

    def __init__(self, space: Mapping[str, Dimension]) -> None:
        self._space = space

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> _Space:
        return {}

    def sample_relative(self, study: Study, trial: FrozenTrial, search_space: _Space) -> dict[str, Any]:
        return {}

    def sample_independent(self, study: Study, trial: FrozenTrial, param_name: str, distribution: Any) -> Any:
        return stored(grid_point(self._space, trial.number)[param_name])


def grid_point(space: Mapping[str, Dimension], number: int) -> dict[str, Any]:
    """Returns the combination of a number from 0, as itertools.product orders them (a grid may have millions)."""
    point = {}
    for key, dimension in reversed(list(space.items())):
        values = dimension.grid()
        number, place = divmod(number, len(values))
        point[key] = values[place]
    return {key: point[key] for key in space}


def make_sampler(
    name: str, space: Mapping[str, Dimension], seed: int, first: Sequence[Mapping[str, Any]] = ()
) -> BaseSampler:
    """Returns a sampler. name: tpe, random, cmaes or grid, which has every point and needs no first ones."""
    if name == "grid":
        return GridSampler(space)
    made: dict[str, Callable[[int], BaseSampler]] = {
        "tpe": lambda key: TPESampler(seed=key),
        "random": lambda key: RandomSampler(seed=key),
        # CMA-ES has no order for choices: they are drawn at random, as the whole first trial is.
        "cmaes": lambda key: CmaEsSampler(
            seed=key, independent_sampler=RandomSampler(seed=key), warn_independent_sampling=False
        ),
    }
    return Keyed(made[name], seed, first)


def make_pruner(name: str, *, startup: int, warmup: int, max_epochs: int) -> BasePruner:
    """Returns a pruner, whose steps are epochs from 0. name: median, hyperband or none."""
    if name == "median":
        return MedianPruner(n_startup_trials=startup, n_warmup_steps=warmup)
    if name == "hyperband":
        return HyperbandPruner(min_resource=1, max_resource=max(max_epochs, 2))
    return NopPruner()


def draw(trial: Trial, dimension: Dimension) -> Any:
    """Draws the trial's value of a dimension, which the study stores, and returns it."""
    key, low, high, log = dimension.key, dimension.low, dimension.high, dimension.log
    if dimension.values:
        return trial.suggest_categorical(key, [stored(value) for value in dimension.values])
    if dimension.whole:
        return trial.suggest_int(key, int(low), int(high), log=log)
    return trial.suggest_float(key, float(low), float(high), log=log)


def stored(value: Any) -> Any:
    """Returns a value as Optuna's storages hold it: lists and maps as text."""
    return as_text(value) if isinstance(value, list | tuple | Mapping) else value


def as_override(dimension: Dimension, value: Any) -> str:
    """Returns one of a trial's parameters as `trivium train`'s argument."""
    composite = {as_text(choice) for choice in dimension.values if isinstance(choice, list | tuple | Mapping)}
    text = value if isinstance(value, str) and value in composite else as_text(value)
    return f"{dimension.key}={text}"


# The reporter tells of each trial.
optuna.logging.set_verbosity(optuna.logging.WARNING)
