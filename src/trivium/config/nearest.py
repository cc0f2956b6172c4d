"""The name that a user most likely meant."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import SequenceMatcher, get_close_matches


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The most similar known name, or None; max_epochs also finds trainer.max_epochs, by its last part."""
    names = list(known)
    close = get_close_matches(name, names, n=1, cutoff=0.75) or [n for n in names if name and n.startswith(name)]
    if close:
        return close[0]
    last = name.rsplit(".", 1)[-1]
    elsewhere = [n for n in names if _ratio(last, n.rsplit(".", 1)[-1]) > 0.8]
    if elsewhere:  # the most similar last part, then the fewest levels
        return max(elsewhere, key=lambda n: (_ratio(last, n.rsplit(".", 1)[-1]), -n.count(".")))
    if "." in name:  # a shared first part alone makes two keys look alike
        return None
    return next(iter(get_close_matches(name, names, n=1, cutoff=0.5)), None)


def suggest(name: str, known: Iterable[str]) -> str:
    """ "; nearest is X", or nothing where no known name is similar."""
    found = nearest(name, known)
    return f"; nearest is {found}" if found else ""


def _ratio(a: str, b: str) -> float:
    return SequenceMatcher(None, a, b).ratio()
