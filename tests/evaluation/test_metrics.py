"""Tests metrics against scikit-learn, scipy and the specification's vector."""

from __future__ import annotations

import math
import subprocess
import sys
import warnings

import numpy as np
import pytest
import torch
from scipy.stats import pearsonr
from sklearn.metrics import accuracy_score, f1_score, mean_absolute_error

from trivium.core.metric_names import DIRECTION, LABELS, METRICS, TASKS, is_share, metric_text
from trivium.evaluation.metrics import compute_metrics, refuse_other_scale

P = [-3.4, -0.5, 0, 0.5, 1.5, 2.5, -0.2, 0.3]
T = [-3, -1, 0, 0.6, 2, 2.2, 0.4, 0]
OF_A_SCORE = [name for name, task in TASKS.items() if task == "score"]


@pytest.fixture(autouse=True)
def no_warning_is_tolerated():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def test_vector_of_the_specification() -> None:
    result = compute_metrics("mosi", P, T)
    expected = {"acc7": 0.75, "acc5": 0.75, "acc2_non0": 5 / 6, "acc2_has0": 0.875, "mae": 0.3375}
    assert {key: result[key] for key in expected} == pytest.approx(expected)


@pytest.mark.parametrize("protocol", OF_A_SCORE)
def test_keys_are_those_promised_and_have_names(protocol: str) -> None:
    result = compute_metrics(protocol, P, T)
    assert tuple(result) == METRICS[protocol]
    assert all(isinstance(value, float) for value in result.values())
    assert set(result) <= set(DIRECTION) == set(LABELS) - {"bias"}  # neither way is better


def test_only_errors_are_better_when_lower() -> None:
    assert [key for key, best in DIRECTION.items() if best == "min"] == ["mae", "ece"]


@pytest.mark.parametrize("seed", range(5))
def test_mosi_equals_scikit_learn_and_scipy(seed: int) -> None:
    rng = np.random.default_rng(seed)
    p = rng.normal(scale=2, size=101).astype(np.float32)
    t = rng.integers(-6, 7, size=101) / np.float32(2)  # halves, so that ties and zeros occur
    non0 = t != 0
    expected = {
        "mae": mean_absolute_error(t, p),
        "corr": pearsonr(p, t).statistic,
        "acc7": accuracy_score(np.rint(t.clip(-3, 3)), np.rint(p.clip(-3, 3))),
        "acc5": accuracy_score(np.rint(t.clip(-2, 2)), np.rint(p.clip(-2, 2))),
        "acc2_has0": accuracy_score(t >= 0, p >= 0),
        "acc2_non0": accuracy_score(t[non0] > 0, p[non0] > 0),
        "f1_has0": f1_score(t >= 0, p >= 0, average="weighted"),
        "f1_non0": f1_score(t[non0] > 0, p[non0] > 0, average="weighted"),
    }
    assert compute_metrics("mosi", p, t) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("seed", range(5))
def test_sims_equals_scikit_learn_and_scipy(seed: int) -> None:
    rng = np.random.default_rng(seed)
    p = rng.normal(scale=0.8, size=101)
    t = rng.integers(-5, 6, size=101) / 5
    clipped = p.clip(-1, 1)
    # (lower, upper] by pandas' habit: digitize with right=True
    three, five = [-0.1, 0.1], [-0.7, -0.1, 0.1, 0.7]
    expected = {
        "mae": mean_absolute_error(t, clipped),
        "corr": pearsonr(clipped, t).statistic,
        "acc2": accuracy_score(t > 0, clipped > 0),
        "acc3": accuracy_score(np.digitize(t, three, right=True), np.digitize(clipped, three, right=True)),
        "acc5": accuracy_score(np.digitize(t, five, right=True), np.digitize(clipped, five, right=True)),
        "f1": f1_score(t > 0, clipped > 0, average="weighted"),
    }
    assert compute_metrics("sims", p, t) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_sims_upper_edges_belong_to_the_lower_bin(dtype: type[np.floating]) -> None:
    edges = np.array([-0.7, -0.1, 0.1, 0.7], dtype=dtype)
    # Middles of the bins below the edges: right everywhere. Middles of the bins above: wrong everywhere.
    below, above = np.array([-0.9, -0.4, 0.05, 0.4]), np.array([-0.4, 0.05, 0.4, 0.9])
    assert compute_metrics("sims", below, edges)["acc5"] == 1
    assert compute_metrics("sims", above, edges)["acc5"] == 0
    assert compute_metrics("sims", [0.0, 0.0, 0.0], [-1.0, 0.0, 1.0])["acc2"] == pytest.approx(2 / 3)


def test_a_prediction_of_exactly_0_is_non_negative_and_not_positive() -> None:
    """Classes of the 0: p >= 0 in Has0, not p > 0 in Non0, whatever the label; F1 by scikit-learn."""
    p, t = np.zeros(4), np.array([-1.0, -2.0, 0.0, 2.0])
    result = compute_metrics("mosi", p, t)
    assert (result["acc2_has0"], result["acc2_non0"]) == (2 / 4, 2 / 3)
    assert result["f1_has0"] == pytest.approx(f1_score(t >= 0, p >= 0, average="weighted"))
    assert result["f1_non0"] == pytest.approx(f1_score([False, False, True], [False] * 3, average="weighted"))


