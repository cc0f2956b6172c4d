"""Keeps a command at work when nobody reads what it prints any more, and starts it anew where it could not print.

`trivium train | head -1` closes the pipe after a line. A training should not be lost by that.
"""

from __future__ import annotations

import io
import os
import sys


class _Lasting(io.TextIOWrapper):
    """Prints to stdout as long as that can be written to, and nowhere afterwards."""

    def write(self, text: str) -> int:
        try:
            return super().write(text)
        except OSError as error:
            _give_up(error)
            return len(text)

    def flush(self) -> None:
        try:
            super().flush()
        except OSError as error:
            _give_up(error)


def keep_printing() -> None:
    """Lets this process go on if its stdout is closed (`| head -1`) or full; stderr has a line for the latter."""
    stream = sys.stdout
    if type(stream) is not io.TextIOWrapper or not _is_stdout(stream):
        return
    stream.flush()
    options = {"encoding": stream.encoding, "errors": stream.errors, "line_buffering": stream.line_buffering}
    sys.stdout = _Lasting(stream.detach(), **options)  # type: ignore[arg-type]


def use_utf8() -> None:
    """Starts the command anew with UTF-8 where a locale without umlauts would garble paths and break lines.

    Python itself does so for the locale "C", unless it is told not to.
    """
    encodings = {sys.getfilesystemencoding(), getattr(sys.stdout, "encoding", "utf-8") or "utf-8"}
    is_utf8 = {name.lower().replace("-", "").replace("_", "") for name in encodings} == {"utf8"}
    if is_utf8 or sys.flags.utf8_mode or os.environ.get("PYTHONUTF8") == "1" or not hasattr(os, "execv"):
        return
    os.environ |= {"PYTHONUTF8": "1", "PYTHONIOENCODING": "utf-8"}
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def _is_stdout(stream: io.TextIOWrapper) -> bool:
    try:
        return stream.fileno() == 1
    except (OSError, ValueError):
        return False


def _give_up(error: OSError) -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)
    if not isinstance(error, BrokenPipeError):
        print(f"warning: what is printed is lost from here on: {error.strerror}; the work goes on", file=sys.stderr)
