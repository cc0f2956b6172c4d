"""Reads a command line's overrides one by one, so that each mistake is reported: grammar, choices, sweeps."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob, IntervalSweep, Override, ValueType
from hydra.errors import HydraException

from trivium.config.compose import Composer, shorten
from trivium.config.space import as_text
from trivium.core.choices import suggest
from trivium.core.wording import shell_word

# A composition of swept choices takes a tenth of a second, and the check should end within two seconds.
MOST_COMBINATIONS = 8
# Keys of paths, of which no list is meant.
_PATHS = ("run.", "paths.", "resume", "start_from", "data.store")
# The groups of which several choices may be taken at once: logger=[wandb,tensorboard], metric=[ccc,mine].
SEVERAL = ("logger", "metric")


@dataclass(frozen=True)
class ParsedOverride:
    """Holds one override.

    line: the whole word. key: "trainer.devices", "encoder@encoders.text". prefix: "", "+", "++" or "~".
    values: the text after the =, several where it is swept. choice: whether it picks a group's choice.
    source: for messages, the place that it comes from, if that is not the command line. when, among: the key on whose
    value it depends whether a trial of a search has it, and these values; "" for all.
    """

    line: str
    key: str
    prefix: str
    values: tuple[str, ...]
    choice: bool
    source: str = ""
    when: str = ""
    among: tuple[str, ...] = ()

    def with_value(self, value: str, force: bool = False) -> str:
        """Returns the override with this one value. force: let its key be new, so that a wrong key composes too."""
        if self.prefix == "~":
            return self.line
        return f"{'++' if force and not self.choice else self.prefix}{self.key}={value}"


def read_overrides(lines: Iterable[str], session: Composer, multirun: bool) -> tuple[list[ParsedOverride], list[str]]:
    """Returns the overrides that could be read, and the problems of the rest."""
    parser, overrides, problems = OverridesParser.create(), [], []
    for line in lines:
        try:
            override = parser.parse_overrides([line])[0]
        except HydraException as error:
            problems.append(_grammar_problem(line, error))
            continue
        parsed = _parsed(line, override, session)
        mistakes = list(_choice_problems(parsed, override, session))
        if not multirun and override.is_sweep_override():
            value = line.partition("=")[2]
            mistakes.append(f"{parsed.key}: {value} is several values; {_ways_of_several(parsed, value)}")
        problems += mistakes
        overrides += [] if mistakes else [parsed]
    return overrides, problems


def combinations(overrides: Sequence[ParsedOverride]) -> Iterator[list[str]]:
    """Yields lists of one value for each override: every combination of swept choices, or, of many, each choice once.

    A sweep over plain values changes no key, so its first value stands for all (see `swept_values`).
    """
    options = [override.values if override.choice else override.values[:1] for override in overrides]
    if math.prod(map(len, options)) <= MOST_COMBINATIONS:
        yield from (list(values) for values in itertools.product(*options))
        return
    for n in range(max(len(values) for values in options)):
        yield [values[n % len(values)] for values in options]


def swept_values(overrides: Sequence[ParsedOverride]) -> Iterator[tuple[str, Any]]:
    """Yields the key and value of each sweep over plain values, for every value but the first."""
    parser = OverridesParser.create()
    for override in overrides:
        if not override.choice and override.prefix != "~":
            for text in override.values[1:]:
                yield override.key, parser.parse_overrides([f"{override.key}={text}"])[0].value()


def _parsed(line: str, override: Override, session: Composer) -> ParsedOverride:
    group = override.key_or_group
    choice = override.package is not None or any((folder / group).is_dir() for folder in session.folders)
    choice = choice or group.startswith("hydra/")
    prefix = "++" if override.is_force_add() else "+" if override.is_add() else "~" if override.is_delete() else ""
    values = _values(line, override, list(session.choices(group)) if choice else [])
    return ParsedOverride(line, override.get_key_element().lstrip("+~"), prefix, values, choice)


def _values(line: str, override: Override, choices: list[str]) -> tuple[str, ...]:
    """Returns the texts of an override's values. choices: its group's choices, if it is of a group."""
    if override.value_type == ValueType.INTERVAL_SWEEP:
        ends = override.value()
        assert isinstance(ends, IntervalSweep)
        return str(ends.start), str(ends.end)
    if override.value_type == ValueType.GLOB_CHOICE_SWEEP:
        pattern = override.value()
        assert isinstance(pattern, Glob)
        # Hydra's glob takes no choices of sub-folders either.
        matching = pattern.filter([name for name in choices if "/" not in name])
        return tuple(matching) or (line.partition("=")[2],)
    if not override.is_sweep_override():
        return (line.partition("=")[2],)
    return tuple(override.sweep_string_iterator())


def _choice_problems(parsed: ParsedOverride, override: Override, session: Composer) -> Iterator[str]:
    """Yields a line for each group and choice that does not exist; Hydra's own groups are left to Hydra."""
    group, _, package = parsed.key.partition("@")
    if override.value_type == ValueType.GLOB_CHOICE_SWEEP and (
        not parsed.choice or parsed.values[0].startswith("glob(")
    ):
        yield f"{parsed.line}: {'no choice of the group fits' if parsed.choice else 'glob(...) is for groups alone'}"
        return
    if not parsed.choice or group.startswith("hydra/"):
        return
    known = session.choices(group)
    if not known:
        yield f"{parsed.key}: no such group{suggest(group, session.groups())}{'@' + package if package else ''}"
        return
    if parsed.prefix == "~":
        return
    values = parsed.values
    several = override.value()
    if override.value_type == ValueType.ELEMENT and isinstance(several, list):
        if group not in SEVERAL:
            yield f"{parsed.line}: {group} takes one choice; several at once are for {', '.join(SEVERAL)} alone"
            return
        values = tuple(str(value) for value in several)
    for value in values:
        name = value.strip("'\" ")
        # Hydra has no null choice.
        if name == "null":
            yield f"{parsed.key}=null: to have none, write ~{parsed.key}"
        elif name not in known:
            listed = ", ".join(choice for choice in known if "/" not in choice)
            yield f"{parsed.key}={name}: no such choice{suggest(name, known)}; choices are {listed}"


def _ways_of_several(parsed: ParsedOverride, value: str) -> str:
    """Returns what can be typed in the place of a value with commas."""
    if parsed.choice:
        return "add -m for one run each"
    as_one = f"quote it, if it is one text: {_quoted(parsed.key, value)}"
    if parsed.key.startswith(_PATHS):
        return as_one
    return f"add -m for one run each, write a list as {parsed.key}=[{value}], or {as_one}"


def _quoted(key: str, value: str) -> str:
    """Returns the override with its value as one text, quoted for Hydra and then for a shell."""
    text = as_text(value)
    return shell_word(f"{key}={text if text != value else repr(value)}")


def _grammar_problem(line: str, error: HydraException) -> str:
    if "=" not in line and not line.startswith("~"):
        return f"{line}: expected key=value"
    key, _, value = line.partition("=")
    quoted = (
        ""
        if value.startswith(("'", '"'))
        else f"; if the value holds = or other signs, quote it: {_quoted(key, value)}"
    )
    return f"{line}: cannot be read ({shorten(error).removeprefix('Error parsing override ')}){quoted}"
