"""Task objectives against numpy: losses, their gradients, the classes of scores, and what is decoded."""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from trivium.data.target import Target
from trivium.evaluation.metrics import compute_metrics
from trivium.objectives.task import L1, MSE, CrossEntropy

CONFIGS = Path(__file__).resolve().parents[2] / "configs/objective"
MOSI, SIMS = (-3.0, 3.0), (-1.0, 1.0)


def test_l1_and_mse_equal_numpy_in_value_and_gradient() -> None:
    rng = np.random.default_rng(0)
    scores, targets = rng.normal(size=(6, 1)), rng.normal(size=6)
    error = scores[:, 0] - targets
    for objective, value, gradient in ((L1(MOSI), np.abs(error), np.sign(error)), (MSE(None), error**2, 2 * error)):
        outputs = torch.tensor(scores, requires_grad=True)
        loss = objective(outputs, torch.tensor(targets))
        loss.sum().backward()
        np.testing.assert_allclose(loss.detach(), value, rtol=1e-14)
        np.testing.assert_allclose(outputs.grad[:, 0], gradient, rtol=1e-14)
        assert objective.outputs == 1


def test_regression_decodes_the_raw_score() -> None:
    score, probabilities = L1(MOSI).decode(torch.tensor([[-4.5], [0.25]], dtype=torch.bfloat16))
    assert score.tolist() == [-4.5, 0.25]
    assert score.dtype == torch.float32
    assert probabilities is None


def test_a_head_of_the_wrong_size_does_not_broadcast() -> None:
    with pytest.raises(AssertionError):
        L1(MOSI)(torch.zeros(3), torch.zeros(3))
    with pytest.raises(AssertionError):
        CrossEntropy(MOSI, classes=7)(torch.zeros(3, 5), torch.zeros(3))


@pytest.mark.parametrize(
    ("label_range", "classes", "scores", "expected"),
    [
        (MOSI, 7, [-3, -2.5, -1.5, -0.5, 0, 0.5, 1.5, 2.5, 2.51, 3.4], [0, 1, 1, 3, 3, 3, 5, 5, 6, 6]),
        (MOSI, 5, [-3, -1.5, -0.5, 0, 0.5, 0.51, 1.5, 3], [0, 0, 2, 2, 2, 3, 4, 4]),
        (MOSI, 3, [-3, -0.01, 0, 0.01, 3], [0, 0, 1, 2, 2]),
        (MOSI, 2, [-3, -0.01, 0, 0.01, 3], [0, 0, 1, 1, 1]),
        (SIMS, 2, [-1, 0, 0.01, 1], [0, 0, 1, 1]),
        (SIMS, 3, [-1, -0.1, -0.09, 0, 0.1, 0.11, 1], [0, 0, 1, 1, 1, 2, 2]),
        (SIMS, 5, [-1, -0.7, -0.69, -0.1, 0, 0.1, 0.11, 0.7, 0.71, 1], [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]),
    ],
)
def test_classes_of_scores_at_every_edge(
    label_range: tuple[float, float], classes: int, scores: list[float], expected: list[int]
) -> None:
    objective = CrossEntropy(label_range, classes=classes)
    assert objective.classes(torch.tensor(scores)).tolist() == expected
    # Labels are stored as float32; debug=exact widens them afterwards.
    assert objective.classes(torch.tensor(scores).double()).tolist() == expected


@pytest.mark.parametrize(
    ("label_range", "edges"),
    [
        (MOSI, [-3, 0, 0, 3]),  # three classes, the middle one being the score 0
        (MOSI, [-3, 0, 3]),
        (SIMS, [-1, 0, 1]),
        (SIMS, [-1, -0.1, 0.1, 1]),
        (SIMS, [-1, -0.7, -0.1, 0.1, 0.7, 1]),
        (MOSI, [-2.5, -1.5, -0.5, 0.5, 1.5, 2.5]),
        (MOSI, [-3.5, -2.5, -1.5, -0.5, 0.5, 1.5, 2.5, 3.5]),
    ],
)
def test_a_class_decodes_to_its_whole_number_or_the_centre_of_its_bin(
    label_range: tuple[float, float], edges: list[float]
) -> None:
    objective = CrossEntropy(label_range, classes=len(edges) - 1)
    score, _ = objective.decode(200.0 * torch.eye(objective.outputs))
    np.testing.assert_allclose(score, np.add(edges[1:], edges[:-1]) / 2, atol=1e-6)


