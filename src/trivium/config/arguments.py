"""Plain key=value arguments for the scripts, where Hydra's grammar would refuse paths and lists."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence


def parse_key_values(arguments: Sequence[str], allowed: Iterable[str]) -> dict[str, str]:
    """{"run": "/a=b"} from ["run=/a=b"]: split at the first "=", values as they are.

    Raises ValueError for an unknown key, with the nearest valid one, and for a key that is repeated or has no value.
    """
    allowed = list(allowed)
    values: dict[str, str] = {}
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if key not in allowed:
            raise ValueError(f"unknown argument {argument!r}; {nearest(key.lstrip('-'), allowed)}")
        if not equals or not value:
            raise ValueError(f"argument {argument!r} has no value; expected {key}=VALUE")
        if key in values:
            raise ValueError(f"{key}= is given twice: {values[key]!r} and {value!r}; keep one")
        values[key] = value
    return values


def nearest(name: str, allowed: Iterable[str]) -> str:
    """ "did you mean X?", or the whole list where nothing is near."""
    allowed = list(allowed)
    close = difflib.get_close_matches(name, allowed, n=1)
    return f"did you mean {close[0]}?" if close else f"expected one of {', '.join(allowed)}"
