"""Composes config files and a command line to one plain dict. The only place but `trivium train` that calls Hydra."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import copy, deepcopy
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import yaml
from hydra import initialize_config_dir
from hydra._internal.config_repository import CachingConfigRepository, IConfigRepository
from hydra.core.config_loader import ConfigLoader
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from hydra.plugins.config_source import ConfigResult
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from trivium.config.config_folder import CONFIGS, TABLES
from trivium.config.renamed import has_old_names, new_names_of
from trivium.config.trust import more_config_folders

# Matches overrides that choose the method.
_METHOD = re.compile(r"\+{0,2}(method|experiment|sweep)=")
ROOT = "train"
# Compositions that a composer holds at most, of some 300 kB each.
MAX_COMPOSITIONS = 256
# The keys of a config whose values are paths.
_PATHS = ("paths.data", "paths.outputs", "run.dir", "run.study", "data.store", "resume", "start_from")


@dataclass(frozen=True)
class ConfigFile:
    """Holds one file of a composition. path: "encoder/lstm". package: the node that gets its keys; "" is the root."""

    path: str
    package: str
    file: Path

    @property
    def group(self) -> str:
        return self.path.split("/")[0]

    @cached_property
    def text(self) -> str:
        return self.file.read_text(encoding="utf-8")

    @cached_property
    def _loaded(self) -> dict[str, Any]:
        loaded = OmegaConf.to_container(OmegaConf.create(self.text), resolve=False)
        if not isinstance(loaded, dict):
            raise ValueError(f"{self.file}: expected keys and values, found a list")
        return {str(name): value for name, value in loaded.items()}

    @property
    def values(self) -> dict[str, Any]:
        """Holds the file's keys, unresolved, without its defaults list."""
        return {name: value for name, value in self._loaded.items() if name != "defaults"}

    @property
    def defaults(self) -> list[Any]:
        """Holds the file's defaults list."""
        return list(self._loaded.get("defaults", []))


