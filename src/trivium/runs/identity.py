"""What of a config decides about a run's numbers, and the hash that it is known by."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

OF_A_TABLE = re.compile(r"(?P<row>.+)_s\d+_[0-9a-f]{6}")  # ROW_sSEED_HASH, as trivium.tables.plan names runs
_NOT_HASHED = ("run", "resume", "paths", "logger")
_NOT_HASHED_TRAINER = ("devices", "num_nodes", "accelerator", "strategy", "progress")


def config_hash(config: dict[str, Any]) -> str:
    """sha256 of the resolved config without what changes no number: run, resume, paths, logger, _NOT_HASHED_TRAINER."""
    return hashlib.sha256(json.dumps(hashed_part(config), sort_keys=True).encode()).hexdigest()


def identity_of(config: Mapping[str, Any], start: str = "") -> str:
    """What decides about a run's numbers: its config's hash, with the identity of the run that it begins from in the
    place of that one's path, which may be another tomorrow.
    """
    return config_hash({**config, "start_from": f"run {start}"} if start else dict(config))


def hashed_part(config: dict[str, Any]) -> dict[str, Any]:
    """What of a config decides about a run's numbers. Of a table's run that it begins from, the name without the place:
    a table may be moved, with a run in it to go on with.
    """
    kept = {key: value for key, value in config.items() if key not in _NOT_HASHED}
    if kept.get("start_from"):
        kept["start_from"] = _start(kept["start_from"])
    kept["trainer"] = {key: value for key, value in config["trainer"].items() if key not in _NOT_HASHED_TRAINER}
    floats: dict[str, Any] = _as_floats(kept)
    return floats


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
    """lr=1 and lr=1.0 are one config."""
    if isinstance(value, dict):
        return {key: _as_floats(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_as_floats(item) for item in value]
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def differences(a: Any, b: Any, where: str = "") -> list[str]:
    """Where two configs differ in that, as "seed (5 there, 6 now)"."""
    if where == "start_from.":
        a, b = _start(str(a)), _start(str(b))
    if isinstance(a, dict) and isinstance(b, dict):
        skip = {"": _NOT_HASHED, "trainer.": _NOT_HASHED_TRAINER}.get(where, ())
        keys = [key for key in {**a, **b} if key not in skip]
        return [d for key in keys for d in differences(a.get(key), b.get(key), f"{where}{key}.")]
    return [] if a == b else [f"{where[:-1]} ({a!r} there, {b!r} now)"]
