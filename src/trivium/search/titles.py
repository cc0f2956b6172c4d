"""Tells the runs of a sweep apart by what was varied; their numbers alone would tell nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from trivium.core.wording import brief


def varied(jobs: Sequence[Sequence[str]]) -> list[dict[str, str]]:
    """Returns, for each job's overrides, key -> word of those that not all jobs share; nothing if there is one job."""
    settings = [settings_of(job) for job in jobs]
    keys = [key for key in dict.fromkeys(k for job in settings for k in job) if len({j.get(key) for j in settings}) > 1]
    return [{key: job[key] for key in job if key in keys} for job in settings]


def title_of(settings: Mapping[str, str]) -> str:
    """Returns lr=0.02,dropout=0.1, or optimizer.lr=0.02,method.lr=0.1 where last words are the same."""
    names = short_names(list(settings))
    return ",".join(f"{names[key]}={brief(word)}" for key, word in settings.items())


def short_names(keys: Sequence[str]) -> dict[str, str]:
    """Returns key -> its last word, or the whole key where several end in the same word."""
    last = [key.rpartition(".")[2] for key in keys]
    return {key: word if last.count(word) == 1 else key for key, word in zip(keys, last, strict=True)}


def settings_of(overrides: Sequence[str]) -> dict[str, str]:
    """Returns the overrides as key -> word."""
    parts = [override.partition("=") for override in overrides]
    return {key.lstrip("+"): word.strip("'\"") for key, _, word in parts}
