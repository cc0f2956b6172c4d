"""Lets `trivium train resume=DIR` stand alone: the settings of the run that it names come from that run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from trivium.core.structure import parse_yaml


def with_settings_of_run(argv: Sequence[str]) -> list[str]:
    """Returns the command line with the settings of the run that resume=DIR names, unless it gives them itself.

    Which modules are trusted is asked of the user alone (trivium.config.trust), never of a run's files. Raises
    ValueError naming the run's overrides.yaml if that is damaged.
    """
    folder = None if {"-m", "--multirun"} & set(argv) else _run_of(argv)
    if folder is None:
        return list(argv)
    typed = {_key(word) for word in argv}
    return [*argv, *(word for word in _overrides_of(folder) if _key(word) not in typed)]


def _run_of(overrides: Sequence[str]) -> Path | None:
    """Returns the folder of resume=DIR if it has a run's overrides."""
    for word in overrides:
        if _key(word) == "resume":
            try:
                value = OverridesParser.create().parse_overrides([word])[0].value()
            except HydraException:
                # The check reports it.
                return None
            folder = Path(str(value)).expanduser()
            return folder if (folder / "overrides.yaml").is_file() else None
    return None


def _overrides_of(folder: Path) -> list[str]:
    file = folder / "overrides.yaml"
    try:
        words = parse_yaml(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{file}: cannot be read ({error})") from error
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise ValueError(f"{file}: expected a list of overrides, found {words!r:.40}")
    return [word for word in words if _key(word) not in ("resume", "trust")]


def _key(word: str) -> str:
    return word.partition("=")[0].lstrip("+~")
