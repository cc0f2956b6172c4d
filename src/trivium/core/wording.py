"""Writes times, counts, numbers and commands for a reader."""

import shlex


def duration(seconds: float) -> str:
    """Returns seconds in the largest unit that says enough: 40 s, 12 min, 2.5 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 90 * 60 else f"{seconds / 3600:.1f} h"


def counted(number: int, what: str) -> str:
    """Returns a number and its noun: 1 trial, 2 trials."""
    return f"{number} {what}{'' if number == 1 else 's'}"


def shortened(text: str, most: int) -> str:
    """Returns a text without its middle, where it is longer than `most` characters."""
    return text if len(text) <= most else f"{text[: most // 2]} ... {text[-(most // 2) :]}"


def brief(word: str) -> str:
    """Returns 0.0026289891606194353 as 0.002629; words and whole numbers as they are."""
    try:
        return f"{float(word):.4g}" if "." in word else word
    except ValueError:
        return word


def command(verb: str, *words: object) -> str:
    """Returns a command of ours as it is typed in a shell: trivium train method=selfmi 'run.dir=a b'."""
    return shlex.join(["trivium", verb, *map(str, words)])
