"""Reads a search space from YAML, which maps a key of a run's config to a list of choices or an interval.

    fusion.dropout: [0.0, 0.1, 0.3]                      # a choice
    method.cpc_weight: {low: 0.0, high: 0.5}             # an interval
    optimizer.lr: {low: 1e-4, high: 1e-2, log: true}     # in the logarithm
    method.cpc_layers: {low: 1, high: 3, int: true}      # whole numbers, both ends included
    optimizer.lr: {low: 1e-4, high: 1e-2, log: true, points: 5}  # how many of it a grid takes
    encoder.hidden: {choices: [32, 64], when: {encoder: [lstm, gru]}}  # only where the trial's encoder is one of these

Imports neither Hydra nor Optuna.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trivium.core.choices import suggest

_INTERVAL_KEYS = {"low": float, "high": float, "log": bool, "int": bool, "points": int}
# The most whole numbers that a grid takes from an interval without `points`.
MOST_POINTS = 1000
_PLAIN = re.compile(r"[A-Za-z_][\w./+-]*", re.ASCII)
_PLAIN_PATH = re.compile(r"[A-Za-z0-9_./+:@-]+( [A-Za-z0-9_./+:@-]+)*")
_MEANS_MORE = ("true", "false", "null", "inf", "nan", "yes", "no", "on", "off")


@dataclass(frozen=True)
class Dimension:
    """Holds the values that a search may give a key: one of `values`, or, if that is empty, one within [low, high].

    when, among: the key that decides whether a trial has this one: if its value is one of `among`; "" for all trials.
    """

    key: str
    values: tuple[Any, ...] = ()
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    whole: bool = False
    points: int = 0
    when: str = ""
    among: tuple[Any, ...] = ()

    @property
    def is_interval(self) -> bool:
        return not self.values

    def applies(self, chosen: Mapping[str, Any]) -> bool:
        """Tells whether a trial with these values has the key."""
        return not self.when or as_text(chosen.get(self.when)) in map(as_text, self.among)

    def holds(self, value: Any) -> bool:
        """Tells whether the value is one of the choices, or a number of the interval."""
        if self.values:
            return as_text(value) in map(as_text, self.values)
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return number and self.low <= value <= self.high and (not self.whole or float(value).is_integer())

    @property
    def ends(self) -> tuple[Any, ...]:
        """Returns the values that a check has to try: the choices, or both ends of the interval."""
        return self.values or (self._number(self.low), self._number(self.high))

    def grid(self) -> tuple[Any, ...]:
        """Returns the values that a grid takes: the choices, all whole numbers, or `points` values of an interval.

        Those of an interval lie evenly from low to high, with `log` in the logarithm. Raises ValueError for an interval
        of other than whole numbers, or of too many, that has no `points`.
        """
        if self.values:
            return self.values
        if not self.points:
            if not self.whole or self.high - self.low >= MOST_POINTS:
                raise ValueError(
                    f"{self.key}: a grid needs choices; write a list, or add points: N to the interval for N values"
                )
            return tuple(range(int(self.low), int(self.high) + 1))
        low, high = (math.log(self.low), math.log(self.high)) if self.log else (self.low, self.high)
        shares = [n / (self.points - 1) for n in range(1, self.points - 1)]
        inner = [low + share * (high - low) for share in shares]
        between = [math.exp(value) if self.log else value for value in inner]
        return tuple(dict.fromkeys(self._number(value) for value in (self.low, *between, self.high)))

    def _number(self, value: float) -> float | int:
        return round(value) if self.whole else float(value)


def read_space(params: Mapping[str, Any]) -> tuple[dict[str, Dimension], list[str]]:
    """Returns the dimensions that could be read, by key in the order of the file, and the problems of the rest."""
    space: dict[str, Dimension] = {}
    problems: list[str] = []
    for key, value in params.items():
        mistakes = list(_problems(value))
        problems += [f"hydra.sweeper.params: {key}: {mistake}" for mistake in mistakes]
        if not mistakes:
            space[key] = dimension(key, value)
    return space, problems


def dimension(key: str, value: Any) -> Dimension:
    """Returns the dimension of a value in which `read_space` finds no mistake."""
    if isinstance(value, list | tuple):
        return Dimension(key, tuple(value))
    ((when, among),) = value["when"].items() if "when" in value else (("", ()),)
    if "choices" in value:
        return Dimension(key, tuple(value["choices"]), when=when, among=tuple(among))
    return Dimension(
        key,
        when=when,
        among=tuple(among),
        low=value["low"],
        high=value["high"],
        log=value.get("log", False),
        whole=value.get("int", False),
        points=int(value.get("points", 0)),
    )


def describe_space(space: Mapping[str, Dimension]) -> dict[str, Any]:
    """Returns the space as plain YAML, in one spelling for each dimension, so that it can be stored and compared."""
    return {key: _described(dimension) for key, dimension in space.items()}


def _described(dimension: Dimension) -> Any:
    words: dict[str, Any] = {"choices": list(dimension.values)}
    if dimension.is_interval:
        low, high = dimension.ends
        words = {"low": low, "high": high, "log": dimension.log, "int": dimension.whole}
    if dimension.when:
        return {**words, "when": {dimension.when: list(dimension.among)}}
    return words if dimension.is_interval else words["choices"]


def in_order(space: Mapping[str, Dimension]) -> list[Dimension]:
    """Returns the dimensions in the order of drawing: those of all trials before those that depend on others."""
    return sorted(space.values(), key=lambda dimension: bool(dimension.when))


def grid_size(space: Mapping[str, Dimension]) -> int:
    """Returns the number of combinations. Raises ValueError for an interval without a number of points."""
    return math.prod(len(dimension.grid()) for dimension in space.values())


def points_of(space: Mapping[str, Dimension]) -> int | None:
    """Returns the number of different points that a sampler can draw, or None where there is no end of them."""
    sizes = [
        len(dimension.values) or (int(dimension.high) - int(dimension.low) + 1 if dimension.whole else 0)
        for dimension in space.values()
    ]
    return math.prod(sizes) if all(sizes) else None


def as_text(value: Any) -> str:
    """Returns a value as Hydra reads it: null, true, 1e-05, 'a b', [1,2]."""
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, list | tuple):
        return f"[{','.join(map(as_text, value))}]"
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{name}:{as_text(item)}" for name, item in value.items()) + "}"
    text = str(value)
    if _PLAIN.fullmatch(text) and text.lower() not in _MEANS_MORE:
        return text
    # In Hydra's quotes a backslash is itself, except before a quote: there \\ is a backslash and \' a quote.
    return "'" + re.sub(r"(\\*)('|$)", lambda match: 2 * match[1] + match[2].replace("'", "\\'"), text) + "'"


def path_setting(key: str, path: object) -> str:
    """Returns KEY=PATH as Hydra reads it: quoted where it would take a sign of the path for one of its grammar."""
    text = str(path)
    return f"{key}={text if _PLAIN_PATH.fullmatch(text) else as_text(text)}"


def with_home(words: Sequence[str]) -> list[str]:
    """Returns the words of a command line, with a ~ at the start of a value as a shell would have it in a path.

    No shell replaces it behind a =, and Hydra's grammar refuses it there.
    """
    pairs = [word.partition("=") for word in words]
    return [
        path_setting(key, os.path.expanduser(value)) if value.startswith("~") and "," not in value else word
        for word, (key, _, value) in zip(words, pairs, strict=True)
    ]


def _problems(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping) and ("when" in value or "choices" in value):
        yield from _condition_problems(value)
        value = value["choices"] if "choices" in value else {k: v for k, v in value.items() if k != "when"}
    if isinstance(value, list | tuple):
        if not value:
            yield "no choice; expected a list of values, or {low: A, high: B}"
        # Equal values, such as 1 and true, are one choice to a sampler.
        repeated = [as_text(choice) for n, choice in enumerate(value) if choice in value[:n]]
        yield from (f"{text} stands twice among the choices" for text in dict.fromkeys(repeated))
    elif not isinstance(value, Mapping):
        yield f"expected a list of choices or {{low: A, high: B}}, found {value!r}"
    else:
        yield from list(_interval_key_problems(value)) or _interval_end_problems(value)


def _condition_problems(value: Mapping[str, Any]) -> Iterator[str]:
    when = value.get("when", {"": ["any"]})
    one_key = isinstance(when, Mapping) and len(when) == 1
    if not one_key or not all(isinstance(among, list | tuple) and among for among in when.values()):
        yield f"when: expected one other key and its values, as in {{encoder: [lstm, gru]}}, found {when!r}"
    if "choices" in value and (others := [key for key in value if key not in ("choices", "when")]):
        yield f"{others[0]}: choices stand alone, or with when"


def _interval_key_problems(interval: Mapping[str, Any]) -> Iterator[str]:
    for key, value in interval.items():
        type_ = _INTERVAL_KEYS.get(key)
        if type_ is None:
            hint = suggest(str(key), _INTERVAL_KEYS)
            yield f"no such word {key!r}{hint}; an interval has {', '.join(_INTERVAL_KEYS)}"
        elif type_ is bool and not isinstance(value, bool):
            yield f"{key}: expected true or false, found {value!r}"
        elif type_ is not bool and (isinstance(value, bool) or not isinstance(value, int | float)):
            yield f"{key}: expected a number, found {value!r}"
    for key in ("low", "high"):
        if key not in interval:
            yield f"{key} is missing; an interval has low and high"


def _interval_end_problems(interval: Mapping[str, Any]) -> Iterator[str]:
    low, high, points = interval["low"], interval["high"], interval.get("points", 0)
    if not (low < high and math.isfinite(low) and math.isfinite(high)):
        yield f"expected low < high, found low {low} and high {high}"
    if interval.get("log") and not low > 0:
        yield f"log needs low > 0, found {low}"
    if interval.get("int") and not (float(low).is_integer() and float(high).is_integer()):
        yield f"int needs whole ends, found low {low} and high {high}"
    if points and (points < 2 or not float(points).is_integer()):
        yield f"points: expected a whole number from 2 on, found {points}"
