"""MISA's losses of subspaces: the specification's values, made by the public code in float64, and plain numpy.

The numbers of the checks are those of section 11 of MISA's specification.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from trivium.objectives.subspaces import central_moment_discrepancy, subspace_difference

ROWS = {
    "s_t": (0.7, 1.3, 0.2),
    "s_v": (1.1, -0.6, 0.5),
    "s_a": (-0.4, 0.9, 1.0),
    "p_t": (0.9, 0.5, -0.3),
    "p_v": (-1.3, 0.8, 0.4),
    "p_a": (0.5, 1.7, 0.9),
}
CMD = {("s_t", "s_v"): 0.302812660813, ("s_t", "s_a"): 0.718628297346, ("s_a", "s_v"): 0.562056679552}
ORDERS = (0.219292302230, 0.060681194258, 0.009829042990, 0.010240636203, 0.002769485133)
DIFFERENCE = {
    ("p_t", "s_t"): 1.260355659392,
    ("p_v", "s_v"): 1.036616359304,
    ("p_a", "s_a"): 1.457792677391,
    ("p_a", "p_t"): 1.285789309557,
    ("p_a", "p_v"): 0.617364031071,
    ("p_t", "p_v"): 0.740327265852,
}


def trig(clips: int, features: int, a: float, b: float, c: float) -> Tensor:
    i, j = torch.arange(clips).double()[:, None], torch.arange(features).double()
    return (a * i + b * j + c).sin()


def matrices() -> dict[str, Tensor]:
    return {name: (0.5 + 0.4 * trig(6, 4, *abc)).requires_grad_() for name, abc in ROWS.items()}


def cmd_in_numpy(x: np.ndarray, y: np.ndarray) -> list[float]:  # type: ignore[type-arg]
    """The five distances, one a moment."""
    central = [[rows.mean(0), *[((rows - rows.mean(0)) ** k).mean(0) for k in range(2, 6)]] for rows in (x, y)]
    return [float(np.sqrt(((a - b) ** 2).sum())) for a, b in zip(*central, strict=True)]


def difference_in_numpy(x: np.ndarray, y: np.ndarray) -> float:  # type: ignore[type-arg]
    unit = []
    for rows in (x, y):
        centred = rows - rows.mean(axis=0)
        unit.append(np.array([row / (np.sqrt((row**2).sum()) + 1e-6) for row in centred]))
    return float(np.mean([(unit[0][:, i] @ unit[1][:, j]) ** 2 for i in range(x.shape[1]) for j in range(y.shape[1])]))


def test_check_1_values_are_those_of_the_public_code_and_of_numpy() -> None:
    made = matrices()
    assert made["s_t"][0, 0].item() == pytest.approx(0.579467732318, abs=1e-12)
    assert made["p_a"][5, 3].item() == pytest.approx(0.819394845049, abs=1e-12)
    plain = {name: rows.detach().numpy() for name, rows in made.items()}
    assert cmd_in_numpy(plain["s_t"], plain["s_v"]) == pytest.approx(ORDERS, abs=1e-11)
    for (x, y), value in CMD.items():
        assert central_moment_discrepancy(made[x], made[y]).item() == pytest.approx(value, abs=1e-9)
        assert sum(cmd_in_numpy(plain[x], plain[y])) == pytest.approx(value, abs=1e-9)
        halves = central_moment_discrepancy(made[x].float(), made[y].float()).item()
        assert halves == pytest.approx(value, rel=1e-4)
    for (x, y), value in DIFFERENCE.items():
        assert subspace_difference(made[x], made[y]).item() == pytest.approx(value, abs=1e-9)
        assert difference_in_numpy(plain[x], plain[y]) == pytest.approx(value, abs=1e-9)
        assert subspace_difference(made[x].float(), made[y].float()).item() == pytest.approx(value, rel=1e-4)


def test_check_1_gradients_are_those_of_the_public_code() -> None:
    made = matrices()
    similarity = torch.stack([central_moment_discrepancy(made[x], made[y]) for x, y in CMD]).mean()
    (gradient,) = torch.autograd.grad(similarity, [made["s_t"]])
    row = [0.064048853391, 0.053390138822, -0.098241529426, -0.059527161530]
    assert similarity.item() == pytest.approx(0.527832545904, abs=1e-9)
    assert gradient[0].tolist() == pytest.approx(row, abs=1e-9)
    assert gradient.norm().item() == pytest.approx(0.311585645777, abs=1e-9)
    unlike = torch.stack([subspace_difference(made[x], made[y]) for x, y in DIFFERENCE]).sum()
    (gradient,) = torch.autograd.grad(unlike, [made["p_a"]])
    row = [-0.005415617378, 1.468426965513, -0.372981842184, -1.372313651838]
    assert unlike.item() == pytest.approx(6.398245302568, abs=1e-9)
    assert gradient[0].tolist() == pytest.approx(row, abs=1e-9)
    assert gradient.norm().item() == pytest.approx(8.933081712020, abs=1e-9)  # the norms get no gradient


def test_check_1_halves_of_the_batch_have_other_values_and_attached_lengths_another_gradient() -> None:
    """What two processes that do not gather would get, and what lengths with a gradient would."""
    made, parts = matrices(), (slice(3), slice(3, 6))
    similarity = [
        torch.stack([central_moment_discrepancy(made[x][part], made[y][part]) for x, y in CMD]).mean() for part in parts
    ]
    unlike = [sum(subspace_difference(made[x][part], made[y][part]) for x, y in DIFFERENCE) for part in parts]
    assert (sum(similarity) / 2).item() == pytest.approx(0.570336722930, abs=1e-9)
    assert (sum(unlike) / 2).item() == pytest.approx(1.821997926701, abs=1e-9)

    def attached(x: Tensor, y: Tensor) -> Tensor:
        unit = []
        for rows in (x, y):
            centred = rows - rows.mean(dim=0)
            unit.append(centred / (centred.norm(dim=1, keepdim=True) + 1e-6))
        return (unit[0].T @ unit[1]).square().mean()

    total = torch.stack([attached(made[x], made[y]) for x, y in DIFFERENCE]).sum()
    (gradient,) = torch.autograd.grad(total, [made["p_a"]])
    assert total.item() == pytest.approx(6.398245302568, abs=1e-9)
    assert gradient.norm().item() == pytest.approx(2.579968662270, abs=1e-9)


def test_check_2_symmetry_and_permutations() -> None:
    x, y = matrices()["s_t"].detach(), matrices()["p_v"].detach()
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    cmd, unlike = central_moment_discrepancy(x, y).item(), subspace_difference(x, y).item()
    assert central_moment_discrepancy(y, x).item() == pytest.approx(cmd, abs=1e-12)
    assert central_moment_discrepancy(x[order], y).item() == pytest.approx(cmd, abs=1e-12)
    assert central_moment_discrepancy(x, x).item() == 0.0
    assert subspace_difference(x[order], y[order]).item() == pytest.approx(unlike, abs=1e-12)
    assert abs(subspace_difference(x[order], y).item() - unlike) > 1e-3


def test_check_3_orthogonal_columns_are_not_alike_and_doubled_clips_count_four_times() -> None:
    x = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [1.0, 0.0], [-1.0, 0.0]]).double()
    y = torch.tensor([[0.0, 2.0], [0.0, 2.0], [0.0, -2.0], [0.0, -2.0]]).double()
    assert subspace_difference(x, y).item() == pytest.approx(0.0, abs=1e-12)
    x, y = matrices()["p_t"].detach(), matrices()["p_a"].detach()
    twice = [torch.cat([rows, rows]) for rows in (x, y)]
    assert subspace_difference(*twice).item() == pytest.approx(4 * subspace_difference(x, y).item(), abs=1e-10)
    assert central_moment_discrepancy(*twice).item() == pytest.approx(
        central_moment_discrepancy(x, y).item(), abs=1e-12
    )


@pytest.mark.parametrize("case", ["one clip", "two clips", "equal", "constant", "two dyadic clips"])
def test_check_4_gradients_are_finite(case: str) -> None:
    made = matrices()
    x, y = made["s_t"].detach(), made["s_v"].detach()
    x, y = {
        "one clip": (x[:1], y[:1]),
        "two clips": (x[:2], y[:2]),
        "equal": (x, x.clone()),
        "constant": (torch.ones_like(x), torch.zeros_like(y)),
        "two dyadic clips": (torch.tensor([[0.25], [0.75]]).double(), torch.tensor([[0.5], [0.75]]).double()),
    }[case]
    x, y = x.clone().requires_grad_(), y.clone().requires_grad_()
    cmd, unlike = central_moment_discrepancy(x, y), subspace_difference(x, y)
    gradients = torch.autograd.grad(cmd + unlike, [x, y])
    assert all(gradient.isfinite().all() for gradient in gradients)
    assert bool(torch.isfinite(cmd + unlike))
    if case == "one clip":
        assert cmd.item() == pytest.approx(0.601718118106, abs=1e-9)
        assert unlike.item() == 0.0
    if case == "equal":
        assert cmd.item() == 0.0


def test_clips_that_do_not_count_are_as_if_left_out() -> None:
    made = matrices()
    x, y = made["s_t"].detach(), made["s_v"].detach()
    x_has, y_has = torch.tensor([1, 1, 0, 1, 1, 0]).bool(), torch.tensor([0, 1, 1, 1, 0, 1]).bool()
    both = x_has & y_has
    poisoned = torch.where(x_has[:, None], x, torch.nan), torch.where(y_has[:, None], y, torch.inf)
    assert central_moment_discrepancy(*poisoned, x_has, y_has).item() == pytest.approx(
        central_moment_discrepancy(x[x_has], y[y_has]).item(), abs=1e-12
    )
    assert subspace_difference(*poisoned, both).item() == pytest.approx(
        subspace_difference(x[both], y[both]).item(), abs=1e-12
    )
    assert subspace_difference(*poisoned, torch.zeros(6, dtype=torch.bool)).item() == 0.0
