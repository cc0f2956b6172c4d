"""Reads a table's YAML. Each mistake is a ValueError that says where, what was expected and what was found."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from trivium.core.choices import suggest


def keys(at: str, values: Any, needed: Sequence[str], others: Sequence[str]) -> dict[str, Any]:
    """Returns values, a mapping that has all of `needed`, perhaps some of `others`, and nothing else."""
    if not isinstance(values, dict):
        raise ValueError(f"{at}: expected the keys {', '.join([*needed, *others])}, found {values!r}")
    for key in values:
        if key not in (*needed, *others):
            raise ValueError(f"{at}: no key {key!r}{suggest(str(key), [*needed, *others])}")
    missing = [key for key in needed if key not in values]
    if missing:
        raise ValueError(f"{at}: {', '.join(missing)} missing; found {', '.join(map(str, values)) or 'no key'}")
    return values


def items(at: str, values: Any) -> list[Any]:
    """Returns values, a list that is not empty."""
    if not isinstance(values, list) or not values:
        raise ValueError(f"{at}: expected a list of at least one, found {values!r}")
    return values


def texts(at: str, values: Any) -> tuple[str, ...]:
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise ValueError(f"{at}: expected a list of text, found {values!r}")
    return tuple(values)


def distinct(at: str, names: Sequence[str]) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"{at}: {', '.join(twice)} stands there twice; each needs a name of its own")
