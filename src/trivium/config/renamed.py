"""Replaces keys of methods that had another name in version 0.1.0, on a command line and in a stored config.

Hashes of runs are made with the old names, so that runs of that version keep theirs (trivium.runs.config_hash).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

# Maps a method's _target_ and its old key to the current key.
RENAMED = {
    "trivium.methods.selfmi.SelfMI": {"alpha": "cpc_weight", "beta": "pair_weight"},
    "trivium.methods.m3ixup.M3ixup": {"alpha": "mixup_alpha"},
}
_OLD_KEYS = {old for keys in RENAMED.values() for old in keys}
_OVERRIDE = re.compile(r"(?P<prefix>~|\+{0,2})method\.(?P<key>\w+)(?P<rest>=.*|$)", re.DOTALL)


def with_new_names(config: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the config with its method's keys by their current names."""
    return _renamed(config, {target: dict(keys) for target, keys in RENAMED.items()})


def with_old_names(config: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the config with its method's keys by their names in version 0.1.0."""
    return _renamed(config, {target: {new: old for old, new in keys.items()} for target, keys in RENAMED.items()})


def has_old_names(overrides: Sequence[str]) -> bool:
    """Tells whether an override may name a key that was renamed; whether it was depends on the method."""
    return any((match := _OVERRIDE.fullmatch(line)) and match["key"] in _OLD_KEYS for line in overrides)


def new_names_of(overrides: Sequence[str], target: str) -> tuple[list[str], list[str]]:
    """Returns the overrides by current names, and for each changed one a line that tells the user.

    target: the `_target_` of the method that they configure.
    """
    keys, lines, notes = RENAMED.get(target, {}), [], []
    for line in overrides:
        match = _OVERRIDE.fullmatch(line)
        if match and match["key"] in keys:
            new = keys[match["key"]]
            notes.append(f"method.{match['key']} is now method.{new}")
            line = f"{match['prefix']}method.{new}{match['rest']}"
        lines.append(line)
    return lines, notes


def _renamed(config: Mapping[str, Any], names: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    method = config.get("method")
    keys = names.get(str(method.get("_target_")), {}) if isinstance(method, Mapping) else {}
    if not keys or not isinstance(method, Mapping):
        return dict(config)
    return {**config, "method": {keys.get(key, key): value for key, value in method.items()}}
