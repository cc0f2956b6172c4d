"""Hashes the part of a config that decides a run's numbers; a run is identified by this hash."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trivium.config.callbacks import that_decide
from trivium.config.renamed import with_new_names, with_old_names
from trivium.data.train_labels import ALL_LABELS

# Matches ROW_sSEED_HASH, the names that trivium.tables.plan gives to runs.
OF_A_TABLE = re.compile(r"(?P<row>.+)_s\d+_[0-9a-f]{6}")
_NOT_HASHED = ("run", "resume", "paths", "logger", "trust")
_NOT_HASHED_TRAINER = (
    *("devices", "num_nodes", "accelerator", "strategy", "lost_after"),
    *("progress", "callbacks", "profiler"),
)
# Keys that came later than version 0.1.0, with the values at which they change nothing.
_NEW_OF_OBJECTIVE = {"class_weights": None, "focal_gamma": 0.0}
_NEW_OF_METHOD = {
    **{"step_dropout": 0, "modality_dropout_law": "keep_one"},
    **{"placeholder_count": "fixed", "clip_norm": "stepped"},
}
_NEW_OF_DATA: dict[str, Any] = {"target": "", "fold": None, "sampler": "shuffled", **ALL_LABELS}
_NEW_OF_COMPETITION = {"test_easy_noise": None}
_PLATEAU = "trivium.schedulers.plateau"
_TETFN = "trivium.fusions.tetfn.TETFN"
_GMC = ("trivium.methods.gmc.GMC", "trivium.methods.m3ixup.M3ixup")


def config_hash(config: dict[str, Any]) -> str:
    """Returns the sha256 of the resolved config without the keys that change no number, such as run, paths, logger."""
    return hashlib.sha256(json.dumps(hashed_part(config), sort_keys=True).encode()).hexdigest()


def identity_of(config: Mapping[str, Any], start: str = "") -> str:
    """Returns the config's hash, with `start` in place of the path of the run that it starts from.

    start: the identity of that run, whose path may change.
    """
    return config_hash({**config, "start_from": f"run {start}"} if start else dict(config))


def hashed_part(config: dict[str, Any]) -> dict[str, Any]:
    """Returns the part of a config that decides a run's numbers, with all numbers as floats: lr=1 is lr=1.0."""
    floats: dict[str, Any] = _as_floats(_decisive(config))
    return floats


def _decisive(config: dict[str, Any]) -> dict[str, Any]:
    """Returns the config without the keys that change no number.

    If start_from is a table's run, its name counts without the folder, as a table with unfinished runs may be moved.
    """
    config = _as_in_0_1(config)
    decisive = {key: value for key, value in config.items() if key not in _NOT_HASHED}
    start = Path(decisive.get("start_from") or "")
    if OF_A_TABLE.fullmatch(start.name):
        decisive["start_from"] = start.name
    decisive["trainer"] = {key: value for key, value in config["trainer"].items() if key not in _NOT_HASHED_TRAINER}
    if callbacks := that_decide(config["trainer"].get("callbacks", [])):
        decisive["trainer"]["callbacks"] = callbacks
    return decisive


def _as_in_0_1(config: dict[str, Any]) -> dict[str, Any]:
    """Returns the config in the form of version 0.1.0, whose runs so keep their hash, and are still found and resumed.

    Keys have the names of that version, and newer keys are left out where they mean what that version did.
    """
    config = with_old_names(config)
    if not config.get("metrics"):
        config = {key: value for key, value in config.items() if key != "metrics"}
    trainer, method = dict(config["trainer"]), dict(config.get("method") or {})
    config = {**config, **_before_tasks(config)}
    if _selects_as_in_0_1(config):
        trainer.pop("monitor", None)
    if not trainer.get("gradient_clip") or trainer.get("gradient_clip_by") == "norm":
        trainer.pop("gradient_clip_by", None)
    if method.get("pair_estimator") != "ba" or not method.get("ba_standardised"):
        method.pop("ba_standardised", None)
    if set((method.get("unimodal_weights") or {}).values()) <= {1}:
        method.pop("unimodal_weights", None)
    for key, default in _NEW_OF_METHOD.items():
        if method.get(key) == default:
            del method[key]
    fusion = dict(config.get("fusion") or {})
    if fusion.get("_target_") == _TETFN and fusion.get("masks"):
        config = {**config, "fusion": {key: value for key, value in fusion.items() if key != "masks"}}
    return {**config, "trainer": trainer, **({"method": method} if "method" in config else {})}


