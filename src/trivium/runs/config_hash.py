"""Hashes the part of a config that decides about a run's numbers; by the hash a run is found again."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trivium.config.renamed import with_new_names, with_old_names

OF_A_TABLE = re.compile(r"(?P<row>.+)_s\d+_[0-9a-f]{6}")  # ROW_sSEED_HASH, as trivium.tables.plan names runs
_NOT_HASHED = ("run", "resume", "paths", "logger", "trust")
_NOT_HASHED_TRAINER = ("devices", "num_nodes", "accelerator", "strategy", "progress")
_PLATEAU = "trivium.schedulers.plateau"
_GMC = ("trivium.methods.gmc.GMC", "trivium.methods.m3ixup.M3ixup")


def config_hash(config: dict[str, Any]) -> str:
    """Returns the sha256 of the resolved config without what changes no number: run, resume, paths, logger, devices."""
    return hashlib.sha256(json.dumps(hashed_part(config), sort_keys=True).encode()).hexdigest()


def identity_of(config: Mapping[str, Any], start: str = "") -> str:
    """Returns the config's hash, with `start` in the place of the path of the run that it begins from.

    start: that run's identity; its path may be another tomorrow.
    """
    return config_hash({**config, "start_from": f"run {start}"} if start else dict(config))


def hashed_part(config: dict[str, Any]) -> dict[str, Any]:
    """Returns what decides about a run's numbers, numbers as floats: lr=1 and lr=1.0 are one config."""
    floats: dict[str, Any] = _as_floats(_decisive(config))
    return floats


def _decisive(config: dict[str, Any]) -> dict[str, Any]:
    """Returns the config without what changes no number.

    Of a table's run in start_from the name counts without its folder: a table with unfinished runs may be moved.
    """
    config = _as_in_0_1(config)
    decisive = {key: value for key, value in config.items() if key not in _NOT_HASHED}
    start = Path(decisive.get("start_from") or "")
    if OF_A_TABLE.fullmatch(start.name):
        decisive["start_from"] = start.name
    decisive["trainer"] = {key: value for key, value in config["trainer"].items() if key not in _NOT_HASHED_TRAINER}
    return decisive


def _as_in_0_1(config: dict[str, Any]) -> dict[str, Any]:
    """Returns the config as version 0.1.0 had it: keys by its names, and without those that mean what it did anyway.

    Its runs thereby keep their hash, and are still found and resumed.
    """
    config = with_old_names(config)
    trainer, method = dict(config["trainer"]), dict(config.get("method") or {})
    if _selects_as_in_0_1(config):
        trainer.pop("monitor", None)
    if method.get("pair_estimator") != "ba" or not method.get("ba_standardised"):
        method.pop("ba_standardised", None)
    return {**config, "trainer": trainer, **({"method": method} if "method" in config else {})}


def _selects_as_in_0_1(config: dict[str, Any]) -> bool:
    """Tells whether the epoch, early stopping and the plateau schedule go by what they went by in version 0.1.0.

    That was the validation loss, which for GMC and M3ixup was the weighted sum of all terms.
    """
    trainer, method, scheduler = (config.get(group) or {} for group in ("trainer", "method", "scheduler"))
    used = trainer.get("select") != "last" or trainer.get("patience") or scheduler.get("_target_") == _PLATEAU
    with_contrast = method.get("_target_") in _GMC and (method.get("weights") or {}).get("task", 1.0)
    same = ("val/total",) if with_contrast else ("auto", "val/loss")
    return not used or trainer.get("monitor", same[0]) in same


def dotted(config: Mapping[str, Any], where: str = "") -> dict[str, Any]:
    """Returns dotted key -> value of everything in a config; lists stay whole."""
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


def differences(a: dict[str, Any], b: dict[str, Any]) -> list[str]:
    """Lists where two configs differ in what decides about a run's numbers, as "seed (5 there, 6 now)"."""
    first, second = (dotted(with_new_names(_decisive(config))) for config in (a, b))
    # As they were written, but for the folder of a table's run.
    there = {**dotted(a), "start_from": first.get("start_from")}
    now = {**dotted(b), "start_from": second.get("start_from")}
    keys = [key for key in {**first, **second} if first.get(key) != second.get(key)]
    return [f"{key} ({there.get(key)!r} there, {now.get(key)!r} now)" for key in keys]
