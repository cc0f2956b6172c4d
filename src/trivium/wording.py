"""Times, counts and numbers for a reader."""


def duration(seconds: float) -> str:
    """In the largest unit that says enough: 40 s, 12 min, 2.5 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 90 * 60 else f"{seconds / 3600:.1f} h"


def counted(number: int, what: str) -> str:
    """1 trial, 2 trials."""
    return f"{number} {what}{'' if number == 1 else 's'}"


def shortened(text: str, most: int) -> str:
    """Without its middle, where the text is longer than `most` characters."""
    return text if len(text) <= most else f"{text[: most // 2]} ... {text[-(most // 2) :]}"


def brief(word: str) -> str:
    """0.0026289891606194353 as 0.002629; words and whole numbers as they are."""
    try:
        return f"{float(word):.4g}" if "." in word else word
    except ValueError:
        return word
