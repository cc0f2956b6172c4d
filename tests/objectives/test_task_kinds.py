"""Losses of classes, labels and several scores against closed forms, torch's own and scikit-learn's: values, gradients.

Legend: B clips, C classes or labels, K scores.
"""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.metrics import log_loss
from sklearn.utils.class_weight import compute_class_weight
from torch import Tensor

from batches import batch_of
from trivium.data.mixing import draw_mixing
from trivium.data.target import Target
from trivium.methods.mixed_loss import mixed_loss
from trivium.objectives.barber_agakov import class_entropy
from trivium.objectives.factored import Factor, FactoredScores
from trivium.objectives.task import L1, MSE, BinaryCrossEntropy, CrossEntropy, auto
from trivium.objectives.tcmax_regression import TCMaxRegression

NUMBERS = np.array([0, 2, 2, 1, 2, 3, 0, 2, 2])
MOOD = Target("classes", ("glad", "sad", "calm", "cross")).counted(NUMBERS)
MUSIC = np.array([[1, 0, 1], [0, 0, 1], [1, 0, 1], [1, 1, 0], [0, 0, 1]], dtype=np.float64)
TOPICS = Target("labels", ("music", "sport", "travel")).counted(MUSIC)
TRAITS = Target("score", ("open", "warm"), range=(1.0, 5.0))


def drawn(rows: int, columns: int) -> Tensor:
    values = np.random.default_rng(rows + columns).normal(size=(rows, columns)) * 2
    return torch.tensor(values, requires_grad=True)


def softmax(logits: np.ndarray) -> np.ndarray:
    exponents: np.ndarray = np.exp(logits - logits.max(axis=1, keepdims=True))
    return exponents / exponents.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("weights", [None, [0.5, 3.0, 1.0, 2.0], "balanced"])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_class_weights_and_label_smoothing_equal_the_closed_form(weights: object, smoothing: float) -> None:
    objective = CrossEntropy(MOOD, class_weights=weights, label_smoothing=smoothing)  # type: ignore[arg-type]
    outputs = drawn(9, 4)
    loss = objective(outputs, torch.tensor(NUMBERS, dtype=torch.float32))
    loss.sum().backward()
    each = compute_class_weight("balanced", classes=np.arange(4), y=NUMBERS) if weights == "balanced" else weights
    factor = np.ones(9) if each is None else np.asarray(each)[NUMBERS]
    truth = np.eye(4)[NUMBERS] * (1 - smoothing) + smoothing / 4
    p = softmax(outputs.detach().numpy())
    np.testing.assert_allclose(loss.detach(), -factor * (truth * np.log(p)).sum(axis=1), rtol=1e-12)
    np.testing.assert_allclose(outputs.grad, factor[:, None] * (p - truth), rtol=1e-10, atol=1e-14)
    if weights == "balanced":
        assert factor.mean() == pytest.approx(1.0)
    if weights is None and not smoothing:
        assert loss.mean().item() == pytest.approx(log_loss(NUMBERS, p, labels=range(4)))


def test_focal_loss_without_gamma_is_cross_entropy_bit_for_bit() -> None:
    outputs, truth = drawn(9, 4), torch.tensor(NUMBERS)
    assert torch.equal(
        CrossEntropy(MOOD, focal_gamma=0.0)(outputs, truth), F.cross_entropy(outputs, truth, reduction="none")
    )
    labels, music = drawn(5, 3), torch.tensor(MUSIC)
    plain = F.binary_cross_entropy_with_logits(labels, music, reduction="none").mean(dim=1)
    assert torch.equal(BinaryCrossEntropy(TOPICS, focal_gamma=0.0)(labels, music), plain)


