"""Names the runs of a sweep for wandb and TensorBoard, where their numbers alone would tell nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from trivium.core.wording import brief


def titles(jobs: Sequence[Sequence[str]]) -> list[str]:
    """Returns the overrides of each job that not all jobs share: lr=0.02,seed=1. Empty if there is but one job."""
    settings = [_settings(job) for job in jobs]
    return [
        _title({key: word for key, word in job.items() if any(other.get(key) != word for other in settings)})
        for job in settings
    ]


def title_of(overrides: Sequence[str]) -> str:
    """Returns all overrides: lr=0.02,dropout=0.1, or optimizer.lr=0.02,method.lr=0.1 where last words are the same."""
    return _title(_settings(overrides))


def _title(settings: Mapping[str, str]) -> str:
    last = [key.rpartition(".")[2] for key in settings]
    keys = [short if last.count(short) == 1 else key for key, short in zip(settings, last, strict=True)]
    return ",".join(f"{key}={brief(word)}" for key, word in zip(keys, settings.values(), strict=True))


def _settings(overrides: Sequence[str]) -> dict[str, str]:
    parts = [override.partition("=") for override in overrides]
    return {key.lstrip("+"): word.strip("'\"") for key, _, word in parts}
