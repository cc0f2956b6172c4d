"""A sweep's jobs as commands to copy, and those of them that failed."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Failure:
    """A job that did not end well. name: job 3, trial 3."""

    name: str
    command: str
    error: str


def command(overrides: Sequence[str], options: Sequence[str] = ()) -> str:
    """The command of one run, for a shell. options: such as --config-dir DIR."""
    return " ".join(["python", shlex.quote(sys.argv[0]), *map(shlex.quote, [*options, *overrides])])


def in_words(error: BaseException) -> str:
    """An exception on one line."""
    text = re.sub(r"\s*\n\s*", " | ", str(error).strip()) or "no message"
    text = text if len(text) <= 600 else f"{text[:300]} ... {text[-300:]}"
    return text if isinstance(error, ValueError) else f"{type(error).__name__}: {text}"


def tell(failures: Sequence[Failure], total: int, what: str) -> None:
    """The failures on stderr. what: jobs, trials."""
    if not failures:
        return
    print(f"\n{len(failures)} of {total} {what} failed", file=sys.stderr)
    for failure in failures:
        print(f"{failure.name}: {failure.error}\n  {failure.command}", file=sys.stderr)
    sys.stderr.flush()