@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_focal_loss_of_classes_equals_the_closed_form(gamma: float) -> None:
    """L = (1 - p)^g (-log p); dL/dz_k = dL/dp p (delta_ky - p_k), with p the true class's probability."""
    outputs = drawn(9, 4)
    loss = CrossEntropy(MOOD, focal_gamma=gamma)(outputs, torch.tensor(NUMBERS))
    loss.sum().backward()
    every = softmax(outputs.detach().numpy())
    p = every[np.arange(9), NUMBERS]
    slope = gamma * (1 - p) ** (gamma - 1) * np.log(p) - (1 - p) ** gamma / p
    np.testing.assert_allclose(loss.detach(), (1 - p) ** gamma * -np.log(p), rtol=1e-10)
    expected = (slope * p)[:, None] * (np.eye(4)[NUMBERS] - every)
    np.testing.assert_allclose(outputs.grad, expected, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("weights", [None, [2.0, 0.5, 1.5], "balanced"])
def test_label_weights_are_torchs_weights_of_positives(weights: object) -> None:
    objective = BinaryCrossEntropy(TOPICS, class_weights=weights)  # type: ignore[arg-type]
    outputs = drawn(5, 3)
    loss = objective(outputs, torch.tensor(MUSIC, dtype=torch.float32))
    loss.sum().backward()
    positives = (5 - MUSIC.sum(axis=0)) / MUSIC.sum(axis=0) if weights == "balanced" else weights
    other = outputs.detach().clone().requires_grad_()
    weigh = None if positives is None else torch.tensor(np.asarray(positives))
    expected = torch.nn.BCEWithLogitsLoss(pos_weight=weigh, reduction="none")(other, torch.tensor(MUSIC)).mean(dim=1)
    expected.sum().backward()
    np.testing.assert_allclose(loss.detach(), expected.detach(), rtol=1e-12)
    np.testing.assert_allclose(outputs.grad, other.grad, rtol=1e-10, atol=1e-14)
    if weights is None:
        p = outputs.detach().sigmoid().numpy()
        assert loss.mean().item() == pytest.approx(np.mean([log_loss(MUSIC[:, c], p[:, c]) for c in range(3)]))


def test_focal_loss_of_labels_equals_the_closed_form() -> None:
    outputs = drawn(5, 3)
    loss = BinaryCrossEntropy(TOPICS, focal_gamma=2.0)(outputs, torch.tensor(MUSIC))
    p = outputs.detach().sigmoid().numpy()
    true = np.where(MUSIC > 0, p, 1 - p)
    np.testing.assert_allclose(loss.detach(), ((1 - true) ** 2 * -np.log(true)).mean(axis=1), rtol=1e-10)


def test_several_scores_have_the_mean_of_each_ones_loss() -> None:
    outputs, truth = drawn(6, 2), torch.tensor(np.random.default_rng(1).uniform(1, 5, (6, 2)))
    error = (outputs.detach() - truth).numpy()
    np.testing.assert_allclose(L1(TRAITS)(outputs, truth).detach(), np.abs(error).mean(axis=1), rtol=1e-12)
    np.testing.assert_allclose(MSE(TRAITS)(outputs, truth).detach(), (error**2).mean(axis=1), rtol=1e-12)
    score, probabilities = L1(TRAITS).decode(outputs)
    assert torch.equal(score, outputs)
    assert probabilities is None


@pytest.mark.parametrize(
    ("target", "kind"),
    [(Target(), "L1"), (TRAITS, "L1"), (MOOD, "CrossEntropy"), (TOPICS, "BinaryCrossEntropy")],
)
def test_auto_takes_the_usual_objective_and_squares_only_scores(target: Target, kind: str) -> None:
    assert type(auto(target)).__name__ == kind
    assert type(auto(target, scores="mse")).__name__ == {"L1": "MSE"}.get(kind, kind)


def test_a_mixed_class_is_a_mixture_of_losses_and_never_a_class_between() -> None:
    """Of the classes 0 and 2 the mean is 1, which no clip is of; torch takes the shares as soft labels."""
    numbers = torch.tensor(NUMBERS, dtype=torch.float64)
    mixing = draw_mixing(5, 1.0, torch.ones(9, dtype=torch.bool))
    outputs = drawn(9, 4)
    soft = mixing.matrix() @ torch.eye(4, dtype=torch.float64)[numbers.long()]
    loss = mixed_loss(CrossEntropy(MOOD), outputs, numbers, mixing, slice(None))
    torch.testing.assert_close(loss, F.cross_entropy(outputs, soft, reduction="none"), rtol=1e-12, atol=0)
    weighted = mixed_loss(CrossEntropy(MOOD, class_weights=[1.0, 2, 3, 4]), outputs, numbers, mixing, slice(None))
    each = -(soft * torch.tensor([1.0, 2, 3, 4]) * outputs.log_softmax(dim=1)).sum(dim=1)
    torch.testing.assert_close(weighted, each, rtol=1e-12, atol=0)


def test_mixed_labels_are_soft_labels_and_keep_the_weights_of_their_clips() -> None:
    music = torch.tensor(MUSIC)
    mixing = draw_mixing(6, 1.0, torch.ones(5, dtype=torch.bool))
    outputs, soft = drawn(5, 3), mixing.matrix() @ music
    loss = mixed_loss(BinaryCrossEntropy(TOPICS), outputs, music, mixing, slice(None))
    expected = F.binary_cross_entropy_with_logits(outputs, soft, reduction="none").mean(dim=1)
    torch.testing.assert_close(loss, expected, rtol=1e-12, atol=0)
    weights = torch.tensor([2.0, 0.5, 1.5], dtype=torch.float64)
    weighted = mixed_loss(
        BinaryCrossEntropy(TOPICS, class_weights=weights.tolist()), outputs, music, mixing, slice(None)
    )
    expected = F.binary_cross_entropy_with_logits(outputs, soft, pos_weight=weights, reduction="none").mean(dim=1)
    torch.testing.assert_close(weighted, expected, rtol=1e-12, atol=0)


def test_entropy_of_nominal_classes_is_the_mean_of_each_gaussians() -> None:
    rng = np.random.default_rng(3)
    rows, old = rng.normal(size=(12, 2)), rng.normal(size=(8, 2))
    numbers, old_numbers = rng.integers(0, 4, 12), rng.integers(1, 4, 8)  # 0 marks a clip without the modality
    memory = torch.tensor(old), torch.tensor(old_numbers)
    entropy = class_entropy(torch.tensor(rows), torch.tensor(numbers), memory, eps=1e-3, classes=3)
    every, labels = np.concatenate([rows, old]), np.concatenate([numbers, old_numbers])
    covariances = [np.cov(every[labels == c].T, bias=True) + 1e-3 * np.eye(2) for c in (1, 2, 3)]
    expected = sum(np.linalg.slogdet(covariance)[1] for covariance in covariances) / 6
    assert entropy.item() == pytest.approx(expected, rel=1e-10)


def test_tcmax_of_several_scores_equals_the_sum_over_all_tuples() -> None:
    """L = -mean F(i, i, i) + log sum exp F - (M + 1) log N, with F the squared distance to the clip's scores."""
    clips, scale = 4, 0.7
    batch = batch_of(range(clips))
    rng = np.random.default_rng(4)
    truth, parts = rng.uniform(1, 5, (clips, 2)), {m: rng.normal(size=(clips, 2)) for m in ("text", "audio")}
    batch.targets["multimodal"] = torch.tensor(truth)
    everywhere = torch.ones(clips, dtype=torch.bool)

    def factor(name: str) -> Factor:
        return Factor({name: torch.tensor(parts[name])}, {name: everywhere}, lambda p, _: p[name], ())

    matched = torch.tensor(parts["text"] + parts["audio"])
    scores = FactoredScores(matched, {}, (factor("text"), factor("audio")), None)
    loss = TCMaxRegression(TRAITS, scale=scale).losses(scores, batch, key=0)["loss"]
    f = {
        (i, j, k): -((truth[k] - parts["text"][i] - parts["audio"][j]) ** 2).sum() / (2 * scale**2)
        for i, j, k in itertools.product(range(clips), repeat=3)
    }
    expected = (
        -np.mean([f[i, i, i] for i in range(clips)]) + np.log(np.sum(np.exp(list(f.values())))) - 3 * np.log(clips)
    )
    assert loss.item() == pytest.approx(expected, rel=1e-10)
