"""Tests that keys and choices that came with other targets than a score change no older run's hash."""

from __future__ import annotations

from typing import Any

import pytest

from trivium.config.compose import compose_config
from trivium.runs.config_hash import config_hash, differences


def before_tasks(config: dict[str, Any]) -> dict[str, Any]:
    """Returns a config of a score as version 0.1.0 composed it."""
    data = {key: value for key, value in config["data"].items() if key in OLD_DATA}
    objective = {
        key: value for key, value in config["objective"].items() if key not in ("class_weights", "focal_gamma")
    }
    if objective["_target_"].endswith(".auto"):
        squared = objective["scores"] == "mse"
        objective = {"_target_": f"trivium.objectives.task.{'MSE' if squared else 'L1'}"}
    if data["metrics"] == "auto":
        data["metrics"] = "regression"
    method = {key: value for key, value in config["method"].items() if key != "modality_dropout_law"}
    return {**config, "data": data, "objective": objective, "method": method}


OLD_DATA = (
    "name",
    "features",
    "store",
    "modalities",
    "standardize",
    "batch_size",
    "eval_batch_size",
    "label_range",
    "metrics",
)


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["data=mosi"],
        ["data=custom"],
        ["objective=cross_entropy"],
        ["method=tcmax", "objective=joint"],
        ["method=misa"],
        ["method=lnln"],
        ["objective=mse"],
        ["method.modality_dropout=0.3"],
    ],
)
def test_a_run_of_a_score_keeps_the_hash_that_it_had(overrides: list[str]) -> None:
    config = compose_config(overrides)
    assert config_hash(config) == config_hash(before_tasks(config))
    assert not differences(before_tasks(config), config)


@pytest.mark.parametrize(
    "overrides",
    [
        ["objective=cross_entropy", "objective.class_weights=balanced"],
        ["objective=cross_entropy", "objective.focal_gamma=2"],
        ["data.target=text"],
        ["data.sampler=balanced"],
        ["data=fixture_classes"],
        ["method.modality_dropout=0.3", "method.modality_dropout_law=gcnet"],
    ],
)
def test_what_changes_numbers_changes_the_hash(overrides: list[str]) -> None:
    config = compose_config(overrides)
    assert config_hash(config) != config_hash(before_tasks(config))
