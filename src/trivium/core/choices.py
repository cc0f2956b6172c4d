"""Checks that a name is one of those that there are, and finds the one that a user most likely meant."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from difflib import SequenceMatcher, get_close_matches
from typing import TypeVar

Choice = TypeVar("Choice", str, int)


def check_choice(key: str, value: Choice, choices: Collection[Choice]) -> Choice:
    """Returns `value`. Raises ValueError, naming the key and the nearest choice, if it is none of `choices`."""
    if value not in choices:
        listed = ", ".join(map(str, choices))
        raise ValueError(f"{key}: expected one of {listed}, found {value!r}{suggest(str(value), map(str, choices))}")
    return value


def suggest(name: str, known: Iterable[str]) -> str:
    """Returns "; nearest is X", or "" where no known name is similar."""
    similar = nearest(name, known)
    return f"; nearest is {similar}" if similar else ""


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Returns the most similar known name, or None; max_epochs also finds trainer.max_epochs, by its last part."""
    names = list(known)
    close = get_close_matches(name, names, n=1, cutoff=0.75) or [n for n in names if name and n.startswith(name)]
    if close:
        return close[0]
    last = name.rsplit(".", 1)[-1]
    same_last_part = [n for n in names if _ratio(last, n.rsplit(".", 1)[-1]) > 0.8]
    if same_last_part:
        # Of equally similar last parts, the key with the fewest levels is the likeliest.
        return max(same_last_part, key=lambda n: (_ratio(last, n.rsplit(".", 1)[-1]), -n.count(".")))
    # A shared first part alone makes two dotted keys look alike.
    if "." in name:
        return None
    return next(iter(get_close_matches(name, names, n=1, cutoff=0.5)), None)


def _ratio(a: str, b: str) -> float:
    return SequenceMatcher(None, a, b).ratio()
