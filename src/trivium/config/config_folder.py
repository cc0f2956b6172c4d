"""Finds the folders of config files: the project's own, and one of the user's."""

from __future__ import annotations

import os
from pathlib import Path

import trivium

# The user's own folder, beside --config-dir; in the environment, so that it holds for every process of a command.
VARIABLE = "TRIVIUM_CONFIG_DIR"


def _config_folder() -> Path:
    package = Path(trivium.__file__).resolve().parent
    checkout = package.parents[1] / "configs"
    # In a checkout there is one copy, the one at the top level that people edit; setup.py copies it into a wheel.
    return package / "configs" if (package / "configs").is_dir() else checkout


CONFIGS = _config_folder()
# Read by `trivium reproduce`; no group of a run's choices.
TABLES = CONFIGS / "table"


def own_folder() -> Path | None:
    """Returns the user's config folder, or None. Raises ValueError if the one that was named is not there."""
    named = os.environ.get(VARIABLE)
    if not named:
        return None
    folder = Path(named)
    if not folder.is_dir():
        raise ValueError(f"--config-dir: there is no folder {folder} (or it stands in the variable {VARIABLE})")
    return folder


def take_config_dir(argv: list[str]) -> list[str]:
    """Returns the arguments without --config-dir DIR, which is the user's folder from now on.

    Raises ValueError if it names no folder.
    """
    rest, words = list[str](), list(argv)
    while words:
        word = words.pop(0)
        if word in ("-cd", "--config-dir"):
            if not words:
                raise ValueError(f"{word}: a folder is missing behind it")
            os.environ[VARIABLE] = os.path.abspath(words.pop(0))
        elif word.startswith("--config-dir="):
            os.environ[VARIABLE] = os.path.abspath(word.removeprefix("--config-dir="))
        else:
            rest.append(word)
    own_folder()
    return rest


def config_dir_option() -> list[str]:
    """Returns --config-dir DIR for a command that is to be typed again; nothing without a folder of the user's."""
    folder = own_folder()
    return [] if folder is None else ["--config-dir", os.path.relpath(folder) if _is_near(folder) else str(folder)]


def _is_near(folder: Path) -> bool:
    return folder.is_relative_to(Path.cwd())
