"""What the scripts' command lines have in common: key=value, where Hydra's grammar would refuse paths and lists."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence

from trivium.config.nearest import suggest


def script(argv: Sequence[str], help_text: str, do: Callable[[], int], *, needs_words: bool = True) -> int:
    """A script's exit code: what `do` returns; 2, with one line on stderr, for a user's mistake (ValueError, OSError).

    The help instead for -h, and without a word where it needs_words (2 then). TRIVIUM_TRACEBACK=1 shows where a mistake
    came from.
    """
    asked = bool(argv) and argv[0] in ("-h", "--help", "help")
    if asked or (needs_words and not argv):
        print_help(help_text)
        return 0 if asked else 2
    try:
        return do()
    except (ValueError, OSError) as error:
        if os.environ.get("TRIVIUM_TRACEBACK") == "1":
            raise
        print("error:", " ".join(map(str.strip, str(error).splitlines())), file=sys.stderr)
        return 2


def print_help(text: str) -> None:
    """A reader that has enough, as in `--help | head`, is no error."""
    try:
        print(text, end="", flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python fails once more as it ends


def parse_key_values(arguments: Sequence[str], allowed: Iterable[str]) -> dict[str, str]:
    """{"run": "/a=b"} from ["run=/a=b"]: split at the first "=", values as they are.

    Raises ValueError for an unknown key, with the nearest valid one, and for a key that is repeated or has no value.
    """
    allowed = list(allowed)
    values: dict[str, str] = {}
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if key not in allowed:
            near = suggest(key.lstrip("-"), allowed)
            raise ValueError(f"unknown argument {argument!r}{near}; the keys are {', '.join(allowed)}")
        if not equals or not value:
            raise ValueError(f"argument {argument!r} has no value; expected {key}=VALUE")
        if key in values:
            raise ValueError(f"{key}= is given twice: {values[key]!r} and {value!r}; keep one")
        values[key] = value
    return values


def truth(values: Mapping[str, str], key: str, default: bool = False) -> bool:
    """Raises ValueError for anything but true and false."""
    text = values.get(key, "true" if default else "false")
    if text not in ("true", "false"):
        raise ValueError(f"{key}={text}: expected true or false")
    return text == "true"


def count(values: Mapping[str, str], key: str, default: int) -> int:
    """Raises ValueError for anything but a whole number from 1 on."""
    text = values.get(key, str(default))
    if not text.isdecimal() or int(text) < 1:
        raise ValueError(f"{key}={text}: expected a whole number, 1 or more")
    return int(text)


def multirun_first(argv: Sequence[str]) -> list[str]:
    """The same arguments with -m in front: argparse takes no overrides on both sides of an option."""
    flags = [word for word in argv if word in ("-m", "--multirun")]
    return [*flags, *(word for word in argv if word not in flags)]
