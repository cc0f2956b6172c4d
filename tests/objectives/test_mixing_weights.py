"""Mixing coefficients against scipy and closed forms: the simplex, the sphere, and the steps' directions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from trivium.objectives.mixing_weights import (
    descend_share,
    move_vectors,
    move_weights,
    project_to_simplex,
    toward,
    weighted,
)


def unit(*shape, seed=0):
    x = torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return x / x.norm(dim=-1, keepdim=True)


def test_projection_is_the_nearest_point_of_the_simplex():
    points = torch.randn(12, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    projected = project_to_simplex(points)
    assert float(projected.min()) >= 0
    np.testing.assert_allclose(projected.sum(dim=-1), 1, atol=1e-12)
    for point, found in zip(points.numpy(), projected.numpy(), strict=True):
        best = minimize(
            lambda w, point=point: ((w - point) ** 2).sum(),
            np.full(4, 0.25),
            bounds=[(0, 1)] * 4,
            constraints={"type": "eq", "fun": lambda w: w.sum() - 1},
            options={"ftol": 1e-14},
        )
        np.testing.assert_allclose(found, best.x, atol=1e-5)


def test_a_point_of_the_simplex_stays_where_it_is():
    inside = torch.tensor([[0.2, 0.3, 0.5], [1.0, 0.0, 0.0]], dtype=torch.float64)
    np.testing.assert_allclose(project_to_simplex(inside), inside, atol=1e-15)


def test_slerp_goes_along_the_great_circle():
    x, y = torch.tensor([[1.0, 0.0, 0.0]]).double(), torch.tensor([[0.0, 1.0, 0.0]]).double()
    for share in (0.0, 0.2, 0.5, 1.0):
        found = toward(x, y, torch.tensor([share], dtype=torch.float64), "slerp")
        angle = share * np.pi / 2
        np.testing.assert_allclose(found[0], [np.cos(angle), np.sin(angle), 0], atol=1e-12)
    # the weighted sum is on the same arc, elsewhere
    assert abs(float(toward(x, y, torch.tensor([0.2]).double())[0, 1]) - np.sin(0.2 * np.pi / 2)) > 0.01


def test_slerp_of_equal_vectors_is_finite_with_its_gradient():
    x = unit(3, 5).requires_grad_()
    found = toward(x, x.detach().clone(), torch.full((3,), 0.3).double(), "slerp")
    found.sum().backward()
    np.testing.assert_allclose(found.detach(), x.detach(), atol=1e-9)
    assert bool(x.grad.isfinite().all())


@pytest.mark.parametrize("interpolation", ["linear", "slerp"])
def test_two_modalities_weighted_are_one_on_the_way_to_the_other(interpolation):
    vectors, weight = unit(2, 4, 5), torch.tensor([[0.9, 0.1], [0.5, 0.5], [0.0, 1.0], [0.3, 0.7]]).double()
    found = weighted(vectors, weight, interpolation)
    np.testing.assert_allclose(found, toward(vectors[0], vectors[1], weight[:, 1], interpolation), atol=1e-12)
    np.testing.assert_allclose(found.norm(dim=-1), 1, atol=1e-12)


def test_three_modalities_are_summed_and_normalised():
    vectors, weight = unit(3, 4, 5), torch.tensor([[0.2, 0.3, 0.5]], dtype=torch.float64).expand(4, -1)
    by_hand = 0.2 * vectors[0] + 0.3 * vectors[1] + 0.5 * vectors[2]
    by_hand = by_hand / by_hand.norm(dim=-1, keepdim=True)
    for interpolation in ("linear", "slerp"):
        np.testing.assert_allclose(weighted(vectors, weight, interpolation), by_hand, atol=1e-12)


def test_shares_go_down_by_the_rate_and_stay_in_their_range():
    share = torch.tensor([0.02, 0.3, 0.48, 0.3], dtype=torch.float64)
    gradient = torch.tensor([2.0, -0.01, -5.0, 0.0], dtype=torch.float64)
    np.testing.assert_allclose(descend_share(share, gradient, 0.1, 0.5), [0.0, 0.4, 0.5, 0.3], atol=1e-15)


def test_weights_move_by_the_rate_along_the_centred_gradient():
    weight = torch.tensor([[0.3, 0.3, 0.4]], dtype=torch.float64)
    gradient = torch.tensor([[4.0, 1.0, 1.0]]).double()
    direction = np.array([2.0, -1.0, -1.0]) / np.sqrt(6)
    np.testing.assert_allclose(move_weights(weight, gradient, 0.1)[0], weight[0].numpy() + 0.1 * direction, atol=1e-8)
    np.testing.assert_allclose(move_weights(weight, gradient, -0.1)[0], weight[0].numpy() - 0.1 * direction, atol=1e-8)
    assert torch.equal(move_weights(weight, torch.zeros(1, 3).double(), 0.1), weight)


def test_vectors_move_by_a_constant_step():
    vectors, gradient = unit(4, 5).requires_grad_(), unit(4, 5, seed=3) * 7
    gradient.requires_grad_()
    moved = move_vectors(vectors, gradient, 0.2)
    by_hand = vectors + 0.2 * gradient / 7
    np.testing.assert_allclose(moved.detach(), (by_hand / by_hand.norm(dim=-1, keepdim=True)).detach(), atol=1e-8)
    moved.sum().backward()
    assert gradient.grad is None
    assert vectors.grad is not None


def test_nan_stays_nan_and_reads_no_entry_that_is_not_there():
    found = project_to_simplex(torch.tensor([[0.5, float("nan"), 0.1], [0.2, 0.3, 0.5]]))
    assert bool(found[0].isnan().any())
    np.testing.assert_allclose(found[1], [0.2, 0.3, 0.5], atol=1e-7)
