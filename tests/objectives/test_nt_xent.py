"""NT-Xent against a float64 numpy version (values and gradients), its symmetries, and two processes against one."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
import torch
from scipy.optimize import approx_fprime
from torch import Tensor

from ranks import on_ranks
from trivium.core.distributed import gather_rows
from trivium.objectives.nt_xent import matching_accuracy, nt_xent

Array = npt.NDArray[np.float64]


def numpy_nt_xent(first: Array, second: Array, temperature: float) -> Array:
    """(N,) straight from the definition, row by row."""
    stacked = [row / math.sqrt(sum(row**2)) for row in [*first, *second]]
    count, rows = len(first), []
    for r, row in enumerate(stacked):
        similar = {q: row @ other / temperature for q, other in enumerate(stacked) if q != r}
        partner = (r + count) % (2 * count)
        rows.append(math.log(sum(math.exp(s) for s in similar.values())) - similar[partner])
    return (np.array(rows[:count]) + np.array(rows[count:])) / 2


def pair(count: int, dim: int, seed: int = 0) -> Tensor:
    return torch.randn(2, count, dim, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("temperature", [0.1, 0.7])
def test_values_and_gradients_equal_numpy(temperature: float) -> None:
    rng = np.random.default_rng(0)
    both = rng.normal(size=(2, 6, 3))
    weight = rng.uniform(size=6)  # a different weight a clip, so that a permuted answer shows
    tensors = torch.tensor(both, requires_grad=True)
    losses = nt_xent(tensors[0], tensors[1], temperature=temperature)
    (losses * torch.tensor(weight)).sum().backward()
    assert losses.dtype == torch.float64
    np.testing.assert_allclose(losses.detach(), numpy_nt_xent(*both, temperature), rtol=1e-12)
    slope = approx_fprime(both.ravel(), lambda v: numpy_nt_xent(*v.reshape(both.shape), temperature) @ weight)
    np.testing.assert_allclose(tensors.grad.ravel(), slope, rtol=1e-4, atol=1e-5)


def test_symmetric_in_its_arguments_and_blind_to_the_order_of_clips() -> None:
    first, second = pair(7, 4)
    losses = nt_xent(first, second)
    torch.testing.assert_close(nt_xent(second, first), losses, rtol=1e-13, atol=0)
    order = torch.tensor([3, 0, 6, 1, 5, 2, 4])
    torch.testing.assert_close(nt_xent(first[order], second[order]), losses[order], rtol=1e-13, atol=0)


def test_chance_and_floor() -> None:
    first, second = pair(16, 8)
    assert nt_xent(first, second, temperature=1e6).tolist() == pytest.approx([math.log(31)] * 16, abs=1e-5)
    # orthogonal clips, equal views: a partner at 1 / temperature, 2N - 2 others at 0
    exact = math.log(1 + 30 * math.exp(-10))
    assert nt_xent(torch.eye(16), 3 * torch.eye(16)).tolist() == pytest.approx([exact] * 16, rel=1e-3)
    assert nt_xent(first[:1], second[:1]).tolist() == [0.0]  # one clip: the partner is the only candidate


def test_slices_of_ranks_make_the_whole_batch() -> None:
    whole = pair(7, 3).requires_grad_()
    split = whole.detach().clone().requires_grad_()
    full = nt_xent(whole[0], whole[1])
    parts = [nt_xent(split[0], split[1], rows=slice(*ends)) for ends in ((0, 4), (4, 7), (7, 7))]
    assert [len(part) for part in parts] == [4, 3, 0]
    torch.testing.assert_close(torch.cat(parts), full, rtol=1e-13, atol=0)
    full.sum().backward()
    torch.cat(parts).sum().backward()
    torch.testing.assert_close(split.grad, whole.grad)


def test_absent_clips_are_neither_anchors_nor_candidates() -> None:
    both = pair(6, 3)
    both[0, 1] = 0.0
    present = torch.tensor([True, False, True, True, False, True])
    both.requires_grad_()
    losses = nt_xent(both[0], both[1], present_N=present)
    torch.testing.assert_close(losses[present], nt_xent(both[0, present], both[1, present]), rtol=1e-13, atol=0)
    assert losses[~present].tolist() == [0.0, 0.0]
    losses.sum().backward()
    assert both.grad[:, ~present].abs().max() == 0
    assert both.grad[:, present].abs().min() > 0
    with torch.autograd.set_detect_anomaly(True):  # no NaN on the way either
        none = nt_xent(both[0], both[1], present_N=torch.zeros(6, dtype=torch.bool))
        assert none.tolist() == [0.0] * 6
        none.sum().backward()


def test_autocast_and_half_precision_do_not_lower_the_precision() -> None:
    first, second = pair(8, 5).float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = nt_xent(first, second)
    torch.testing.assert_close(inside, nt_xent(first, second), rtol=0, atol=0)
    assert nt_xent(first.bfloat16(), second.bfloat16()).dtype == torch.float32


def test_matching_accuracy_counts_clips_closest_to_their_own_partner() -> None:
    first = torch.eye(4)
    second = torch.eye(4)[[0, 2, 1, 3]] * torch.tensor([[1.0], [9.0], [1.0], [1.0]])
    assert matching_accuracy(first, second).item() == 0.5
    assert matching_accuracy(first, 100 * first).item() == 1.0
    u, v = pair(9, 3)
    cosine = (u @ v.T).numpy() / np.linalg.norm(v.numpy(), axis=1)
    assert matching_accuracy(u, v).item() == pytest.approx(np.mean(cosine.argmax(1) == np.arange(9)))


def local_step(rank: int, both: Tensor, shares: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """This rank's losses and the gradient of its rows, as a method's step has them."""
    start = sum(shares[:rank]) if shares[rank] else 0
    rows = slice(start, start + max(1, shares[rank]))  # a rank without clips runs one of weight 0
    mine = both[:, rows].clone().requires_grad_()
    losses = nt_xent(gather_rows(mine[0], shares), gather_rows(mine[1], shares), rows=rows)
    weight = float(shares[rank] > 0)
    (weight * losses.sum() * len(shares) / sum(shares)).backward()
    assert mine.grad is not None
    return losses.detach()[: shares[rank]], mine.grad[:, : shares[rank]] / len(shares)  # DDP's mean of ranks


def local_steps(rank: int, both: Tensor, all_shares: list[tuple[int, ...]]) -> list[tuple[Tensor, Tensor]]:
    return [local_step(rank, both, shares) for shares in all_shares]


def test_two_processes_equal_one_with_uneven_shares_and_a_rank_without_clips() -> None:
    both = pair(7, 4)
    all_shares = [(4, 3), (2, 5), (7, 0)]
    first, second = on_ranks(2, local_steps, both, all_shares)
    whole = both.clone().requires_grad_()
    losses = nt_xent(whole[0], whole[1])
    losses.mean().backward()
    for here, there in zip(first, second, strict=True):
        torch.testing.assert_close(torch.cat([here[0], there[0]]), losses.detach(), rtol=1e-12, atol=0)
        torch.testing.assert_close(torch.cat([here[1], there[1]], dim=1), whole.grad, rtol=1e-10, atol=1e-14)
