"""Finished runs as figures and pages read them: files of the run's directory, without torch or a model."""

from __future__ import annotations

import contextlib
import csv
import math
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import yaml

from trivium.runs.directory import RunDirectory
from trivium.runs.identity import OF_A_TABLE, config_hash, dotted
from trivium.wording import brief

Values = npt.NDArray[np.float64]

_NOT_COMPARED = ("run.", "resume", "paths.", "logger.", "debug.name", "seed")  # of no say in what a run is, or a seed
_NEEDED = ("seed", "method", "feature_set", "metrics", "val", "best_epoch", "epochs")
_DAMAGED, _MEND = "cannot be read", "copy it again, or repeat the run"
_NAMED = 2  # settings that a label may carry to be told from another


@dataclass(frozen=True)
class Predicted:
    """One split's clips, in the store's order. target, prediction: (N,)."""

    ids: list[str]
    target: Values
    prediction: Values


@dataclass(frozen=True)
class Record:
    """A finished run's directory. config is as it was composed; label says what it is, and not its seed."""

    path: Path
    config: dict[str, Any] = field(repr=False)
    result: dict[str, Any] = field(repr=False)
    record: dict[str, Any] = field(repr=False)
    label: str = ""

    @property
    def seed(self) -> int:
        return int(self.result["seed"])

    @property
    def data(self) -> str:
        return str(self.result["feature_set"])

    @property
    def protocol(self) -> str:
        return str(self.result["metrics"])

    @cached_property
    def group(self) -> str:
        """The same for runs that differ in nothing but seeds (also of the run that they began from) and places."""
        return _group(self.config)

    @cached_property
    def settings(self) -> dict[str, str]:
        """Dotted key -> value of the whole config."""
        return flatten(self.config)

    @property
    def command(self) -> str:
        """What trains it again, from the repository's root. Raises ValueError naming the file that would tell."""
        file = self.path / "overrides.yaml"
        try:
            overrides = yaml.safe_load(file.read_text(encoding="utf-8")) or []
        except (OSError, yaml.YAMLError) as error:
            raise ValueError(f"{file}: {_DAMAGED} ({error}); {_MEND}") from error
        return shlex.join(["python", "train.py", *map(str, overrides)])

    @cached_property
    def epochs(self) -> dict[str, Values]:
        """Column of metrics.csv -> its values, one an epoch; NaN where a row has none."""
        return read_columns(self.path / "metrics.csv")

    @cached_property
    def predictions(self) -> dict[str, Predicted]:
        """Split -> predictions.csv. Raises ValueError naming the file if a line is not whole."""
        file, rows = self.path / "predictions.csv", dict[str, list[tuple[str, float, float]]]()
        lines = read_rows(file)
        try:
            for row in lines:
                rows.setdefault(row["split"], []).append((row["id"], float(row["target"]), float(row["prediction"])))
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{file}: {_DAMAGED} ({error!r}); {_MEND}") from error
        return {
            split: Predicted([r[0] for r in found], np.array([r[1] for r in found]), np.array([r[2] for r in found]))
            for split, found in rows.items()
        }

    def check(self) -> None:
        """Read what figures and pages are made of. Raises ValueError naming the file that is damaged or not there."""
        _ = self.epochs, self.predictions, self.command


def slug(label: str) -> str:
    """A table's row as the names of its runs begin."""
    return re.sub(r"[\W_]+", "_", label.lower()).strip("_")


def _group(config: dict[str, Any]) -> str:
    origin = str(config.get("start_from") or "")
    return config_hash({**config, "seed": 0, "start_from": _origin(Path(origin)) if origin else ""})


def _origin(path: Path) -> str:
    """The group of the run that another began from; where that cannot be read, its name without seed and hash."""
    with contextlib.suppress(ValueError):  # a damaged one is as good as none
        return _group(RunDirectory(path).config())
    row = OF_A_TABLE.fullmatch(path.name)
    return row["row"] if row else path.name


