"""Reads a finished run's files as frames, figures and pages need them: without torch or a model."""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import yaml

from trivium.core.wording import brief, command
from trivium.runs.config_hash import OF_A_TABLE, config_hash, dotted
from trivium.runs.directory import RunDirectory
from trivium.runs.run_files import numbers_of, read_rows, require_identified, require_whole

if TYPE_CHECKING:
    from trivium.data.target import Target

Values = npt.NDArray[np.float64]

# settings that say nothing of what a run is, and the seed and the fold
_NOT_COMPARED = ("run.", "resume", "paths.", "logger.", "debug.name", "seed", "data.fold")
_DAMAGED, _MEND = "cannot be read", "copy it again, or repeat the run"
PREDICTIONS = "predictions.csv"
# Settings that a label may carry to be told from others; of more it says "...".
_NAMED = 3


@dataclass(frozen=True)
class Predicted:
    """Holds one split's clips in the store's order.

    target, prediction: (N,) scores or class numbers, (N, K) of several scores, (N, C) labels of 0 and 1.
    probabilities: (N, C) of classes or labels, or None.
    """

    ids: list[str]
    target: Values
    prediction: Values
    probabilities: Values | None = None

    def chosen(self, rows_N: npt.NDArray[np.bool_]) -> Predicted:
        """Returns the clips where rows_N is True."""
        probabilities = None if self.probabilities is None else self.probabilities[rows_N]
        ids = [clip for clip, is_chosen in zip(self.ids, rows_N.tolist(), strict=True) if is_chosen]
        return Predicted(ids, self.target[rows_N], self.prediction[rows_N], probabilities)


@dataclass(frozen=True)
class Record:
    """Holds what a finished run's directory says. config: as composed. label: of the setting, without seed and fold."""

    path: Path
    config: dict[str, Any] = field(repr=False)
    result: dict[str, Any] = field(repr=False)
    record: dict[str, Any] = field(repr=False)
    label: str = ""

    @property
    def seed(self) -> int:
        return int(self.result["seed"])

    @property
    def fold(self) -> int | None:
        """Returns the number of the fold that the run tested (data.fold), or None of data without folds."""
        return self.result.get("fold")

    @property
    def repeat(self) -> str:
        """Names the run among those of its setting: by its seed, and its fold where there are any."""
        return str(self.seed) if self.fold is None else f"{self.seed} fold {self.fold}"

    @property
    def stem(self) -> str:
        """Returns what names of the run's figures begin with."""
        return f"{self.label}_s{self.seed}" + ("" if self.fold is None else f"_f{self.fold}")

    @property
    def data(self) -> str:
        return str(self.result["feature_set"])

    @property
    def protocol(self) -> str:
        return str(self.result["metrics"])

    @cached_property
    def target(self) -> Target:
        """Returns what was predicted; results of earlier versions, all of one score, do not say it."""
        # h5py comes with it, which lists and tables do without.
        from trivium.data.target import Target

        return Target.from_dict(self.result.get("target") or {"kind": "score"})

    @cached_property
    def group(self) -> str:
        """Returns a hash that is equal for runs that differ in places, seeds and folds alone, also of start_from."""
        return _group(self.config)

    @cached_property
    def settings(self) -> dict[str, str]:
        """Returns the whole config as dotted key -> value."""
        return flatten(self.config)

    @property
    def selected_by(self) -> str:
        """Returns the rule by which the tested epoch was chosen; results of version 0.1.0 do not say it."""
        if "selection" in self.result:
            return str(self.result["selection"]["rule"])
        return "last epoch" if self.config.get("trainer", {}).get("select") == "last" else "lowest val/loss"

    @property
    def command(self) -> str:
        """Returns the command that trains it again. Raises ValueError naming the damaged file."""
        return command("train", *RunDirectory(self.path).overrides())

    @cached_property
    def epochs(self) -> dict[str, Values]:
        """Returns the columns of metrics.csv, with one value an epoch; NaN where a row has none."""
        columns = read_columns(self.path / "metrics.csv")
        if "epoch" not in columns:
            raise ValueError(f"{self.path / 'metrics.csv'}: no epoch in it; {_MEND}")
        return columns

    @cached_property
    def predictions(self) -> dict[str, Predicted]:
        """Returns the predictions of each split. Raises ValueError naming the file if a line is not whole."""
        file = self.path / PREDICTIONS
        rows = read_rows(file, ("split", "id"))
        if not rows:
            raise ValueError(f"{file}: no clip in it; {_MEND}")
        whole = _predicted(file, rows, self.target)
        splits = np.array([row["split"] for row in rows])
        return {split: whole.chosen(splits == split) for split in dict.fromkeys(splits.tolist())}

    def check(self) -> None:
        """Reads what figures and pages are made of. Raises ValueError naming the file that is damaged or missing."""
        _ = self.epochs, self.predictions, self.command


def _predicted(file: Path, rows: Sequence[dict[str, str]], target: Target) -> Predicted:
    """Returns the clips of all lines of predictions.csv; its columns are those of `Predictions.columns`.

    Raises ValueError naming the file, for a column that is missing and for what is no number or class.
    """
    names, sides = target.names, ("target", "prediction")
    heads = [[f"{side}_{name}" for name in names] if target.shape else [side] for side in sides]
    likely = [f"p_{name}" for name in names] if target.kind != "score" else []
    if lacking := [column for column in (*heads[0], *heads[1], *likely) if column not in rows[0]]:
        raise ValueError(f"{file}: {_DAMAGED}: no column {', '.join(lacking)}; {_MEND}")
    if target.kind == "classes":
        known = {name: float(number) for number, name in enumerate(names)}
        if wrong := [row[side] for row in rows for side in sides if row[side] not in known]:
            raise ValueError(f"{file}: {_DAMAGED}: {wrong[0]!r} is no class of {', '.join(names)}; {_MEND}")
        values = [np.array([known[row[side]] for row in rows]) for side in sides]
    else:
        numbers = numbers_of(file, rows, [*heads[0], *heads[1]])
        values = [np.array([numbers[head] for head in part]).T.reshape(-1, *target.shape) for part in heads]
    shares = numbers_of(file, rows, likely)
    probabilities = np.array([shares[head] for head in likely]).T if likely else None
    return Predicted([row["id"] for row in rows], values[0], values[1], probabilities)


