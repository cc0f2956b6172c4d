"""A sweep's jobs as commands to copy, and those of them that failed."""

from __future__ import annotations

import os
import re
import shlex
import sys
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trivium.wording import counted, shortened


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
    text = shortened(re.sub(r"\s*\n\s*", " | ", str(error).strip()), 600) or "no message"
    return text if isinstance(error, ValueError) else f"{type(error).__name__}: {text}"


def tell(failures: Sequence[Failure], total: int, what: str) -> None:
    """The failures on stderr. what: job, trial."""
    if not failures:
        return
    print(f"\n{len(failures)} of {counted(total, what)} failed", file=sys.stderr)
    for failure in failures:
        print(f"{failure.name}: {shortened(failure.error, 300)}\n  {failure.command}", file=sys.stderr)
    sys.stderr.flush()


def tell_where(error: Exception) -> None:
    """The traceback of what is no user's mistake (ValueError, OSError): a sweep's own words have none.

    TRIVIUM_TRACEBACK=1: of those too.
    """
    if not isinstance(error, ValueError | OSError) or os.environ.get("TRIVIUM_TRACEBACK") == "1":
        traceback.print_exception(error)


def as_restarted(config: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The config of a job in `folder`: of one that SLURM has put back into its queue, to resume there."""
    if int(os.environ.get("SLURM_RESTART_COUNT") or 0) == 0 or config["resume"] != "off" or config["run"]["dir"]:
        return config
    return {**config, "resume": "auto", "run": {**config["run"], "dir": str(folder)}}
