"""CPC against the specification's vectors, its bounds, and a float64 numpy version (values and gradients)."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
import torch
from scipy.optimize import approx_fprime

from trivium.objectives.cpc import CPCPredictor, cpc_loss, info_nce

Array = npt.NDArray[np.float64]
H = [(1.0, 0.0), (0.0, 2.0), (3.0, 3.0)]
G = [(2.0, 1.0), (-1.0, 1.0), (0.5, 0.5)]


def numpy_cpc(predicted: Array, modality: Array, direction: str, scale: float = 1.0) -> Array:
    """(N,) straight from the definition, row by row."""
    if direction == "symmetric":
        return (numpy_cpc(predicted, modality, "paper", scale) + numpy_cpc(predicted, modality, "code", scale)) / 2
    anchors, others = (predicted, modality) if direction == "paper" else (modality, predicted)
    losses = []
    for i, anchor in enumerate(anchors):
        similar = [scale * anchor @ o / np.linalg.norm(anchor) / np.linalg.norm(o) for o in others]
        losses.append(math.log(sum(math.exp(s) for s in similar)) - similar[i])
    return np.array(losses)


@pytest.mark.parametrize(("direction", "value"), [("code", 0.856104), ("paper", 0.818772), ("symmetric", 0.837438)])
def test_vector_of_the_specification(direction: str, value: float) -> None:
    assert cpc_loss(torch.tensor(G), torch.tensor(H), direction).mean().item() == pytest.approx(value, abs=1e-6)


@pytest.mark.parametrize("direction", ["paper", "code", "symmetric"])
@pytest.mark.parametrize("scale", [1.0, 7.5])
def test_values_and_gradients_equal_numpy(direction: str, scale: float) -> None:
    rng = np.random.default_rng(0)
    pair = rng.normal(size=(2, 6, 3))
    weight = rng.uniform(size=6)  # a different weight an anchor, so that a permuted answer shows

    tensors = torch.tensor(pair, requires_grad=True)
    losses = cpc_loss(tensors[0], tensors[1], direction, scale=scale)
    (losses * torch.tensor(weight)).sum().backward()

    assert losses.dtype == torch.float64
    np.testing.assert_allclose(losses.detach(), numpy_cpc(*pair, direction, scale), rtol=1e-9)
    slope = approx_fprime(pair.ravel(), lambda v: numpy_cpc(*v.reshape(pair.shape), direction, scale) @ weight)
    np.testing.assert_allclose(tensors.grad.ravel(), slope, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("n", "chance", "floor", "orthogonal"), [(16, 2.773, 1.109, 1.875), (32, 3.466, 1.648, 2.518)])
def test_chance_floor_and_orthogonal_values(n: int, chance: float, floor: float, orthogonal: float) -> None:
    same, basis = torch.ones(n, 4), torch.eye(n)
    opposite = torch.cat([torch.ones(1, 4), -torch.ones(n - 1, 4)])
    assert cpc_loss(same, same).tolist() == pytest.approx([math.log(n)] * n, abs=1e-6)
    assert math.log(n) == pytest.approx(chance, abs=5e-4)
    assert cpc_loss(basis, 3 * basis).mean().item() == pytest.approx(orthogonal, abs=5e-4)
    assert info_nce(same[:1], opposite, torch.tensor([0])).item() == pytest.approx(floor, abs=5e-4)


@pytest.mark.parametrize("direction", ["paper", "code", "symmetric"])
def test_no_input_goes_below_the_floor(direction: str) -> None:
    generator = torch.Generator().manual_seed(0)
    lowest = math.log(1 + 15 * math.exp(-2))
    for scale in (1e-3, 1.0, 1e3):
        modality = scale * torch.randn(16, 2, generator=generator)
        assert cpc_loss(modality, modality, direction).min().item() >= lowest


@pytest.mark.parametrize("direction", ["paper", "code", "symmetric"])
def test_slices_of_two_ranks_make_the_whole_batch(direction: str) -> None:
    whole = torch.randn(2, 7, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    split = whole.detach().clone().requires_grad_()
    full = cpc_loss(whole[0], whole[1], direction)
    parts = [cpc_loss(split[0], split[1], direction, rows=slice(*ends)) for ends in ((0, 4), (4, 7), (7, 7))]
    assert [len(part) for part in parts] == [4, 3, 0]
    torch.testing.assert_close(torch.cat(parts), full, rtol=1e-14, atol=0)
    full.sum().backward()
    torch.cat(parts).sum().backward()
    torch.testing.assert_close(split.grad, whole.grad)


@pytest.mark.parametrize("direction", ["paper", "code", "symmetric"])
def test_clips_without_the_modality_are_neither_anchors_nor_negatives(direction: str) -> None:
    predicted, modality = torch.randn(2, 6, 3, generator=torch.Generator().manual_seed(0))
    modality[[1, 4]] = 0.0
    present = modality.abs().sum(1) > 0
    modality.requires_grad_()
    losses = cpc_loss(predicted, modality, direction, present_N=present)
    alone = cpc_loss(predicted[present], modality[present], direction)
    torch.testing.assert_close(losses[present], alone)
    assert losses[~present].tolist() == [0.0, 0.0]
    losses.sum().backward()
    assert modality.grad.isfinite().all()
    assert cpc_loss(predicted, modality, direction, present_N=torch.zeros(6, dtype=torch.bool)).sum() == 0


def test_a_zero_vector_has_cosine_zero_and_no_gradient() -> None:
    modality = torch.eye(3)
    modality[1] = 0.0
    modality.requires_grad_()
    losses = cpc_loss(torch.eye(3), modality)
    losses.sum().backward()
    assert losses[1].item() == pytest.approx(math.log(3), abs=1e-6)
    assert modality.grad.abs().max() < 1
    assert modality.grad[1].abs().sum() == 0


def test_batch_of_one_gives_zero() -> None:
    assert cpc_loss(torch.ones(1, 3), -torch.ones(1, 3), "symmetric").tolist() == [0.0]


def test_autocast_does_not_lower_the_precision() -> None:
    pair = torch.randn(2, 8, 5, generator=torch.Generator().manual_seed(0))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = cpc_loss(*pair)
    torch.testing.assert_close(inside, cpc_loss(*pair), rtol=0, atol=0)
    assert cpc_loss(*pair.bfloat16()).dtype == torch.float32


def test_unknown_direction_is_refused() -> None:
    with pytest.raises(ValueError, match=r"paper.*code.*symmetric.*'both'"):
        cpc_loss(torch.ones(2, 2), torch.ones(2, 2), "both")  # type: ignore[arg-type]


def test_predictor_has_the_layers_asked_for() -> None:
    assert [type(layer).__name__ for layer in CPCPredictor(8, 3)] == ["Linear"]
    deep = CPCPredictor(8, 3, layers=3)
    assert [type(layer).__name__ for layer in deep] == ["Linear", "Tanh", "Linear", "Linear"]
    assert deep(torch.zeros(2, 8)).shape == (2, 3)
    with pytest.raises(ValueError, match="at least 1"):
        CPCPredictor(8, 3, layers=0)