@dataclass
class Composer:
    """Composes any number of command lines over one set of config folders: the main one, and more_config_folders."""

    loader: ConfigLoader
    folders: list[Path]
    _files: dict[tuple[str, str], ConfigFile] = field(default_factory=dict)
    # The latest compositions are kept: the check and a table's plan ask several times for one, and composing is slow.
    _loaded: dict[tuple[str, ...], DictConfig] = field(default_factory=dict)
    _files_by_line: dict[tuple[str, ...], list[ConfigFile]] = field(default_factory=dict)

    def compose(self, overrides: Sequence[str]) -> dict[str, Any]:
        """Returns the resolved config without Hydra's own node. Raises ValueError with Hydra's message, shortened."""
        with _in_words():
            return plain(self._load(overrides))

    def hydra(self, overrides: Sequence[str]) -> dict[str, Any]:
        """Returns the parts of Hydra's own node that describe a sweep: sweeper, launcher, and runtime's choices.

        The launcher is returned as written, without its interpolations. Raises ValueError as `compose` does.
        """
        with _in_words():
            node = self._load(overrides).hydra
            # The launcher's interpolations name a job that has not begun, so they cannot be resolved.
            sweeper = OmegaConf.to_container(node.sweeper, resolve=True)
            launcher = OmegaConf.to_container(node.launcher)
            choices = OmegaConf.to_container(node.runtime.choices)
        return {"sweeper": sweeper, "launcher": launcher, "runtime": {"choices": choices}}

    def _load(self, overrides: Sequence[str]) -> DictConfig:
        key = tuple(overrides)
        if key not in self._loaded:
            _make_room(self._loaded)
            self._loaded[key] = self.loader.load_configuration(ROOT, list(overrides), RunMode.RUN)
        return self._loaded[key]

    def files(self, overrides: Sequence[str]) -> list[ConfigFile]:
        """Returns the files of a composition in the order of merging, without the root's and Hydra's own."""
        key = tuple(overrides)
        if key not in self._files_by_line:
            with _in_words():
                defaults = self.loader.compute_defaults_list(ROOT, list(overrides), RunMode.RUN).defaults
            paths = [(entry.config_path or "", entry.package or "") for entry in defaults]
            _make_room(self._files_by_line)
            self._files_by_line[key] = [
                self._file(path, package)
                for path, package in paths
                if path not in ("", ROOT) and not path.startswith(("hydra/", "_dummy"))
            ]
        return self._files_by_line[key]

    def current(self, overrides: Sequence[str]) -> list[str]:
        """Returns the overrides with keys by their current names, and tells each change of a name once a process."""
        if not has_old_names(overrides):
            return list(overrides)
        # A key that was renamed belongs to one method. In a sweep over methods the first one decides.
        chosen = [re.sub(r"=([\w/]+),.*", r"=\1", line) for line in overrides if _METHOD.match(line)]
        try:
            target = str(self.compose(chosen)["method"]["_target_"])
        except (ValueError, KeyError):
            # There is no such choice, which the check reports.
            return list(overrides)
        lines, notes = new_names_of(overrides, target)
        for note in notes:
            _tell_once(note)
        return lines

    def groups(self) -> list[str]:
        """Returns the groups of choices, in alphabetical order."""
        names = {p.name for folder in self.folders for p in folder.iterdir() if p.is_dir()}
        return sorted(names - {TABLES.name, "hydra"})

    def choices(self, group: str) -> dict[str, Path]:
        """Returns choice -> file; those in sub-folders ("published/selfmi_mosi") come last."""
        folders = [folder / group for folder in self.folders if group != TABLES.name]
        names = {
            file.relative_to(folder).with_suffix("").as_posix(): file
            for folder in folders
            for file in folder.rglob("*.yaml")
        }
        return dict(sorted(names.items(), key=lambda item: ("/" in item[0], item[0])))

    def _file(self, path: str, package: str) -> ConfigFile:
        if (path, package) not in self._files:
            file = next((f for folder in self.folders if (f := folder / f"{path}.yaml").is_file()), None)
            if file is None:
                raise ValueError(
                    f"{path}.yaml is in none of {', '.join(map(str, self.folders))}; add a folder by --config-dir"
                )
            self._files[path, package] = ConfigFile(path, package.removeprefix("_global_").lstrip("."), file)
        return self._files[path, package]


def _make_room(compositions: dict[tuple[str, ...], Any]) -> None:
    """Drops the oldest composition where a composer holds as many as it may."""
    if len(compositions) >= MAX_COMPOSITIONS:
        del compositions[next(iter(compositions))]


class _FilesReadOnce(CachingConfigRepository):
    """Keeps each file that was read, where Hydra reads every file anew for each composition: a third of its time.

    files: those that were read, which are added to.
    """

    def __init__(self, delegate: IConfigRepository, files: dict[str, ConfigResult | None]) -> None:
        super().__init__(delegate)
        self.cache = files

    def __deepcopy__(self, memo: dict[int, Any]) -> _FilesReadOnce:
        # A composition begins with a copy of the repository, which shares what was read.
        copied = copy(self)
        copied.delegate = deepcopy(self.delegate, memo)
        return copied

    def load_config(self, config_path: str) -> ConfigResult | None:
        return deepcopy(super().load_config(config_path))

    def initialize_sources(self, config_search_path: ConfigSearchPath) -> None:
        super().initialize_sources(config_search_path)
        self.cache = {}


# What was read of the package's own folder, by the time of its latest change.
_PACKAGE_FILES: dict[int, dict[str, ConfigResult | None]] = {}


def _package_files() -> dict[str, ConfigResult | None]:
    changed = max(file.stat().st_mtime_ns for file in CONFIGS.rglob("*"))
    if changed not in _PACKAGE_FILES:
        _PACKAGE_FILES.clear()
    return _PACKAGE_FILES.setdefault(changed, {})


# What Hydra, OmegaConf and PyYAML raise beside their own errors for a damaged file of a user's config folder.
_UNEXPECTED = (AssertionError, AttributeError, LookupError, RecursionError, TypeError, OSError, UnicodeError)


