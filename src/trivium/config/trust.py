"""Keeps the list of trusted modules: those that, beside this package, may build objects from a config.

A config names classes and functions, and building one runs its code. So only names of `trivium` are built, and of
modules that the user has named: as trust=[mine] on the command line or in Python, in trivium.yaml of their own config
folder, or by installing a package with an entry point of the group trivium.plugins. Names in the files of a run, a
checkpoint or a store are never trusted.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Iterable
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path

import yaml

from trivium.config.config_folder import user_config_folder

PACKAGE = "trivium"
GROUP = "trivium.plugins"
# The environment holds the list, so that the processes that a run starts (ranks, jobs of a sweep) trust the same
# modules.
VARIABLE = "TRIVIUM_TRUST"
_FILE = "trivium.yaml"


def trust(modules: Iterable[str]) -> None:
    """Lets the rest of this process, and the processes that it starts, build objects of these modules.

    modules: dotted names; a package's name stands for all of its modules. A module in the working folder can be
    imported afterwards. Raises ValueError for a name that is no module's, a module of Python or trivium itself, or one
    that is not on the Python path.
    """
    names = list(modules)
    check_modules(names)
    os.environ[VARIABLE] = ",".join(dict.fromkeys([*_from_environment(), *names]))


def is_trusted(target: str, modules: Iterable[str] = ()) -> bool:
    """Tells whether a dotted name lies in this package or a trusted module. modules: further trusted ones."""
    roots = (PACKAGE, *_from_environment(), *_from_user_folder(), *_plugins(), *modules)
    return any(target.startswith(f"{root}.") for root in roots)


def refusal(target: str) -> str:
    """Returns the message that says why a name is not built, and what the user can do."""
    module = target.partition(".")[0]
    return (
        f"_target_: {target!r} is refused: the module {module!r} is not part of Trivium. If you know what its code "
        f"does, allow it with trust=[{module}] (docs/extending.md)"
    )


def more_config_folders() -> list[Path]:
    """Returns the folders of configs beside Trivium's: `configs` of each installed plugin, and the user's own."""
    user_folder = user_config_folder()
    installed = [folder for name in _plugins() for folder in _config_folders(name.partition(".")[0])]
    return [*installed, *([] if user_folder is None else [user_folder])]


def check_modules(names: Iterable[str]) -> None:
    """Raises ValueError for names that `trust` refuses. A module in the working folder can be imported afterwards."""
    for name in names:
        _check(name)


def _check(name: str) -> None:
    top = name.partition(".")[0]
    if not all(part.isidentifier() for part in name.split(".")):
        raise ValueError(f"trust: {name!r} is no module's name; expected such as mine, or mine.parts")
    if top == PACKAGE or top in sys.stdlib_module_names:
        raise ValueError(f"trust: {name!r} cannot be chosen; expected a module of your own")
    if importlib.util.find_spec(top) is None and str(Path.cwd()) not in sys.path:
        # The command trivium, unlike python, does not look for modules in the working folder.
        sys.path.append(str(Path.cwd()))
    if importlib.util.find_spec(top) is None:
        raise ValueError(
            f"trust: there is no module {top!r} on the Python path or in {Path.cwd()}; add its folder to PYTHONPATH"
        )


def _from_environment() -> list[str]:
    return [name for name in os.environ.get(VARIABLE, "").split(",") if name]


def _from_user_folder() -> list[str]:
    folder = user_config_folder()
    return _from_file(folder / _FILE) if folder is not None else []


@cache
def _from_file(file: Path) -> list[str]:
    """Returns the modules that a trivium.yaml names, which can be imported afterwards.

    Raises ValueError, naming the file, for any other content.
    """
    if not file.is_file():
        return []
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
    except (OSError, yaml.YAMLError) as error:
        raise ValueError(f"{file}: cannot be read ({error})") from error
    names = content.get("trust", []) if isinstance(content, dict) else None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names) or set(content) - {"trust"}:
        raise ValueError(f"{file}: expected the key trust with a list of modules and nothing else, as in trust: [mine]")
    try:
        check_modules(names)
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from error
    return names


@cache
def _plugins() -> list[str]:
    return [entry.module for entry in entry_points(group=GROUP)]


def _config_folders(module: str) -> list[Path]:
    spec = importlib.util.find_spec(module)
    locations = [Path(place) / "configs" for place in (spec and spec.submodule_search_locations) or []]
    return [folder for folder in locations if folder.is_dir()]
