"""Parses the scripts' command lines: words of the form key=value, whose keys stand in the script's help text.

Hydra's grammar, which reads `trivium train`'s, would refuse paths and lists such as modalities=text,audio.
docs/architecture.md says why this is not argparse.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from trivium.core.choices import suggest
from trivium.core.system_errors import words_of_error
from trivium.core.wording import printable

Types = Mapping[str, Callable[[str], Any]]


def script(argv: Sequence[str], help_text: str, command: Callable[[], int], *, needs_words: bool = True) -> int:
    """Runs a script's command and returns its exit code, or 2 after one line on stderr for a ValueError or OSError.

    -h prints the help instead. So does a call without arguments where the script needs_words; its exit code is 2.
    TRIVIUM_TRACEBACK=1 shows where a mistake came from.
    """
    help_requested = bool(argv) and argv[0] in ("-h", "--help", "help")
    if help_requested or (needs_words and not argv):
        print_help(help_text)
        return 0 if help_requested else 2
    try:
        return command()
    except (ValueError, OSError) as error:
        if os.environ.get("TRIVIUM_TRACEBACK") == "1":
            raise
        text = words_of_error(error) if isinstance(error, OSError) else str(error)
        print("error:", printable(" ".join(map(str.strip, text.splitlines()))), file=sys.stderr)
        return 2


def print_help(text: str) -> None:
    """Prints a help text; a reader that stops early, as in `--help | head`, is no error."""
    try:
        print(text, end="", flush=True)
    except BrokenPipeError:
        # Python would fail once more when it flushes the closed pipe at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def keys_of(help_text: str) -> list[str]:
    """Returns the keys that a help text lists, each as "  key=VALUE  meaning" at the start of a line."""
    return re.findall(r"^  ([a-z_.]+)=", help_text, flags=re.MULTILINE)


def parse_key_values(words: Sequence[str], help_text: str, types: Types | None = None) -> dict[str, Any]:
    """Parses words into a dict of keys and values: {"run": "/a=b"} from ["run=/a=b"].

    types: key -> a function that makes its value of the text, or raises ValueError; other values stay text.
    Raises ValueError for a key that the help does not list, naming the nearest one, and for a key that is repeated, has
    no value, or has one that its type refuses.
    """
    known, values = keys_of(help_text), dict[str, Any]()
    for word in words:
        key, _, text = word.partition("=")
        if key not in known:
            raise ValueError(
                f"unknown argument {word!r}{suggest(key.lstrip('-'), known)}; the keys are {', '.join(known)}"
            )
        if not text:
            raise ValueError(f"argument {word!r} has no value; expected {key}=VALUE")
        if key in values:
            raise ValueError(f"{key}= is given twice, the second time as {text!r}; keep one")
        try:
            values[key] = (types or {}).get(key, str)(text)
        except ValueError as error:
            raise ValueError(f"{key}={text}: {error}") from error
    return values


def path(text: str) -> Path:
    """Returns the path, with ~ replaced by the home directory."""
    return Path(text).expanduser()


def paths(text: str) -> list[Path]:
    """Returns the paths between commas, or the one path that the text as a whole is of something that exists."""
    whole_path = path(text)
    return [whole_path] if whole_path.exists() else [path(part) for part in text.split(",") if part]


def names(text: str) -> list[str]:
    """Returns the words between commas."""
    return text.split(",")


def modules(text: str) -> list[str]:
    """Returns the names between commas, with or without the brackets that a config has around them."""
    return names(text.removeprefix("[").removesuffix("]"))


def truth(text: str) -> bool:
    """Returns the truth value of "true" or "false". Raises ValueError for any other word."""
    return one_of("true", "false")(text) == "true"


def whole_number(text: str) -> int:
    """Returns a count. Raises ValueError for anything but a whole number from 1 on."""
    if not text.isdecimal() or int(text) < 1:
        raise ValueError("expected a whole number, 1 or more")
    return int(text)


def one_of(*words: str) -> Callable[[str], str]:
    """Returns a function that accepts these words and raises ValueError for any other."""

    def parse(text: str) -> str:
        if text not in words:
            raise ValueError(f"expected {', '.join(words[:-1])} or {words[-1]}{suggest(text, words)}")
        return text

    return parse
