"""Describes a study before it is opened: its settings, and how many trials it will have. Imports no Optuna."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from trivium.config.space import Dimension, describe_space, grid_size, points_of

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
    first: tuple[Mapping[str, Any], ...] = ()


def planned_trials(settings: StudySettings, space: Mapping[str, Dimension]) -> int:
    """Returns the number of trials of the whole study: n_trials, or the points of a smaller space."""
    points = grid_size(space) if settings.sampler == "grid" else points_of(space)
    return settings.n_trials if points is None else min(settings.n_trials, points)


def definition(settings: StudySettings, space: Mapping[str, Dimension]) -> dict[str, Any]:
    """Returns the settings that may not change when a study goes on, beside the trials' config."""
    # The numbers of points and the order of the dimensions decide which point of a grid is the n-th.
    grid = {
        "order of the grid": list(space),
        **{f"{PARAMS}.{key}.points": dimension.points for key, dimension in space.items()},
    }
    return {
        "hydra.sweeper.objective": settings.objective,
        "hydra.sweeper.sampler": settings.sampler,
        "hydra.sweeper.seed": settings.seed,
        **{f"{PARAMS}.{key}": words for key, words in describe_space(space).items()},
        **({"hydra.sweeper.first": [dict(point) for point in settings.first]} if settings.first else {}),
        **(grid if settings.sampler == "grid" else {}),
    }
