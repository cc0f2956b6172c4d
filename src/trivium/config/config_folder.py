"""Finds the folders of config files: the project's own, and one of the user's."""

from __future__ import annotations

import os
from pathlib import Path

import trivium

# Names the user's own folder, as --config-dir does. The environment has it for every process of a command.
VARIABLE = "TRIVIUM_CONFIG_DIR"


def _config_folder() -> Path:
    package = Path(trivium.__file__).resolve().parent
    checkout = package.parents[1] / "configs"
    # In a checkout there is one copy, the one at the top level that people edit; setup.py copies it into a wheel.
    return package / "configs" if (package / "configs").is_dir() else checkout


CONFIGS = _config_folder()
# Holds the definitions of tables, which `trivium reproduce` reads. It is no group of a run's choices.
TABLES = CONFIGS / "table"


def user_config_folder() -> Path | None:
    """Returns the user's config folder, or None without one. Raises ValueError if the folder does not exist."""
    path = os.environ.get(VARIABLE)
    if not path:
        return None
    folder = Path(path).expanduser()
    if not folder.is_dir():
        raise ValueError(f"--config-dir: there is no folder {folder} (or it stands in the variable {VARIABLE})")
    return folder


def take_config_dir(argv: list[str]) -> list[str]:
    """Returns the arguments without --config-dir DIR, and makes DIR the user's folder in this process.

    Processes that it starts inherit it. Raises ValueError if DIR is no folder.
    """
    others, words = list[str](), list(argv)
    while words:
        word = words.pop(0)
        if word in ("-cd", "--config-dir"):
            if not words:
                raise ValueError(f"{word}: a folder is missing behind it")
            os.environ[VARIABLE] = os.path.abspath(os.path.expanduser(words.pop(0)))
        elif word.startswith("--config-dir="):
            os.environ[VARIABLE] = os.path.abspath(os.path.expanduser(word.removeprefix("--config-dir=")))
        else:
            others.append(word)
    user_config_folder()
    return others


def config_dir_option() -> list[str]:
    """Returns ["--config-dir", DIR] for a command that is to be typed again, or [] if the user has no folder.

    DIR is relative if it lies below the working folder.
    """
    folder = user_config_folder()
    if folder is None:
        return []
    return ["--config-dir", os.path.relpath(folder) if folder.is_relative_to(Path.cwd()) else str(folder)]