@contextmanager
def _in_words() -> Iterator[None]:
    """Turns errors of composing into a ValueError on one line."""
    try:
        yield
    except (HydraException, OmegaConfBaseException) as error:
        raise ValueError(shorten(error)) from error
    except yaml.YAMLError as error:
        # The file and the place in it are PyYAML's words.
        raise ValueError(f"a config file is no YAML: {' '.join(str(error).split())}") from error
    except _UNEXPECTED as error:
        reason = " ".join(str(error).split()) or "no reason given"
        # None of them names the file.
        where = f" of {', '.join(map(str, folders))}" if (folders := more_config_folders()) else ""
        raise ValueError(f"a config file{where} cannot be read ({type(error).__name__}: {reason:.300})") from error


@contextmanager
def composer(configs: Path = CONFIGS) -> Iterator[Composer]:
    """Yields a composer. configs: the folder of train.yaml."""
    with initialize_config_dir(config_dir=str(configs.resolve()), version_base="1.3"):
        loader: Any = GlobalHydra.instance().config_loader()
        folders = [configs, *more_config_folders()]
        loader.repository = _FilesReadOnce(loader.repository, _package_files() if folders == [CONFIGS] else {})
        yield Composer(loader, folders)


def compose_config(overrides: Sequence[str]) -> dict[str, Any]:
    """Returns the plain, resolved config of `trivium train OVERRIDES`. Raises ValueError if it does not compose."""
    with composer() as session:
        return session.compose(session.current(overrides))


@cache
def _tell_once(line: str) -> None:
    print(line, file=sys.stderr)


def plain(config: DictConfig) -> dict[str, Any]:
    """Returns all but Hydra's own node, interpolations resolved, as dict, list, str, number, bool and None."""
    names = [str(name) for name in config if name != "hydra"]
    resolved = OmegaConf.to_container(OmegaConf.masked_copy(config, names), resolve=True, throw_on_missing=True)
    assert isinstance(resolved, dict)
    return _with_home({str(name): value for name, value in resolved.items()})


def _with_home(config: dict[str, Any]) -> dict[str, Any]:
    """Replaces a ~ at the start of each path of a config by the user's home directory, as a shell would."""
    for key in _PATHS:
        group, _, name = key.rpartition(".")
        node = config.get(group) if group else config
        value = node.get(name) if isinstance(node, dict) else None
        if isinstance(node, dict) and isinstance(value, str) and value.startswith("~"):
            node[name] = os.path.expanduser(value)
    return config


_NOISE = (
    "full_key:",
    "object_type=",
    "reference_type=",
    "See http",
    "Config search path",
    "Set hydra.verbose",
    "provider=",
)


def shorten(error: BaseException) -> str:
    """Returns Hydra's message and that of its cause on one line, without pointers into Hydra's objects and pages."""
    texts = [str(error)] + ([str(error.__cause__)] if error.__cause__ is not None else [])
    lines = [line.strip() for text in texts for line in text.splitlines()]
    message = "; ".join(dict.fromkeys(line.rstrip(".;") for line in lines if line and not line.startswith(_NOISE)))
    message = message.replace(":; ", ": ")
    duplicate = re.match(r"Multiple values for (\S+)\.", message)
    if duplicate:
        return f"{duplicate[1]}: there already; leave out the +"
    new_key = re.search(r"To append to your config use \+(([^=\s]+)=[^;]*)", message)
    if new_key and not new_key[2].startswith("hydra."):
        return f"{new_key[2]}: a new name; add it with a +: +{new_key[1]}"
    conflict = re.match(r"Error merging override (hydra\.sweeper\.params\b.*); Cannot merge", message)
    if conflict:
        return (
            f"{conflict[1]}: the space of sweep= has the key in another form; give KEY=A,B or 'KEY=interval(A,B)' "
            "instead"
        )
    key = next((line.removeprefix("full_key: ") for line in lines if line.startswith("full_key: ")), "")
    return message if not key or key in message else f"{key}: {message}"