@pytest.mark.parametrize(
    ("protocol", "label_range", "classes", "metric"),
    [
        ("mosi", MOSI, 7, "acc7"),
        ("mosi", MOSI, 5, "acc5"),
        ("mosi", MOSI, 2, "acc2_has0"),
        ("sims", SIMS, 2, "acc2"),
        ("sims", SIMS, 3, "acc3"),
        ("sims", SIMS, 5, "acc5"),
    ],
)
def test_a_certain_classifier_scores_as_its_classes_do(
    protocol: str, label_range: tuple[float, float], classes: int, metric: str
) -> None:
    rng = np.random.default_rng(1)
    targets = rng.uniform(*label_range, size=200).astype(np.float32)
    objective = CrossEntropy(label_range, classes=classes)
    guess = torch.tensor(rng.integers(classes, size=200))
    score, _ = objective.decode(100.0 * torch.nn.functional.one_hot(guess, classes))
    share = (guess == objective.classes(torch.tensor(targets))).double().mean().item()
    assert compute_metrics(protocol, score, targets)[metric] == pytest.approx(share, abs=1e-12)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy_equals_numpy_in_value_and_gradient(smoothing: float) -> None:
    rng = np.random.default_rng(2)
    logits, targets = rng.normal(size=(9, 7)) * 3, rng.uniform(-3, 3, size=9)
    wanted = np.eye(7)[np.round(targets).astype(int) + 3] * (1 - smoothing) + smoothing / 7
    log_softmax = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    outputs = torch.tensor(logits, requires_grad=True)
    loss = CrossEntropy(MOSI, label_smoothing=smoothing)(outputs, torch.tensor(targets))
    loss.sum().backward()
    np.testing.assert_allclose(loss.detach(), -(wanted * log_softmax).sum(1), rtol=1e-12)
    np.testing.assert_allclose(outputs.grad, np.exp(log_softmax) - wanted, rtol=1e-10, atol=1e-14)


def test_decoded_score_is_the_expected_class_value() -> None:
    logits = np.random.default_rng(3).normal(size=(4, 5))
    softmax = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    score, probabilities = CrossEntropy(SIMS, classes=5).decode(torch.tensor(logits))
    np.testing.assert_allclose(probabilities, softmax, rtol=1e-12)
    np.testing.assert_allclose(score, softmax @ [-0.85, -0.4, 0, 0.4, 0.85], rtol=1e-12)


def test_half_precision_and_huge_logits_stay_finite_float32() -> None:
    objective = CrossEntropy(MOSI)
    logits = torch.tensor([[3e4, -3e4, 0, 0, 0, 0, 0]], dtype=torch.bfloat16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss, (score, _) = objective(logits, torch.tensor([-2.0])), objective.decode(logits)
    assert loss.dtype == score.dtype == torch.float32
    assert loss.item() == pytest.approx(6e4, rel=1e-2)
    assert score.item() == -3.0


@pytest.mark.parametrize(
    ("label_range", "message"),
    [
        (MOSI, r"objective\.classes: no 4 classes of labels in .* they have \[2, 3, 5, 7\]"),
        (SIMS, r"objective\.classes: no 4 classes of labels in .* they have \[2, 3, 5\]"),
        (
            (0.0, 9.0),
            r"objective: classes of a score are defined for .* lie in \[0\.0, 9\.0\]; use objective=l1 or mse",
        ),
        (None, "objective: classes of a score are defined for .* these data state no range; use objective=l1 or mse"),
    ],
)
def test_undefined_classes_are_refused(label_range: tuple[float, float] | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CrossEntropy(label_range, classes=4)


def test_label_smoothing_outside_its_range_is_refused() -> None:
    with pytest.raises(ValueError, match=r"label_smoothing.*1\.5"):
        CrossEntropy(MOSI, label_smoothing=1.5)


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_config_builds_its_objective(path: Path) -> None:
    assert path.read_text().startswith("# ")
    keys = OmegaConf.to_container(OmegaConf.load(path))
    module, _, name = keys.pop("_target_").rpartition(".")
    target = getattr(importlib.import_module(module), name)
    labels = "binary" in path.stem
    described = Target("labels", ("a", "b")) if labels else Target(range=(-3.0, 3.0))
    inspect.signature(target).bind(described, **keys)
    assert target(described, **keys).outputs >= 1 + labels


def test_the_usual_number_of_classes_follows_from_the_labels() -> None:
    assert [CrossEntropy(labels).outputs for labels in (MOSI, SIMS)] == [7, 3]