def slug(label: str) -> str:
    """Returns the label of a table's row as part of a file name; the names of the row's runs begin with it."""
    return re.sub(r"[\W_]+", "_", label.lower()).strip("_")


def _group(config: dict[str, Any]) -> str:
    origin = str(config.get("start_from") or "")
    data = {**config["data"], "fold": None} if "data" in config else None
    config = config if data is None else {**config, "data": data}
    return config_hash({**config, "seed": 0, "start_from": _origin(Path(origin)) if origin else ""})


def _origin(path: Path) -> str:
    """Returns the group of the run that another began from; its name without seed and hash if it cannot be read."""
    # A damaged one is as good as none.
    with contextlib.suppress(ValueError):
        return _group(RunDirectory(path).config())
    row = OF_A_TABLE.fullmatch(path.name)
    return row["row"] if row else path.name


def read_record(path: Path) -> Record:
    """Returns the run in a folder. Raises ValueError naming the folder or file: no run, not finished, or damaged."""
    run = RunDirectory(path)
    try:
        record = Record(path, run.config(), run.result(), run.record())
    except OSError as error:
        raise ValueError(f"{path}: a file of the run {_DAMAGED} ({error}); {_MEND}") from error
    require_identified(run.config_file, record.config)
    require_whole(run.result_file, record.result)
    return record


def flatten(config: Mapping[str, Any]) -> dict[str, str]:
    """Returns dotted key -> value, written as on the command line; lists stay whole."""
    return {key: _word(value) for key, value in dotted(config).items()}


def _word(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return (
        yaml.safe_dump(value, default_flow_style=True, width=math.inf).strip()
        if isinstance(value, list)
        else str(value)
    )


def is_compared(key: str) -> bool:
    """Returns whether a setting tells runs apart, and not merely their seeds or places."""
    return not key.startswith(_NOT_COMPARED)


def differing(settings: Sequence[Mapping[str, str]]) -> list[str]:
    """Returns the keys whose values are not the same in all, or that some lack, in the order in which they come."""
    keys = dict.fromkeys(key for run in settings for key in run)
    return [key for key in keys if len({run.get(key) for run in settings}) > 1]


def labelled(records: Sequence[Record]) -> list[Record]:
    """Returns the same runs with labels that tell settings apart.

    A label is the one that a run has (a table's row) or its method's name. Where two would be called alike, the
    fewest settings that tell them apart follow. The data's name comes last where there are several.
    """
    several = len({record.data for record in records}) > 1
    first = {record.group: record for record in reversed(records)}
    names = {group: (record.label or str(record.result["method"]), record.data) for group, record in first.items()}
    labels = {}
    for group, (name, data) in names.items():
        alike = [first[other] for other, its in names.items() if its == (name, data)]
        telling = f", {_telling(first[group], alike)}" if len(alike) > 1 else ""
        labels[group] = f"{name}{telling}" + f", {data}" * several
    twice = [group for group, name in labels.items() if list(labels.values()).count(name) > 1]
    labels |= {group: f"{labels[group]} ({group[:6]})" for group in twice}
    return [replace(record, label=labels[record.group]) for record in records]


def _telling(record: Record, alike: Sequence[Record]) -> str:
    """Returns the settings that tell the run from others of its name; classes by their names, as fusion=FiLM."""
    every = [key for key in differing([run.settings for run in alike]) if is_compared(key)]
    replaced = tuple(key.removesuffix("_target_") for key in every if key.endswith("._target_"))
    # Settings of a class that another run does not have say no more than the classes, so these come first.
    keys = sorted(every, key=lambda key: not key.endswith("._target_") and key.startswith(replaced))
    chosen: list[str] = []
    while keys and _kinds(alike, chosen) < len(alike) and len(chosen) < _NAMED:
        chosen.append(max(keys, key=lambda key: _kinds(alike, [*chosen, key])))
    shown = [_setting(key, record.settings.get(key, "-")) for key in every if key in chosen]
    return " ".join([*shown, *(["..."] if _kinds(alike, chosen) < len(alike) else [])])


def _kinds(records: Sequence[Record], keys: Sequence[str]) -> int:
    """Returns the number of runs that the values of these settings tell apart."""
    return len({tuple(record.settings.get(key) for key in keys) for record in records})


def _setting(key: str, word: str) -> str:
    if key.endswith("._target_"):
        return f"{key.removesuffix('._target_')}={word.rpartition('.')[2]}"
    return f"{key}={brief(Path(word).name if word.startswith('/') else word)}"


def by_group(records: Sequence[Record]) -> dict[str, list[Record]]:
    """Returns label -> its runs by seed and fold, labels in the order in which they come."""
    groups: dict[str, list[Record]] = {}
    for record in records:
        groups.setdefault(record.label, []).append(record)
    return {label: sorted(group, key=lambda record: (record.seed, record.fold or 0)) for label, group in groups.items()}


def read_columns(path: Path) -> dict[str, Values]:
    """Returns column -> numbers, NaN for an empty cell. Raises ValueError as read_rows does, and for other words."""
    rows = read_rows(path)
    return {key: np.array(values) for key, values in numbers_of(path, rows, list(rows[0]) if rows else []).items()}
