"""What of a config decides about a run's numbers, and the hash that it is known by."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trivium.config.renamed import with_new_names, with_old_names

OF_A_TABLE = re.compile(r"(?P<row>.+)_s\d+_[0-9a-f]{6}")  # ROW_sSEED_HASH, as trivium.tables.plan names runs
_NOT_HASHED = ("run", "resume", "paths", "logger")
_NOT_HASHED_TRAINER = ("devices", "num_nodes", "accelerator", "strategy", "progress")
_PLATEAU = "trivium.schedulers.plateau"
_GMC = ("trivium.methods.gmc.GMC", "trivium.methods.m3ixup.M3ixup")


def config_hash(config: dict[str, Any]) -> str:
    """sha256 of the resolved config without what changes no number: run, resume, paths, logger, _NOT_HASHED_TRAINER."""
    return hashlib.sha256(json.dumps(hashed_part(config), sort_keys=True).encode()).hexdigest()


def identity_of(config: Mapping[str, Any], start: str = "") -> str:
    """What decides about a run's numbers: its config's hash, with the identity of the run that it begins from in the
    place of that one's path, which may be another tomorrow.
    """
    return config_hash({**config, "start_from": f"run {start}"} if start else dict(config))


def hashed_part(config: dict[str, Any]) -> dict[str, Any]:
    """What of a config decides about a run's numbers; lr=1 and lr=1.0 are one config."""
    floats: dict[str, Any] = _as_floats(_decisive(config))
    return floats


def _decisive(config: dict[str, Any]) -> dict[str, Any]:
    """Of a table's run that it begins from, the name without the place: a table may be moved, with a run in it to go on
    with.
    """
    config = _as_in_0_1(config)
    kept = {key: value for key, value in config.items() if key not in _NOT_HASHED}
    if kept.get("start_from"):
        kept["start_from"] = _start(kept["start_from"])
    kept["trainer"] = {key: value for key, value in config["trainer"].items() if key not in _NOT_HASHED_TRAINER}
    return kept


def _as_in_0_1(config: dict[str, Any]) -> dict[str, Any]:
    """Returns the config as version 0.1.0 had it: keys by its names, and without the ones that it did not have, where
    they mean what it did. Its runs keep their hash, and so are still found and resumed.
    """
    config = with_old_names(config)
    trainer, method = dict(config["trainer"]), dict(config.get("method") or {})
    if _selects_as_in_0_1(config):
        trainer.pop("monitor", None)
    if method.get("pair_estimator") != "ba" or not method.get("ba_standardised"):
        method.pop("ba_standardised", None)
    return {**config, "trainer": trainer, **({"method": method} if "method" in config else {})}


def _selects_as_in_0_1(config: dict[str, Any]) -> bool:
    """Whether the epoch, early stopping and the plateau schedule go by what they went by in version 0.1.0, the
    validation loss; which of GMC and M3ixup was the weighted sum of all terms.
    """
    trainer, method, scheduler = (config.get(group) or {} for group in ("trainer", "method", "scheduler"))
    used = trainer.get("select") != "last" or trainer.get("patience") or scheduler.get("_target_") == _PLATEAU
    with_contrast = method.get("_target_") in _GMC and (method.get("weights") or {}).get("task", 1.0)
    same = ("val/total",) if with_contrast else ("auto", "val/loss")
    return not used or trainer.get("monitor", same[0]) in same


def _start(path: str) -> str:
    name = Path(path).name
    return name if OF_A_TABLE.fullmatch(name) else path


def dotted(config: Mapping[str, Any], where: str = "") -> dict[str, Any]:
    """Dotted key -> value of everything in it; lists stay whole."""
    found: dict[str, Any] = {}
    for key, value in config.items():
        found |= dotted(value, f"{where}{key}.") if isinstance(value, Mapping) and value else {f"{where}{key}": value}
    return found


def _as_floats(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _as_floats(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_as_floats(item) for item in value]
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def differences(a: dict[str, Any], b: dict[str, Any]) -> list[str]:
    """Where two configs differ in what decides about a run's numbers, as "seed (5 there, 6 now)"."""
    first, second = (dotted(with_new_names(_decisive(config))) for config in (a, b))
    there, now = dotted(a), dotted(b)
    keys = [key for key in {**first, **second} if first.get(key) != second.get(key)]
    return [f"{key} ({there.get(key)!r} there, {now.get(key)!r} now)" for key in keys]
