"""Barber-Agakov's two terms against scipy and numpy (values and gradients), and where MMIM's own code breaks down."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
import torch
from scipy.optimize import approx_fprime
from scipy.stats import norm
from torch import Tensor

from trivium.objectives.barber_agakov import Conditional, EntropyProjection, class_entropy, conditional_log_likelihood

Array = npt.NDArray[np.float64]


def reference(flat: Array, normalised: bool) -> float:
    mu, logvar, y = flat.reshape(3, 4, 2)
    if normalised:
        return float(norm.logpdf(y, mu, np.exp(logvar / 2)).sum())
    return float((-((mu - y) ** 2) / (2 * np.exp(logvar))).sum())


@pytest.mark.parametrize("normalised", [True, False])
def test_log_likelihood_equals_scipy_in_value_and_gradient(normalised: bool) -> None:
    values = np.random.default_rng(0).normal(size=(3, 4, 2))
    tensors = torch.tensor(values, requires_grad=True)
    log_density = conditional_log_likelihood(*tensors, normalised=normalised)
    log_density.sum().backward()
    assert log_density.shape == (4,)
    assert log_density.sum().item() == pytest.approx(reference(values.ravel(), normalised), rel=1e-12)
    slope = approx_fprime(values.ravel(), lambda flat: reference(flat, normalised))
    np.testing.assert_allclose(tensors.grad.ravel(), slope, rtol=1e-4, atol=1e-5)


def test_only_the_normalised_form_punishes_an_infinite_variance() -> None:
    mu, y = torch.zeros(1, 2), torch.full((1, 2), 3.0)
    wide = torch.full((1, 2), 50.0)
    assert conditional_log_likelihood(mu, wide, y, normalised=False).item() == pytest.approx(0, abs=1e-12)
    assert conditional_log_likelihood(mu, wide, y).item() < -50


def test_log_likelihood_is_float32_for_halves() -> None:
    half = torch.ones(2, 3, dtype=torch.bfloat16)
    assert conditional_log_likelihood(half, half, half).dtype == torch.float32


@pytest.mark.parametrize("frozen", [True, False])
def test_frozen_stops_the_gradient_at_q_but_not_at_its_inputs(frozen: bool) -> None:
    torch.manual_seed(0)
    q, x, y = Conditional(5, 3), torch.randn(4, 5, requires_grad=True), torch.randn(4, 3, requires_grad=True)
    q.log_likelihood(x, y, frozen=frozen).sum().backward()
    assert x.grad is not None
    assert x.grad.abs().sum() > 0
    assert y.grad is not None
    assert y.grad.abs().sum() > 0
    assert all((parameter.grad is None) == frozen for parameter in q.parameters())


def test_frozen_changes_no_value_and_no_input_gradient() -> None:
    torch.manual_seed(0)
    q, projection, x, y = (
        Conditional(5, 3),
        EntropyProjection(5),
        torch.randn(4, 5, requires_grad=True),
        torch.ones(4, 3),
    )
    for call in (lambda f: q.log_likelihood(x, y, frozen=f), lambda f: projection(x, frozen=f)):
        (free,), (fixed,) = (torch.autograd.grad(call(frozen).sum(), x) for frozen in (False, True))
        torch.testing.assert_close(call(True), call(False), rtol=0, atol=0)
        torch.testing.assert_close(fixed, free, rtol=0, atol=0)


def test_log_likelihood_passes_its_form_on() -> None:
    torch.manual_seed(0)
    q, x, y = Conditional(5, 3), torch.randn(4, 5), torch.randn(4, 3)
    mu, logvar = q(x)
    assert mu.shape == logvar.shape == (4, 3)
    expected = (-((mu - y) ** 2) / (2 * logvar.exp())).sum(1)
    torch.testing.assert_close(q.log_likelihood(x, y, normalised=False), expected)


def test_projection_is_a_quarter_wide_and_bounded() -> None:
    assert [EntropyProjection(size).dim for size in (3, 16, 768)] == [1, 4, 192]
    projection = EntropyProjection(8)
    y = 100 * torch.randn(6, 8, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(projection(y), torch.tanh(y @ projection.linear.weight.T + projection.linear.bias))
    assert projection(y).shape == (6, 2)
    y.requires_grad_()
    projection(y, frozen=True).sum().backward()
    assert projection.linear.weight.grad is None


def numpy_entropy(rows: Array, labels: Array, eps: float) -> float:
    """0.25 (logdet of the positives' covariance + that of the negatives')."""
    members = (rows[labels > 0], rows[labels < 0])
    return 0.25 * sum(np.linalg.slogdet(np.cov(m.T, bias=True) + eps * np.eye(rows.shape[1]))[1] for m in members)


def test_class_entropy_equals_numpy_in_value_and_gradient() -> None:
    rng = np.random.default_rng(0)
    rows, old = np.tanh(rng.normal(size=(9, 3))), np.tanh(rng.normal(size=(7, 3)))
    labels, old_labels = np.array([1, 2, -1, 0, 0.2, -3, -0.4, 0, 1]), np.array([-1, 1, 0, 2, -2, 1, -0.5])

    def value(flat: Array) -> float:
        return numpy_entropy(np.vstack([flat.reshape(9, 3), old]), np.concatenate([labels, old_labels]), 1e-3)

    current, memory = torch.tensor(rows, requires_grad=True), torch.tensor(old, requires_grad=True)
    entropy = class_entropy(current, torch.tensor(labels), (memory, torch.tensor(old_labels)), 1e-3)
    entropy.backward()
    assert entropy.item() == pytest.approx(value(rows.ravel()), rel=1e-10)
    np.testing.assert_allclose(current.grad.ravel(), approx_fprime(rows.ravel(), value), rtol=1e-4, atol=1e-5)
    assert current.grad[[3, 7]].abs().sum() == 0  # label 0
    assert memory.grad is None


def entropy_and_gradient(labels: list[float], old: tuple[Tensor, Tensor] | None) -> tuple[float, Tensor]:
    rows = torch.tanh(torch.randn(len(labels), 4, generator=torch.Generator().manual_seed(1))).requires_grad_()
    entropy = class_entropy(rows, torch.tensor(labels), old, 1e-4)
    entropy.backward()
    assert entropy.isfinite()
    assert rows.grad is not None
    assert rows.grad.isfinite().all()
    return entropy.item(), rows.grad


OLD = torch.tanh(torch.randn(6, 4, generator=torch.Generator().manual_seed(2)))


def test_entropy_without_memory_is_zero_and_differentiable() -> None:
    value, gradient = entropy_and_gradient([1.0, -1.0, 2.0], None)
    assert value == 0
    assert gradient.abs().sum() == 0


def test_entropy_of_zero_labels_is_zero_and_differentiable() -> None:
    assert entropy_and_gradient([0.0, 0.0], (OLD, torch.zeros(6)))[0] == 0


def test_a_class_without_rows_adds_nothing() -> None:
    rows = torch.tanh(torch.randn(3, 4, generator=torch.Generator().manual_seed(1)))
    joined = np.vstack([rows.numpy(), OLD.numpy()]).astype(np.float64)
    alone = 0.25 * np.linalg.slogdet(np.cov(joined.T, bias=True) + 1e-4 * np.eye(4))[1]
    value, gradient = entropy_and_gradient([1.0, 2.0, 0.5], (OLD, torch.ones(6)))
    assert value == pytest.approx(alone, rel=1e-4)
    assert gradient.abs().sum() > 0


def test_one_clip_in_a_class_stays_finite() -> None:
    many, one = torch.tensor([1.0, 1, 1, 1, 1, 1]), [1.0, 2.0, -1.0]
    value, gradient = entropy_and_gradient(one, (OLD, many))
    # The lone negative's covariance is 0, so it adds a quarter of 4 log eps, and no gradient.
    assert value == pytest.approx(entropy_and_gradient([1.0, 2.0, 0.0], (OLD, many))[0] + math.log(1e-4), rel=1e-4)
    assert gradient[2].abs().sum() == 0


@pytest.mark.parametrize("label", [-1.0, 0.0, 1.0])
def test_batch_of_one_stays_finite(label: float) -> None:
    entropy_and_gradient([label], (OLD[:1], torch.tensor([1.0])))


def test_identical_rows_stay_finite() -> None:
    rows = torch.ones(5, 8, requires_grad=True)
    entropy = class_entropy(rows, torch.tensor([1.0, 1, 1, -1, -1]), (torch.ones(2, 8), torch.tensor([1.0, -1])))
    entropy.backward()
    assert entropy.item() == pytest.approx(0.25 * 2 * 8 * math.log(1e-4), rel=1e-4)
    assert rows.grad.isfinite().all()