def test_sims_clips_before_everything_and_mosi_does_not() -> None:
    assert compute_metrics("sims", [5.0, -0.5], [1.0, -0.5])["mae"] == 0
    assert compute_metrics("mosi", [5.0, -0.5], [3.0, -0.5])["mae"] == 1


@pytest.mark.parametrize("p", [[0.1, 0.1, 0.1], [1e300, 1e300, 1e300]])
@pytest.mark.parametrize("protocol", OF_A_SCORE)
def test_corr_of_a_constant_is_nan(protocol: str, p: list[float]) -> None:
    assert math.isnan(compute_metrics(protocol, p, [0.1, 0.2, 0.3])["corr"])
    assert math.isnan(compute_metrics(protocol, [0.1, 0.2, 0.3], [0.0] * 3)["corr"])


def test_corr_survives_tiny_deviations() -> None:
    assert compute_metrics("regression", [1e-200, 2e-200, 3e-200], [1.0, 2.0, 3.0])["corr"] == pytest.approx(1)


def test_one_clip_is_enough() -> None:
    result = compute_metrics("mosi", [0.4], [1.0])
    assert result["acc2_non0"] == result["f1_non0"] == 1
    assert math.isnan(result["corr"])


def test_non0_of_zero_labels_is_nan_and_the_rest_is_not() -> None:
    result = compute_metrics("mosi", [0.1, -0.2], [0.0, 0.0])
    assert math.isnan(result["acc2_non0"])
    assert math.isnan(result["f1_non0"])
    assert result["acc2_has0"] == 0.5
    assert result["f1_has0"] == pytest.approx(2 / 3)


def test_tensors_of_any_float_type_are_taken() -> None:
    p = torch.tensor([0.5, -1.0, 2.0], dtype=torch.bfloat16, requires_grad=True)
    t = torch.tensor([1.0, -1.0, 1.0], dtype=torch.float64)
    assert compute_metrics("mosi", p, t) == compute_metrics("mosi", [0.5, -1.0, 2.0], [1.0, -1.0, 1.0])


def test_argmax_accuracy_needs_probabilities_and_classes() -> None:
    probabilities = torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.5, 0.4], [0.4, 0.3, 0.3]])
    result = compute_metrics("regression", P[:3], T[:3], probabilities=probabilities, classes=[0, 2, 0])
    assert result["acc_argmax"] == pytest.approx(2 / 3)
    assert "acc_argmax" not in compute_metrics("regression", P[:3], T[:3], probabilities=probabilities)


@pytest.mark.parametrize(
    ("protocol", "p", "t", "message"),
    [
        ("mosii", [0.0], [0.0], "mosii"),
        ("mosi", [0.0, 1.0], [0.0], "2 predictions but 1 targets"),
        ("mosi", [[0.0], [1.0]], [0.0, 1.0], r"predictions have shape \(2, 1\)"),
        ("mosi", [], [], "at least one clip"),
        ("mosi", [0.0, math.nan], [0.0, 1.0], "1 of 2 predictions.*position 1"),
        ("mosi", [0.0, 1.0], [-math.inf, 1.0], "1 of 2 targets.*position 0"),
    ],
)
def test_bad_input_is_named(protocol: str, p: list[float], t: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        compute_metrics(protocol, p, t)


@pytest.mark.parametrize("protocol", OF_A_SCORE)
@pytest.mark.parametrize("label_range", [(-3.0, 3.0), (-1.0, 1.0), (0.0, 10.0), None])
def test_labels_that_a_protocol_would_clip_are_refused(protocol: str, label_range: tuple[float, float] | None) -> None:
    widest = {"mosi": 3.0, "sims": 1.0, "regression": math.inf}[protocol]
    if label_range is None or label_range[1] <= widest:
        refuse_other_scale(protocol, label_range)
        return
    message = rf"data\.metrics={protocol}: .* labels in \[-{widest:g}, {widest:g}\], .* in \[{label_range[0]:g}, "
    with pytest.raises(ValueError, match=message):
        refuse_other_scale(protocol, label_range)


def test_import_needs_no_torch() -> None:
    code = "import sys, trivium.evaluation.metrics; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("value", "share", "sign", "text"),
    [
        (0.34149, True, False, "34.1"),
        (0.7231, False, False, "0.723"),
        (-0.012, True, True, "-1.2"),
        (0.0, False, True, "+0.000"),
    ],
)
def test_numbers_are_written_in_percent_or_with_three_digits(value: float, share: bool, sign: bool, text: str) -> None:
    assert metric_text(value, share, sign) == text
    assert metric_text(math.nan, share, sign) == "-"


def test_shares_are_accuracies_and_f1_alone() -> None:
    assert [key for key in LABELS if not is_share(key)] == ["mae", "corr", "bias"]