def _before_tasks(config: dict[str, Any]) -> dict[str, Any]:
    """Returns the groups objective and data as they were when a score was the only target.

    What "auto" stands for depends on the target, of which only a score goes with these older choices. So no two runs
    with different numbers get the same hash.
    """
    groups = {name: dict(config[name]) for name in ("objective", "data") if config.get(name)}
    objective, data = groups.get("objective", {}), groups.get("data", {})
    usual = {"l1": "L1", "mse": "MSE"}.get(objective.get("scores", "l1"))
    if objective.get("_target_") == "trivium.objectives.task.auto" and usual is not None:
        objective = groups["objective"] = {"_target_": f"trivium.objectives.task.{usual}"}
    if data.get("metrics") == "auto":
        data["metrics"] = "regression"
    competition = dict(data.get("competition") or {})
    if competition:
        data["competition"] = competition
    news = ((objective, _NEW_OF_OBJECTIVE), (data, _NEW_OF_DATA), (competition, _NEW_OF_COMPETITION))
    for node, defaults in news:
        for key in [key for key, default in defaults.items() if key in node and node[key] == default]:
            del node[key]
    return groups


def _selects_as_in_0_1(config: dict[str, Any]) -> bool:
    """Tells whether epoch, early stopping and plateau schedule follow the metric that they followed in version 0.1.0.

    That was the validation loss, which for GMC and M3ixup was the weighted sum of all terms.
    """
    trainer, method, scheduler = (config.get(group) or {} for group in ("trainer", "method", "scheduler"))
    is_monitored = trainer.get("select") != "last" or trainer.get("patience") or scheduler.get("_target_") == _PLATEAU
    with_contrast = method.get("_target_") in _GMC and (method.get("weights") or {}).get("task", 1.0)
    monitors_of_0_1 = ("val/total",) if with_contrast else ("auto", "val/loss")
    return not is_monitored or trainer.get("monitor", monitors_of_0_1[0]) in monitors_of_0_1


def dotted(config: Mapping[str, Any], where: str = "") -> dict[str, Any]:
    """Returns dotted key -> value for every value in a config; lists stay whole."""
    flat: dict[str, Any] = {}
    for key, value in config.items():
        flat |= dotted(value, f"{where}{key}.") if isinstance(value, Mapping) and value else {f"{where}{key}": value}
    return flat


def _as_floats(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _as_floats(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_as_floats(item) for item in value]
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def differences(stored: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """Lists the differences of two configs in the keys that decide a run's numbers, as "seed (5 there, 6 now)"."""
    return [f"{key} ({there!r} there, {now!r} now)" for key, there, now in differing(stored, new)]


def differing(stored: dict[str, Any], new: dict[str, Any]) -> list[tuple[str, Any, Any]]:
    """Returns (key, stored value, new value) of each difference of two configs in what decides a run's numbers."""
    stored_part, new_part = (dotted(with_new_names(_decisive(config))) for config in (stored, new))
    # Values are shown as they were written, but for the folder of a table's run.
    stored_values = {**dotted(stored), "start_from": stored_part.get("start_from")}
    new_values = {**dotted(new), "start_from": new_part.get("start_from")}
    keys = [key for key in {**stored_part, **new_part} if stored_part.get(key) != new_part.get(key)]
    return [(key, stored_values.get(key), new_values.get(key)) for key in keys]
