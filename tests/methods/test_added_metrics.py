"""Metrics that a config adds to those of the data's protocol."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

import trivium
from driver import here, rows
from trivium.config.check import problems_of
from trivium.evaluation.metrics import concordance
from trivium.evaluation.predict import added_metrics
from trivium.methods.supervised import Supervised
from trivium.runs.config_hash import config_hash


def test_an_added_metric_is_computed_selects_the_epoch_and_is_recorded(tmp_path: Path) -> None:
    result = here(tmp_path, "metric=ccc", "trainer.monitor=val/ccc", f"run.dir={tmp_path / 'run'}")
    lines = [line for line in rows(tmp_path / "run" / "predictions.csv") if line["split"] == "test"]
    p, t = (np.array([float(line[key]) for line in lines]) for key in ("prediction", "target"))
    # Lin's coefficient by another way: Pearson's times the correction for bias
    bias = 2 / (p.std() / t.std() + t.std() / p.std() + (p.mean() - t.mean()) ** 2 / (p.std() * t.std()))
    assert result["test"]["ccc"] == pytest.approx(np.corrcoef(p, t)[0, 1] * bias, rel=1e-6)
    epochs = [float(row["val/ccc"]) for row in rows(tmp_path / "run" / "metrics.csv")]
    assert result["best_epoch"] == 1 + int(np.argmax(epochs))
    assert "ccc" in set(trivium.results(tmp_path / "run")["metric"])
    config = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    without = {key: value for key, value in config.items() if key != "metrics"}
    assert config_hash(config) != config_hash({**config, "metrics": {}}) == config_hash(without)
    assert json.loads((tmp_path / "run" / "result.json").read_text())["selection"]["rule"] == "highest val/ccc"


def test_concordance_of_arrays_whose_value_is_known() -> None:
    assert concordance(np.array([1.0, 2.0, 3.0]), np.array([1.0, 2.0, 3.0])) == 1
    # an offset of one: 2 * 2/3 / (2/3 + 2/3 + 1)
    assert concordance(np.array([2.0, 3.0, 4.0]), np.array([1.0, 2.0, 3.0])) == pytest.approx(4 / 7)
    assert np.isnan(concordance(np.ones(3), np.ones(3)))


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("metric=cc", "metric=cc: no such choice"),
        ("trainer.monitor=val/ccc", "no metric of the validation split"),
        ("metric=ccc metrics.ccc.better=up", "metrics.ccc.better: expected one of higher, lower"),
    ],
)
def test_a_mistake_is_told_before_torch(line: str, told: str) -> None:
    problems = problems_of(line.split())
    assert any(told in problem for problem in problems), problems


def test_a_metric_that_returns_no_number_is_named() -> None:
    method = Supervised.__new__(Supervised)
    torch.nn.Module.__init__(method)
    method.added_metrics = {"odd": lambda scores, targets: "a word"}
    with pytest.raises(ValueError, match=r"metrics\.odd: expected a number from it, found 'a word'"):
        added_metrics(method, np.ones(2), np.ones(2))
