"""Tests the likeliest class of a classifier, beside the accuracies of its expected score."""

import csv
from pathlib import Path

import numpy as np
import pytest

from driver import here, rows


@pytest.mark.parametrize(("data", "classes"), [("fixture", 7), ("fixture_sims", 3)])
def test_argmax_accuracy_is_that_of_the_written_probabilities(tmp_path: Path, data: str, classes: int) -> None:
    settings = [f"data={data}", "encoder=identity", "objective=cross_entropy", f"objective.classes={classes}"]
    result = here(tmp_path, *settings, "optimizer.lr=0.01", "trainer.progress=off", f"run.dir={tmp_path / 'run'}")
    with (tmp_path / "run" / "predictions.csv").open() as file:
        table = list(csv.DictReader(file))
    for split, name in (("valid", "val"), ("test", "test")):
        lines = [line for line in table if line["split"] == split]
        target = np.array([float(line["target"]) for line in lines])
        likeliest = np.argmax([[float(line[f"p{c}"]) for c in range(classes)] for line in lines], axis=1)
        true = np.rint(target) + 3 if classes == 7 else 1 + (target > 0.1) - (target <= -0.1)
        assert 1 / classes < result[name]["acc_argmax"] < 1
        assert result[name]["acc_argmax"] == pytest.approx(np.mean(likeliest == true), abs=1e-12)
    epochs = rows(tmp_path / "run" / "metrics.csv")
    selected = float(epochs[result["best_epoch"] - 1]["val/acc_argmax"])
    assert selected == pytest.approx(result["val"]["acc_argmax"], abs=1e-12)


def test_a_regression_has_no_classes_to_be_right_about(tmp_path: Path) -> None:
    settings = ["encoder=identity", "trainer.max_epochs=1", "trainer.progress=off", f"run.dir={tmp_path / 'run'}"]
    assert "acc_argmax" not in here(tmp_path, *settings)["test"]
    assert "val/acc_argmax" not in rows(tmp_path / "run" / "metrics.csv")[0]
