"""Reads the files of a run, and compares each with what it must hold: the one place where that is relied on.

Every failure is a ValueError that names the file, the key, what was expected, what was found, and what to do. Keys that
are not described here may hold anything, as later versions add some.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from trivium.config.limits import MINIMUM
from trivium.config.renamed import with_new_names
from trivium.config.schema import Data, Paths, RunKeys, Trainer, describe, fits, of_type
from trivium.core.metric_names import METRICS
from trivium.core.structure import Keys, parse_json, parse_yaml, require, shown

ADVICE = "copy it again, or delete {folder} and repeat the run"
# A run's files are small, but for its weights and checkpoints.
_MOST_BYTES = 1 << 28

Content = TypeVar("Content")

_NUMBERS = Keys(other=(float, None))
_PART = Keys(optional={"_target_": str})
# What says which run it is, without which it can be neither shown nor resumed.
_WHOLE_CONFIG = Keys(
    {
        "seed": int,
        "data": Keys({"name": str}),
        "trainer": Keys({"max_epochs": int, "devices": int}),
        "method": Keys({"_target_": str, "name": str}),
        "run": Keys(),
    }
)
_CONFIG = Keys(
    {},
    {
        "seed": int,
        "data": Keys({}, {"name": str, "modalities": [str], "standardize": Keys(other=str)}),
        "trainer": Keys(),
        "method": Keys({}, {"_target_": str, "name": str}),
        "run": Keys(),
        "paths": Keys(),
        "encoder": _PART,
        "fusion": Keys({"_target_": str}),
        "objective": Keys({"_target_": str}),
        "encoders": (Keys(other=_PART), None),
        "optimizer": _PART,
        "scheduler": _PART,
        "logger": (Keys(), None),
        "resume": str,
        "start_from": str,
        "trust": [str],
        "metrics": (Keys(other=_PART), None),
    },
)
# What loading a model needs of it beside that.
_LOADED = Keys(
    {
        "data": Keys(
            {
                "modalities": [str],
                "standardize": Keys(other=str),
                "batch_size": int,
                "eval_batch_size": int,
                "label_range": [float],
                "metrics": str,
                "store": str,
            }
        ),
        "trainer": Keys({"precision": str, "limit_batches": int}),
        "encoder": _PART,
        "fusion": Keys({"_target_": str}),
        "objective": Keys({"_target_": str}),
        "paths": Keys({"data": str}),
    }
)
_RESULT = Keys(
    {},
    {
        "val": _NUMBERS,
        "store_checksum": str,
        "test": _NUMBERS,
        "config_hash": str,
        "git_commit": (str, None),
        "seconds": (float, None),
        "world_size": int,
        "parameters": int,
        "trained_parameters": int,
        "resumed_at": [int],
        "extended_at": [int],
        "versions": Keys(other=(str, None)),
        "hardware": Keys(),
        "selection": Keys({"monitor": str, "rule": str}, {"value": (float, None)}),
        "train_mean_mae": _NUMBERS,
        "train_guess": Keys(other=_NUMBERS),
        "confusion": Keys(other=[[float]]),
        "target": Keys({"kind": str}, {"name": str, "names": [str], "range": ([float], None)}),
        "modalities": [str],
        "probe": (Keys(), None),
    },
)
# What loading a run and showing it need beside that; a search compares the validation metrics alone.
_WHOLE_RESULT = Keys(
    {
        "val": _NUMBERS,
        "seed": int,
        "method": str,
        "feature_set": str,
        "metrics": str,
        "best_epoch": int,
        "epochs": int,
        "store_checksum": str,
    }
)
_RECORD = Keys(
    {},
    {
        "status": str,
        "created": str,
        "config_hash": str,
        "resumed_at": [int],
        "seed": int,
        "command": str,
        "git_commit": (str, None),
        "versions": Keys(other=(str, None)),
        "hardware": Keys(),
        "store_checksum": str,
        "extended_at": [int],
        "first_config_hash": str,
        "unsent": (str, None),
    },
)
_TARGET = Keys(
    {"kind": str},
    {"names": ([str], None), "range": ([float], None), "counts": ([int], None), "clips": int},
)
_COUNTS = Keys(other=int)
# A page needs the store alone; what loading a model lacks, `load_run` says.
_MODEL = Keys(
    {"store": str},
    {
        "schema": Keys(
            {
                "data": str,
                "feature_set": str,
                "dims": _COUNTS,
                "counts": _COUNTS,
                "max_lengths": _COUNTS,
                "targets": (Keys(other=_TARGET), [str]),
            },
            {
                "label_range": ([float], None),
                "max_token": int,
                "tokenizer": (str, None),
                "source_format": str,
                "mean_lengths": Keys(other=float),
                "word_steps": [str],
            },
        ),
        "reads": Keys(other=str),
        "assets": Keys(other=Keys()),
        "statistics": Keys(other=Keys({"mean": [float], "std": [float]})),
    },
)
_EXTENSION = Keys({"config": Keys(), "overrides": [str], "record": Keys()})


def read_config(file: Path) -> dict[str, Any]:
    """Returns the resolved config of config.yaml, with keys by their current names."""
    return _checked(file, parse_yaml, _config)


def require_identified(file: Path, config: dict[str, Any]) -> None:
    """Raises ValueError, naming the key, for a config.yaml without what says which run it is."""
    try:
        require(config, _WHOLE_CONFIG, "")
    except ValueError as error:
        raise _damaged(file, error) from error


def require_loadable(file: Path, config: dict[str, Any]) -> None:
    """Raises ValueError, naming the key, for a config.yaml without what a model and its data are made from."""
    require_identified(file, config)
    try:
        require(config, _LOADED, "")
    except ValueError as error:
        raise _damaged(file, error) from error


def require_whole(file: Path, result: dict[str, Any]) -> None:
    """Raises ValueError, naming the key, for a result.json without what says which run it is of."""
    try:
        require(result, _WHOLE_RESULT, "")
    except ValueError as error:
        raise _damaged(file, error) from error


def read_result(file: Path) -> dict[str, Any]:
    """Returns result.json."""
    return _checked(file, parse_json, _result)


def read_record(file: Path) -> dict[str, Any]:
    """Returns run.json."""
    return _checked(file, parse_json, _record)


def read_model(file: Path) -> dict[str, Any]:
    """Returns model.json."""
    return _checked(file, parse_json, _model)


def read_extension(file: Path) -> dict[str, Any]:
    """Returns extension.json, whose config is held to what config.yaml is."""
    return _checked(file, parse_json, _extension)


def read_overrides(file: Path) -> list[str]:
    """Returns the words of overrides.yaml."""
    return _checked(file, parse_yaml, _overrides)


def read_rows(file: Path, columns: Sequence[str] = ()) -> list[dict[str, str]]:
    """Returns a CSV file's rows, each with every column.

    columns: those that must be there. Raises ValueError naming the file, and the line where there is one.
    """
    text = read_text(file)
    try:
        reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
        names = list(reader.fieldnames or ())
        if lacking := [name for name in columns if name not in names]:
            raise ValueError(f"no column {', '.join(lacking)}")
        if len(set(names)) != len(names):
            raise ValueError("a column's name occurs twice")
        rows = []
        for row in reader:
            if None in row or None in row.values():
                raise ValueError(f"line {reader.line_num}: expected {len(names)} cells, found more or fewer")
            rows.append(row)
        return rows
    except (csv.Error, ValueError) as error:
        raise _damaged(file, error) from error


def numbers_of(file: Path, rows: Sequence[dict[str, str]], columns: Sequence[str]) -> dict[str, list[float]]:
    """Returns column -> its numbers, NaN for an empty cell. Raises ValueError naming file, column and line."""
    values: dict[str, list[float]] = {column: [] for column in columns}
    for line, row in enumerate(rows, start=2):
        for column in columns:
            try:
                values[column].append(float(row[column] or "nan"))
            except ValueError as error:
                reason = ValueError(f"column {column!r}, line {line}: expected a number, found {shown(row[column])}")
                raise _damaged(file, reason) from error
    return values


def read_text(file: Path) -> str:
    """Returns the text of a file. Raises ValueError naming it, if it is missing, no file, no UTF-8, or far too long."""
    if not file.is_file():
        # A pipe in its place would be waited for without end.
        kind = "no file" if file.exists() else "not there"
        raise ValueError(f"{file}: {kind}; a run has it, so copy the run's directory whole")
    try:
        if file.stat().st_size > _MOST_BYTES:
            raise ValueError(f"{file.stat().st_size} bytes, expected a small file")
        return file.read_text(encoding="utf-8")
    except ValueError as error:
        raise _damaged(file, error) from error


def _checked(file: Path, parse: Callable[[str], Any], check: Callable[[Any], Content]) -> Content:
    text = read_text(file)
    try:
        return check(parse(text))
    except ValueError as error:
        raise _damaged(file, error) from error


def _damaged(file: Path, error: Exception) -> ValueError:
    reason = " ".join(str(error).split())
    return ValueError(f"{file}: cannot be read ({reason}); {ADVICE.format(folder=file.parent)}")


def _config(content: Any) -> dict[str, Any]:
    require(content, Keys(), "")
    config = with_new_names(content)
    require(config, _CONFIG, "")
    for group, keys in (("data", Data), ("trainer", Trainer), ("run", RunKeys), ("paths", Paths)):
        hints = get_type_hints(keys)
        for name, value in config.get(group, {}).items():
            hint = hints.get(name)
            # Maps by modality have types of their own.
            if hint is not None and hasattr(of_type(hint), "hint") and not fits(value, hint):
                raise ValueError(f"{group}.{name}: expected {describe(hint)}, found {shown(value)}")
    for key, minimum in MINIMUM.items():
        group, _, name = key.partition(".")
        value = (config.get(group) or {}).get(name) if name else config.get(group)
        if isinstance(value, int | float) and not value >= minimum:
            raise ValueError(f"{key}: expected at least {minimum:g}, found {value}")
    return config


def _result(content: Any) -> dict[str, Any]:
    require(content, _RESULT, "")
    if not isinstance(content.get("metrics", "mosi"), str) or content.get("metrics", "mosi") not in METRICS:
        raise ValueError(f"metrics: expected one of {', '.join(METRICS)}, found {shown(content['metrics'])}")
    result: dict[str, Any] = content
    return result


def _record(content: Any) -> dict[str, Any]:
    require(content, _RECORD, "")
    record: dict[str, Any] = content
    return record


def _model(content: Any) -> dict[str, Any]:
    require(content, _MODEL, "")
    schema = content.get("schema", {"dims": {}, "counts": {}, "max_lengths": {}})
    for key in ("dims", "counts", "max_lengths"):
        for name, number in schema[key].items():
            if number < (1 if key == "dims" else 0):
                raise ValueError(f"schema.{key}.{name}: expected a size, found {number}")
    for name, dim in schema["dims"].items():
        # What a model is made of is no larger than the file, so that a wrong size cannot ask for all memory.
        for word in ("mean", "std"):
            count = len(content.get("statistics", {}).get(name, {}).get(word, []))
            if count != dim:
                raise ValueError(f"statistics.{name}.{word}: expected {dim} numbers, as schema.dims, found {count}")
    for name, what in content.get("reads", {}).items():
        if what not in ("values", "tokens") or (what == "values" and name not in schema["dims"]):
            raise ValueError(f"reads.{name}: expected values or tokens of a modality in schema, found {shown(what)}")
    model: dict[str, Any] = content
    return model


def _extension(content: Any) -> dict[str, Any]:
    require(content, _EXTENSION, "")
    return {**content, "config": _config(content["config"])}


def _overrides(content: Any) -> list[str]:
    words = [] if content is None else content
    require(words, [str], "")
    assert isinstance(words, list)
    return words
