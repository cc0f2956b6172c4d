"""Ends a command on Ctrl-C with one line, that says how to go on, and exit code 130."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

# 128 + SIGINT, as a shell has it
CODE = 130


class Interrupted(KeyboardInterrupt):
    """Says that Ctrl-C ended a work that another command can go on with.

    words: that command, the verb first, such as ("train", "resume=outputs/runs/NAME").
    """

    def __init__(self, *words: str) -> None:
        super().__init__(*words)
        self.words = words


@contextmanager
def one_line_on_ctrl_c() -> Iterator[None]:
    """Turns a KeyboardInterrupt into one line on stderr, told by the first rank alone, and SystemExit with code 130."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        # Python would notice a KeyboardInterrupt itself that passes through exec(), and die of the signal at its end.
        signal.signal(signal.SIGINT, _interrupt)
    try:
        yield
    except KeyboardInterrupt as stop:
        # A second Ctrl-C would cut the line off, or show a traceback of Python's own end.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        tell(stop.words if isinstance(stop, Interrupted) else ())
        raise SystemExit(CODE) from None


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise Interrupted


def tell(words: tuple[str, ...]) -> None:
    """Prints "interrupted", and with which command to go on, if there are words of one."""
    from trivium.core.wording import command

    sys.stdout.flush()
    if os.environ.get("RANK", "0") == "0":
        # A terminal has shown ^C on the line where the cursor is.
        begin = "\n" if sys.stderr.isatty() else ""
        print(f"{begin}interrupted{f'; go on with: {command(*words)}' if words else ''}", file=sys.stderr, flush=True)
