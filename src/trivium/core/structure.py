"""Parses JSON and YAML that may be damaged or hostile, and compares what they hold with an expected structure.

Every failure is a ValueError with plain words: which key, what was expected, what was found. Neither deep nesting nor
aliases that unfold to more than the text had can exhaust the stack or the memory.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

# Far more than any file of ours has, and less than what Python's stack bears.
_DEEPEST = 100
# A YAML alias may stand for a large part of the text, and a list of aliases for many of these.
_MOST_VALUES = 5_000_000


@dataclass(frozen=True)
class Keys:
    """Describes a mapping. needed, optional: key -> what its value must be. other: that of further keys."""

    needed: Mapping[str, Expected] = field(default_factory=dict)
    optional: Mapping[str, Expected] = field(default_factory=dict)
    other: Expected = object


# A type (object is anything, float takes whole numbers too, None is null), one item of a list, a mapping, or any of a
# tuple of these.
Expected = type | None | Sequence["Expected"] | Keys


def parse_json(text: str | bytes) -> Any:
    """Returns the value of a JSON text. Raises ValueError, saying what is wrong, for anything else."""
    try:
        return _bounded(json.loads(text))
    except RecursionError as error:
        raise ValueError(f"nested more than {_DEEPEST} deep") from error


def parse_yaml(text: str | bytes) -> Any:
    """Returns the value of a YAML text of plain values. Raises ValueError, saying what is wrong, for anything else."""
    import yaml

    try:
        return _bounded(yaml.safe_load(text))
    except RecursionError as error:
        raise ValueError(f"nested more than {_DEEPEST} deep") from error
    except (yaml.YAMLError, TypeError, LookupError, AttributeError, OverflowError) as error:
        # PyYAML raises other errors than its own for a damaged date, number or tag.
        raise ValueError(" ".join(str(error).split())) from error


def require(value: Any, expected: Expected, where: str) -> None:
    """Raises ValueError, naming the key below `where`, unless the value is as expected."""
    problem = _problem(value, expected, "")
    if problem:
        raise ValueError(f"{where}: {problem}" if where else problem)


def words_of(expected: Expected) -> str:
    """Returns what is expected in words, such as "a number or null"."""
    if isinstance(expected, Keys):
        return "keys and values"
    if isinstance(expected, tuple):
        return " or ".join(words_of(part) for part in expected)
    if isinstance(expected, list):
        return "a list"
    names = {str: "text", int: "a whole number", float: "a number", bool: "true or false", None: "null"}
    return names.get(expected, "anything")  # type: ignore[arg-type]


def shown(value: Any) -> str:
    """Returns a value for a message: short, on one line, without what a terminal could not print."""
    text = repr(value)
    return ascii(text[:40])[1:-1] + "..." if len(text) > 40 else text.encode("ascii", "backslashreplace").decode()


def _bounded(value: Any) -> Any:
    """Returns the value. Raises ValueError if it is nested too deep, or unfolds to too many values."""
    level, count = [value], 0
    for _ in range(_DEEPEST):
        parents = [parent for parent in level if isinstance(parent, dict | list)]
        # Counted before they are listed, as each level may have ten times as many.
        count += sum(map(len, parents))
        if count > _MOST_VALUES:
            raise ValueError(f"more than {_MOST_VALUES} values, by aliases")
        level = [child for parent in parents for child in (parent.values() if isinstance(parent, dict) else parent)]
        if not level:
            return value
    raise ValueError(f"nested more than {_DEEPEST} deep")


def _problem(value: Any, expected: Expected, key: str) -> str:
    """Returns what is wrong with a value, "" if nothing is. key: its dotted key."""
    if isinstance(expected, tuple):
        problems = [_problem(value, part, key) for part in expected]
        # Of several forms, that of the value's own kind says most.
        fitting = [p for p, part in zip(problems, expected, strict=True) if _is_kind(value, part)]
        return "" if "" in problems else (fitting or [_found(value, expected, key)])[0]
    if not _is_kind(value, expected):
        return _found(value, expected, key)
    if isinstance(expected, Keys):
        return _problem_of_keys(value, expected, key)
    if isinstance(expected, list):
        return next(filter(None, (_problem(item, expected[0], f"{key}[{n}]") for n, item in enumerate(value))), "")
    return ""


def _problem_of_keys(value: dict[Any, Any], expected: Keys, key: str) -> str:
    known = {**expected.needed, **expected.optional}
    lacking = [name for name in expected.needed if name not in value]
    if lacking:
        return f"{key + ': ' if key else ''}no key {lacking[0]!r}; expected {words_of(expected.needed[lacking[0]])}"
    for name, item in value.items():
        if not isinstance(name, str):
            return f"{key + ': ' if key else ''}expected keys of text, found the key {shown(name)}"
        if problem := _problem(item, known.get(name, expected.other), f"{key}.{name}" if key else name):
            return problem
    return ""


def _is_kind(value: Any, expected: Expected) -> bool:
    if isinstance(expected, Keys):
        return isinstance(value, dict)
    if isinstance(expected, list):
        return isinstance(value, list)
    if expected is None:
        return value is None
    if expected in (int, float):
        return isinstance(value, int if expected is int else (int, float)) and not isinstance(value, bool)
    return isinstance(value, expected)  # type: ignore[arg-type]


def _found(value: Any, expected: Expected, key: str) -> str:
    return f"{key + ': ' if key else ''}expected {words_of(expected)}, found {shown(value)}"
