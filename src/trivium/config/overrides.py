"""A command line's overrides, read one by one, so that each one's mistake is told: grammar, choices, sweeps."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob, IntervalSweep, Override, ValueType
from hydra.errors import HydraException

from trivium.config.compose import Composer, shorten
from trivium.config.nearest import suggest

MOST_COMBINATIONS = 8  # compositions of swept choices, a tenth of a second each: the check ends within two seconds


@dataclass(frozen=True)
class Given:
    """One override. values: its text after the =, several where swept. choice: it picks a group's choice."""

    line: str
    key: str  # "trainer.devices", "encoder@encoders.text"
    prefix: str  # "", "+", "++" or "~"
    values: tuple[str, ...]
    choice: bool
    source: str = ""  # where it comes from, for messages, if not from the command line

    def with_value(self, value: str, force: bool = False) -> str:
        """The override with one value; force: a value's key may be new (so that composing goes on past a wrong key)."""
        if self.prefix == "~":
            return self.line
        return f"{'++' if force and not self.choice else self.prefix}{self.key}={value}"


def read_overrides(lines: Iterable[str], session: Composer, multirun: bool) -> tuple[list[Given], list[str]]:
    """What could be read, and the problems of the rest."""
    parser, given, problems = OverridesParser.create(), [], []
    for line in lines:
        try:
            override = parser.parse_overrides([line])[0]
        except HydraException as error:
            problems.append(_grammar(line, error))
            continue
        read = _read(line, override, session)
        found = list(_choice_problems(read, override, session))
        if not multirun and override.is_sweep_override():
            value = line.partition("=")[2]
            or_list = "" if read.choice else f", or write a list as {read.key}=[{value}]"
            found.append(f"{read.key}: {value} is several values; add -m for one run each{or_list}")
        problems += found
        given += [] if found else [read]
    return given, problems


def combinations(given: Sequence[Given]) -> Iterator[list[str]]:
    """One value for each override: every combination of swept choices, or, where they are many, each choice once.

    A swept value does not change which keys there are; of those, the first serves here (see `swept_values`).
    """
    options = [g.values if g.choice else g.values[:1] for g in given]
    count = 1
    for values in options:
        count *= len(values)
    if count <= MOST_COMBINATIONS:
        yield from (list(values) for values in itertools.product(*options))
        return
    for n in range(max(len(values) for values in options)):
        yield [values[n % len(values)] for values in options]


def swept_values(given: Sequence[Given]) -> Iterator[tuple[str, Any]]:
    """Key and value of every further value of a sweep over plain values."""
    parser = OverridesParser.create()
    for one in given:
        if not one.choice and one.prefix != "~":
            for text in one.values[1:]:
                yield one.key, parser.parse_overrides([f"{one.key}={text}"])[0].value()


def _read(line: str, override: Override, session: Composer) -> Given:
    group = override.key_or_group
    choice = override.package is not None or any((folder / group).is_dir() for folder in session.folders)
    choice = choice or group.startswith("hydra/")
    prefix = "++" if override.is_force_add() else "+" if override.is_add() else "~" if override.is_delete() else ""
    values = _values(line, override, list(session.choices(group)) if choice else [])
    return Given(line, override.get_key_element().lstrip("+~"), prefix, values, choice)


def _values(line: str, override: Override, choices: list[str]) -> tuple[str, ...]:
    """choices: of the group, where it is one's."""
    if override.value_type == ValueType.INTERVAL_SWEEP:
        ends = override.value()
        assert isinstance(ends, IntervalSweep)
        return str(ends.start), str(ends.end)
    if override.value_type == ValueType.GLOB_CHOICE_SWEEP:
        pattern = override.value()
        assert isinstance(pattern, Glob)
        found = pattern.filter([name for name in choices if "/" not in name])  # as Hydra, which looks into no folder
        return tuple(found) or (line.partition("=")[2],)
    if not override.is_sweep_override():
        return (line.partition("=")[2],)
    return tuple(override.sweep_string_iterator())


def _choice_problems(read: Given, override: Override, session: Composer) -> Iterator[str]:
    """Groups and choices that do not exist; Hydra's own groups are left to Hydra."""
    group, _, package = read.key.partition("@")
    if override.value_type == ValueType.GLOB_CHOICE_SWEEP and (not read.choice or read.values[0].startswith("glob(")):
        yield f"{read.line}: {'no choice of the group fits' if read.choice else 'glob(...) is for groups alone'}"
        return
    if not read.choice or group.startswith("hydra/"):
        return
    known = session.choices(group)
    if not known:
        yield f"{read.key}: no such group{suggest(group, session.groups())}{'@' + package if package else ''}"
        return
    if read.prefix == "~":
        return
    for value in read.values:
        name = value.strip("'\" ")
        if name == "null":  # Hydra takes no null here
            yield f"{read.key}=null: to have none, write ~{read.key}"
        elif name not in known:
            listed = ", ".join(choice for choice in known if "/" not in choice)
            yield f"{read.key}={name}: no such choice{suggest(name, known)}; choices are {listed}"


def _grammar(line: str, error: HydraException) -> str:
    if "=" not in line and not line.startswith("~"):
        return f"{line}: expected key=value"
    key, _, value = line.partition("=")
    quoted = (
        "" if value.startswith(("'", '"')) else f"; if the value holds = or other signs, quote it: \"{key}='{value}'\""
    )
    return f"{line}: cannot be read ({shorten(error).removeprefix('Error parsing override ')}){quoted}"
