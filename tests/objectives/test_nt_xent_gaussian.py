"""The NT-Xent bound on learned embeddings against correlated Gaussians, for which the mutual information is known.

X and Y are d-dimensional, each pair of components correlated by rho and otherwise independent, so that
I(X; Y) = -d/2 log(1 - rho^2) nats. Embeddings are trained on fresh draws, then judged on others. The bound may lie
above the truth by sampling error only: three standard errors of the mean over evaluation batches.

The bound of a batch of N clips is log(2N - 1) - mean loss, in nats. In expectation it is at most I where all
candidates are independent and alike. Here they are not quite, which can lift it over I a little:
- a clip's two embeddings are both among the others' negatives, and depend on each other: by no more than the mean
  of log(1 + exp(-row's loss)), almost zero far below the ceiling log(2N - 1), log 2 at it;
- where the two embeddings have different distributions, telling them apart can count as well: by no more than
  log 2. A cosine gains nothing from it on average, for it is higher within a kind than between two.
"""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor, nn

from trivium.objectives.nt_xent import nt_xent

BATCH, STEPS, EVALUATIONS = 256, 250, 60  # log 511 = 6.24 nats, far above the truth of the first test (at most 1.66)


def information(rho: float, dim: int) -> float:
    return -0.5 * dim * math.log(1 - rho**2)


def embedding(dim: int) -> nn.Module:
    return nn.Sequential(nn.Linear(dim, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 8))


def learned_bound(rho: float, dim: int, batch: int = BATCH, shift: float = 0.0) -> tuple[float, float]:
    """The held-out bound's mean over batches, and its standard error. shift: of Y, so that it looks unlike X."""
    torch.manual_seed(0)
    embed_x, embed_y = embedding(dim), embedding(dim)
    generator = torch.Generator().manual_seed(1)

    def losses() -> Tensor:
        x, noise = torch.randn(2, batch, dim, generator=generator)
        return nt_xent(embed_x(x), embed_y(rho * x + math.sqrt(1 - rho**2) * noise + shift))

    optimizer = torch.optim.Adam(itertools.chain(embed_x.parameters(), embed_y.parameters()))
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, STEPS)
    for _ in range(STEPS):
        optimizer.zero_grad()
        losses().mean().backward()
        optimizer.step()
        scheduler.step()
    with torch.no_grad():
        bounds = torch.stack([math.log(2 * batch - 1) - losses().mean() for _ in range(EVALUATIONS)])
    return bounds.mean().item(), bounds.std().item() / math.sqrt(EVALUATIONS)


@pytest.mark.parametrize("rho", [0.6, 0.75, 0.9])
def test_learned_embeddings_give_a_tight_lower_bound(rho: float) -> None:
    truth, (estimate, error) = information(rho, 2), learned_bound(rho, 2)
    assert estimate <= truth + 3 * error
    assert estimate >= 0.85 * truth


@pytest.mark.parametrize("shift", [0.0, 4.0])
def test_nothing_is_found_where_nothing_is_shared(shift: float) -> None:
    """Nor where X and Y look unlike: telling them apart is no information on which belong together."""
    estimate, error = learned_bound(0.0, 2, batch=64, shift=shift)
    assert -0.1 < estimate <= 3 * error


def test_a_small_batch_stops_short_of_its_ceiling_however_much_is_shared() -> None:
    truth, ceiling = information(0.999, 4), math.log(2 * 8 - 1)  # 12.4 and 2.7 nats
    estimate, _ = learned_bound(0.999, 4, batch=8)
    assert 0.85 * ceiling < estimate < ceiling < truth
