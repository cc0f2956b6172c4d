"""Writes times, counts, numbers and commands for a reader."""

import shlex
import warnings
from collections.abc import Sequence


def duration(seconds: float) -> str:
    """Returns a time in the unit that suits its size: 40 s, 12 min, 2.5 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 90 * 60 else f"{seconds / 3600:.1f} h"


def counted(number: int, noun: str, plural: str = "") -> str:
    """Returns a number and its noun: 1 trial, 2 trials. plural: where it is not the noun and an s."""
    return f"{number} {noun if number == 1 else plural or f'{noun}s'}"


def listed(names: Sequence[str], separator: str = ", ", most: int = 4) -> str:
    """Returns the first names and the number of the others: "a, b, c, d and 3 more"."""
    return separator.join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def shortened(text: str, limit: int) -> str:
    """Returns a text without its middle, where it is longer than `limit` characters."""
    return text if len(text) <= limit else f"{text[: limit // 2]} ... {text[-(limit // 2) :]}"


def printable(text: str) -> str:
    """Returns a text with what a terminal could not print as Python writes it: \\x00. Lines stay lines.

    Names in files and on command lines may hold anything, and messages repeat them.
    """
    return "".join(sign if sign.isprintable() or sign == "\n" else ascii(sign)[1:-1] for sign in text)


def brief(word: str) -> str:
    """Returns a number in four digits (0.0026289891606194353 as 0.002629), and any other word as it is."""
    try:
        return f"{float(word):.4g}" if "." in word else word
    except ValueError:
        return word


def undefined(what: str, target: str, reason: str, instead: str) -> str:
    """Returns the sentence that refuses a method or option for a target: what is not defined, why, what to take.

    >>> undefined("method=supcon", "3 labels", "it pairs clips of one class", "take method=comm")
    'method=supcon is not defined for 3 labels: it pairs clips of one class; take method=comm'
    """
    return f"{what} is not defined for {target}: {reason}; {instead}"


def command(verb: str, *words: object) -> str:
    """Returns a command of ours as it is typed in a shell: trivium train method=selfmi 'run.dir=a b'."""
    return " ".join(["trivium", verb, *(shell_word(str(word)) for word in words)])


def shell_word(word: str) -> str:
    """Returns a word as it is typed in a shell; one with Hydra's quotes in it is in double quotes."""
    readable = "'" in word and not set(word) & set('"$`\\!')
    return f'"{word}"' if readable else shlex.quote(word)


def warn_in_lines() -> None:
    """Lets each warning of this process be one line on stderr, without the place in the code that it comes from."""
    warnings.formatwarning = _warning_line


def _warning_line(message: Warning | str, *_: object, **__: object) -> str:
    return f"warning: {' '.join(str(message).split())}\n"