def read_record(path: Path) -> Record:
    """Raises ValueError naming the folder if it holds no run, one that is not finished, or files that are damaged."""
    run = RunDirectory(path)
    try:
        record = Record(path, run.config(), run.result(), run.record())
    except OSError as error:
        raise ValueError(f"{path}: a file of the run {_DAMAGED} ({error}); {_MEND}") from error
    if lacking := [key for key in _NEEDED if key not in record.result]:
        raise ValueError(f"{run.result_file}: no {', '.join(lacking)}; the file was changed, or is of another version")
    return record


def flatten(config: Mapping[str, Any]) -> dict[str, str]:
    """Dotted key -> value, as one writes it on the command line; lists stay whole."""
    return {key: _word(value) for key, value in dotted(config).items()}


def _word(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return (
        yaml.safe_dump(value, default_flow_style=True, width=math.inf).strip()
        if isinstance(value, list)
        else str(value)
    )


def compared(key: str) -> bool:
    """Whether a setting tells runs apart, and not merely their seeds or places."""
    return not key.startswith(_NOT_COMPARED)


def differing(settings: Sequence[Mapping[str, str]]) -> list[str]:
    """Keys whose values are not the same in all, or that some lack; in the order in which they come."""
    keys = dict.fromkeys(key for one in settings for key in one)
    return [key for key in keys if len({one.get(key) for one in settings}) > 1]


def labelled(records: Sequence[Record]) -> list[Record]:
    """The same runs with labels: the one that they have (a table's row) or the method's name, the data's where there
    are several, and settings that differ where two would be called alike.
    """
    several = len({record.data for record in records}) > 1
    base = {r.group: (r.label or r.result["method"]) + f", {r.data}" * several for r in records}
    first = {r.group: r for r in reversed(records)}
    labels = {}
    for group, name in base.items():
        alike = [first[other] for other, its in base.items() if its == name]
        labels[group] = name if len(alike) == 1 else f"{name}, {_telling(first[group], alike)}"
    twice = [group for group, name in labels.items() if list(labels.values()).count(name) > 1]
    labels |= {group: f"{labels[group]} ({group[:6]})" for group in twice}
    return [Record(r.path, r.config, r.result, r.record, labels[r.group]) for r in records]


def _telling(record: Record, alike: Sequence[Record]) -> str:
    """Of several settings that differ the first two; classes by their names, as fusion=FiLM."""
    every = [key for key in differing([one.settings for one in alike]) if compared(key)]
    replaced = tuple(key.removesuffix("_target_") for key in every if key.endswith("._target_"))
    # settings that one class has and another has not say no more than the classes, if these tell all of the runs apart
    few = [key for key in every if key.endswith("._target_") or not key.startswith(replaced)]
    told = {tuple(one.settings.get(key) for key in few) for one in alike}
    keys = few if len(told) == len(alike) else every
    shown = [_setting(key, record.settings.get(key, "-")) for key in keys[:_NAMED]]
    return " ".join([*shown, *(["..."] if len(keys) > _NAMED else [])])


def _setting(key: str, word: str) -> str:
    if key.endswith("._target_"):
        return f"{key.removesuffix('._target_')}={word.rpartition('.')[2]}"
    return f"{key}={brief(Path(word).name if word.startswith('/') else word)}"


def by_group(records: Sequence[Record]) -> dict[str, list[Record]]:
    """Label -> its runs by seed, labels in the order in which they come."""
    found: dict[str, list[Record]] = {}
    for record in records:
        found.setdefault(record.label, []).append(record)
    return {label: sorted(group, key=lambda record: record.seed) for label, group in found.items()}


def read_rows(path: Path) -> list[dict[str, str]]:
    """A CSV file's rows. Raises ValueError naming the file if it is not there."""
    if not path.is_file():
        raise ValueError(f"{path}: not there; a finished run has it, so copy the run's directory whole")
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def read_columns(path: Path) -> dict[str, Values]:
    """Column -> numbers; NaN for an empty cell. Raises ValueError as read_rows does, and for what is no number."""
    rows = read_rows(path)
    try:
        return {key: np.array([float(row[key] or "nan") for row in rows]) for key in (rows[0] if rows else ())}
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: expected numbers in every column ({error}); the file was changed by hand") from error
