"""A key that came later changes no older run's hash at its default, and does at any other value."""

from __future__ import annotations

import pytest

from trivium.config.compose import compose_config
from trivium.runs.config_hash import config_hash, differences

# The choice that brings the key, the key, and another value.
NEW_KEYS = [
    ("method=mag_bert", "method.placeholder_count", "data"),
    ("method=mmim", "method.clip_norm", "all"),
    ("fusion=tetfn", "fusion.masks", "false"),
]


@pytest.mark.parametrize(("choice", "key", "other"), NEW_KEYS)
def test_the_default_changes_no_hash_and_another_value_does(choice: str, key: str, other: str) -> None:
    config = compose_config([choice])
    group, name = key.split(".")
    older = {**config, group: {k: v for k, v in config[group].items() if k != name}}
    assert name in config[group]
    assert config_hash(older) == config_hash(config)
    assert not differences(older, config)
    changed = compose_config([choice, f"{key}={other}"])
    assert config_hash(changed) != config_hash(config)
    assert differences(older, changed)
