"""Reads manifest.yaml of a folder of clips: what its columns, files and targets are, where they do not say it.

labels: labels.csv                         # the table; columns: role -> the column's name
columns: {id: clip, split: part, group: speaker, transcript: words}
modalities:                                # name -> folder, or file name with {id}; default: every folder
  audio: covarep
  vision: {files: "openface/{id}_c.npz", array: features}
targets:                                   # default: every other column
  emotion: {kind: classes, column: emo, names: [angry, calm, happy]}
  valence: {kind: score, range: [-3, 3]}
  topics: {kind: labels, columns: [music, sport]}
absent: [vision]                           # modalities that a clip may lack
drop: [notes]                              # columns that are left out
folder: ../features                        # where the files are; default: beside this file
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from trivium.core.choices import check_choice, suggest
from trivium.core.wording import shortened
from trivium.data.formats.label_table import read_text
from trivium.data.target import KINDS
from trivium.data.target_columns import Declared

NAME = "manifest.yaml"
ROLES = ("id", "split", "fold", "group", "transcript")
_KEYS = ("folder", "labels", "columns", "modalities", "targets", "absent", "drop")
_TARGET_KEYS = ("kind", "column", "columns", "names", "range")


@dataclass(frozen=True)
class ModalityFiles:
    """Holds where a modality's files are. pattern: a path with {id} for the clip's. array: the name of one of several.

    The pattern may leave out the suffix.
    """

    pattern: str
    array: str = ""


@dataclass(frozen=True)
class FolderManifest:
    """Holds a folder's manifest. path: its file, or None where there is none. Empty parts are found in the folder.

    columns: role -> the column's name, of those that are given.
    """

    folder: Path
    path: Path | None = None
    labels: str = "labels.csv"
    columns: dict[str, str] = field(default_factory=dict)
    modalities: dict[str, ModalityFiles] = field(default_factory=dict)
    targets: dict[str, Declared] = field(default_factory=dict)
    absent: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()


def read_manifest(source: Path) -> FolderManifest:
    """Returns the manifest of a folder, or that in a YAML file; an empty one for a folder without manifest.yaml.

    Raises ValueError, naming file and key, for a wrong one.
    """
    path = source / NAME if source.is_dir() else source
    if source.is_dir() and not path.is_file():
        return FolderManifest(source)
    try:
        content = yaml.safe_load(read_text(path)) or {}
    except yaml.YAMLError as error:
        raise ValueError(f"{path}: is no YAML ({shortened(' '.join(str(error).split()), 300)})") from error
    node = _mapping(content, str(path), _KEYS)
    folder = path.parent / _text(node.get("folder", "."), f"{path}: folder")
    if not folder.is_dir():
        raise ValueError(f"{path}: folder: {folder} is no folder; it is looked for beside the manifest")
    columns = _mapping(node.get("columns", {}), f"{path}: columns", ROLES)
    modalities = _mapping(node.get("modalities", {}), f"{path}: modalities")
    targets = _mapping(node.get("targets", {}), f"{path}: targets")
    return FolderManifest(
        folder,
        path,
        _text(node.get("labels", "labels.csv"), f"{path}: labels"),
        {role: _text(column, f"{path}: columns.{role}") for role, column in columns.items()},
        {name: _modality(value, f"{path}: modalities.{name}") for name, value in modalities.items()},
        {name: _target(value, f"{path}: targets.{name}") for name, value in targets.items()},
        _texts(node.get("absent", []), f"{path}: absent"),
        _texts(node.get("drop", []), f"{path}: drop"),
    )


def check_name(name: str, where: str, remedy: str) -> None:
    """Raises ValueError unless settings can be named after a target or modality. remedy: where to give another name."""
    if not name.isidentifier() or name == "tokens":
        raise ValueError(
            f"{where}: {name!r} cannot be the name of a target or modality, as settings are named after it: expected "
            f"letters, digits and _; give it another name in {remedy}"
        )


def _modality(value: Any, where: str) -> ModalityFiles:
    node = {"files": value} if isinstance(value, str) else _mapping(value, where, ("files", "array"))
    if "files" not in node:
        raise ValueError(f"{where}: key 'files' is missing; expected a folder, or a path with {{id}} in it")
    files = _text(node["files"], f"{where}.files")
    return ModalityFiles(
        files if "{id}" in files else f"{files}/{{id}}", _text(node.get("array", ""), f"{where}.array")
    )


def _target(value: Any, where: str) -> Declared:
    node = _mapping(value, where, _TARGET_KEYS)
    if "kind" not in node:
        raise ValueError(f"{where}: key 'kind' is missing; expected one of {', '.join(KINDS)}")
    kind = check_choice(f"{where}.kind", _text(node["kind"], f"{where}.kind"), KINDS)
    if "column" in node and "columns" in node:
        raise ValueError(f"{where}: has the keys 'column' and 'columns'; expected one of them")
    columns = _texts(node.get("columns", []), f"{where}.columns")
    columns = columns or tuple(_text(node[key], f"{where}.{key}") for key in ("column",) if key in node)
    if kind == "classes" and len(columns) > 1:
        raise ValueError(
            f"{where}.columns: found {len(columns)} columns for classes, which have one; kind: labels has several"
        )
    names, codes = _names(node.get("names", []), f"{where}.names")
    single = kind == "score" and len(columns) < 2
    if (codes and kind != "classes") or (names and single):
        raise ValueError(f"{where}.names: a target of kind {kind} has no such names here; leave them out")
    if names and kind != "classes" and len(names) != max(1, len(columns)):
        raise ValueError(f"{where}.names: found {len(names)} names for {max(1, len(columns))} columns; name each")
    low_high = _range(node["range"], f"{where}.range") if "range" in node else None
    if low_high is not None and kind != "score":
        raise ValueError(f"{where}.range: is for scores; leave it out of kind: {kind}")
    return Declared(kind, columns, names, codes, low_high)


def _names(value: Any, where: str) -> tuple[tuple[str, ...], dict[str, str]]:
    """Returns names in their order, and value -> name where they are given so."""
    if isinstance(value, Mapping):
        codes = {_code(code, where): _text(name, where) for code, name in value.items()}
        return (), codes
    names = _texts(value, where)
    if len(set(names)) != len(names):
        raise ValueError(f"{where}: a name occurs twice in {list(names)}; expected each once")
    return names, {}


def _code(value: Any, where: str) -> str:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else _text(value, where)


def _range(value: Any, where: str) -> tuple[float, float]:
    numbers = [isinstance(end, int | float) and not isinstance(end, bool) for end in value] if _is_list(value) else []
    if numbers != [True, True] or not value[0] < value[1]:
        raise ValueError(f"{where}: expected [LOW, HIGH], two numbers with LOW below HIGH, found {value!r}")
    return float(value[0]), float(value[1])


def _mapping(value: Any, where: str, known: tuple[str, ...] = ()) -> dict[str, Any]:
    """Returns a mapping with text keys, of `known` if that is not empty; None counts as an empty one."""
    if not isinstance(value, Mapping | None):
        raise ValueError(f"{where}: expected keys and values, found {type(value).__name__}")
    for key in value or {}:
        if not isinstance(key, str) or (known and key not in known):
            expected = (
                f"; expected {', '.join(known)}" if known else "; expected a name (YAML reads yes and no as truth)"
            )
            raise ValueError(f"{where}: unknown key {key!r}{suggest(str(key), known)}{expected}")
    return dict(value or {})


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{where}: expected a text, found {value!r}; put it into quotes")
    return value


def _texts(value: Any, where: str) -> tuple[str, ...]:
    if not _is_list(value):
        raise ValueError(f"{where}: expected a list, such as [a, b], found {value!r}")
    return tuple(_text(item, where) for item in value)


def _is_list(value: Any) -> bool:
    return isinstance(value, list)
