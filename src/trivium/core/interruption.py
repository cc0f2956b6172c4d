"""Ends a command on Ctrl-C, SIGTERM or SIGHUP with one line, that says how to go on, and exit code 130 or 143."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

# 128 + SIGINT and SIGTERM, as a shell has them. SIGHUP, of a terminal or connection that is gone, counts as SIGTERM.
CODE = 130
TERMINATED = 143
_ENDING = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]


class Interrupted(KeyboardInterrupt):
    """Says that Ctrl-C ended a work that another command can go on with.

    words: that command, the verb first, such as ("train", "resume=outputs/runs/NAME").
    """

    def __init__(self, *words: str) -> None:
        super().__init__(*words)
        self.words = words


class Terminated(SystemExit):
    """Says that SIGTERM or SIGHUP ended a work; words as of Interrupted."""

    def __init__(self, *words: str) -> None:
        super().__init__(TERMINATED)
        self.words = words


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """Lets SIGTERM and SIGHUP raise Terminated in the block, where they would end the process without a word.

    Who ignores them (nohup), or has a handler, keeps that. Does nothing outside of the main thread.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = [number for number in _ENDING if signal.getsignal(number) is signal.SIG_DFL]
    for number in numbers:
        signal.signal(number, _terminate)
    try:
        yield
    finally:
        for number in numbers:
            if signal.getsignal(number) is _terminate:
                signal.signal(number, signal.SIG_DFL)


def other_handler() -> Any:
    """Returns what somebody else has set SIGTERM to, as submitit does and a script's `trap '' TERM`; None without such.

    A job of SLURM must not end by SIGTERM: it gets one when it is preempted, and a job that ends in its grace time has
    failed, where one that is killed after it goes into the queue again.
    """
    handler = signal.getsignal(signal.SIGTERM)
    in_main = threading.current_thread() is threading.main_thread()
    return handler if in_main and handler not in (None, signal.SIG_DFL, _terminate) else None


@contextmanager
def one_line_on_ctrl_c() -> Iterator[None]:
    """Turns a KeyboardInterrupt into one line on stderr, told by the first rank alone, and SystemExit with code 130.

    In the same way SIGTERM and SIGHUP end with code 143.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        # Python would notice a KeyboardInterrupt itself that passes through exec(), and die of the signal at its end.
        signal.signal(signal.SIGINT, _interrupt)
    try:
        with ended_by_signals():
            yield
    except Terminated as stop:
        tell(stop.words, "ended by a signal")
        raise
    except KeyboardInterrupt as stop:
        # A second Ctrl-C would cut the line off, or show a traceback of Python's own end.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        tell(stop.words if isinstance(stop, Interrupted) else ())
        raise SystemExit(CODE) from None


def _terminate(number: int, frame: FrameType | None) -> None:
    # A second one would cut off what is recorded of the first.
    for other in _ENDING:
        signal.signal(other, signal.SIG_IGN)
    raise Terminated


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise Interrupted


def tell(words: tuple[str, ...], reason: str = "interrupted") -> None:
    """Prints the reason, and with which command to go on, if there are words of one."""
    from trivium.core.wording import command

    sys.stdout.flush()
    if os.environ.get("RANK", "0") == "0":
        # A terminal has shown ^C on the line where the cursor is.
        begin = "\n" if sys.stderr.isatty() else ""
        print(f"{begin}{reason}{f'; go on with: {command(*words)}' if words else ''}", file=sys.stderr, flush=True)
