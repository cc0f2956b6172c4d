"""Estimators of mutual information against correlated Gaussians, for which it is known.

X and Y are d-dimensional, each pair of components correlated by rho and otherwise independent, so that
I(X; Y) = -d/2 log(1 - rho^2) nats. Estimators are trained on fresh draws, then judged on others. A lower bound may lie
above the truth by sampling error only: three standard errors of the mean, over evaluation batches (InfoNCE, whose
anchors share their candidates) or over clips (Barber-Agakov).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import pytest
import torch
from torch import Tensor, nn

from trivium.objectives.barber_agakov import Conditional
from trivium.objectives.cpc import cpc_loss

BATCH, DIM, EVALUATIONS = 512, 2, 100  # log 512 = 6.24 nats, far above the largest truth here (3.3)
RHOS = [0.5, 0.6, 0.7, 0.8, 0.9]
Pair = tuple[Tensor, Tensor]


def draw(count: int, rho: float, dim: int, generator: torch.Generator) -> Pair:
    x, noise = torch.randn(2, count, dim, generator=generator)
    return x, rho * x + math.sqrt(1 - rho**2) * noise


def information(rho: float, dim: int) -> float:
    return -0.5 * dim * math.log(1 - rho**2)


def mlp(dim: int) -> nn.Module:
    return nn.Sequential(nn.Linear(dim, 32), nn.ReLU(), nn.Linear(32, 16))


def train(
    parameters: Iterable[nn.Parameter], loss: Callable[[Tensor, Tensor], Tensor], rho: float, dim: int = DIM
) -> torch.Generator:
    """Adam with one cycle of its rate; returns the generator, whose next draws are fresh."""
    generator, steps = torch.Generator().manual_seed(1), 300
    optimizer = torch.optim.Adam(parameters, lr=1e-2)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, steps)
    for _ in range(steps):
        optimizer.zero_grad()
        loss(*draw(BATCH, rho, dim, generator)).mean().backward()
        optimizer.step()
        scheduler.step()
    return generator


def evaluate(
    loss: Callable[[Tensor, Tensor], Tensor], rho: float, dim: int, generator: torch.Generator
) -> tuple[float, float]:
    """Mean InfoNCE bound, log N - mean loss in nats, over fresh batches, and its standard error."""
    with torch.no_grad():
        losses = torch.stack([loss(*draw(BATCH, rho, dim, generator)) for _ in range(EVALUATIONS)])
    bounds = math.log(BATCH) - losses.mean(dim=1)
    return bounds.mean().item(), bounds.std().item() / math.sqrt(EVALUATIONS)


class Contrast(nn.Module):
    """MLP embeddings under CPC's cosine, without temperature."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.embed_x, self.embed_y = mlp(dim), mlp(dim)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return cpc_loss(self.embed_x(x), self.embed_y(y))


@pytest.mark.parametrize("rho", RHOS)
def test_barber_agakov_with_analytic_entropy_is_a_tight_lower_bound(rho: float) -> None:
    torch.manual_seed(0)
    q = Conditional(DIM, DIM, hidden=16)
    generator = train(q.parameters(), lambda x, y: -q.log_likelihood(x, y), rho)
    with torch.no_grad():
        log_likelihood = q.log_likelihood(*draw(100_000, rho, DIM, generator))
    truth, entropy = information(rho, DIM), 0.5 * DIM * math.log(2 * math.pi * math.e)
    estimate = log_likelihood.mean().item() + entropy
    error = log_likelihood.std().item() / math.sqrt(len(log_likelihood))
    assert estimate <= truth + 3 * error
    assert estimate >= 0.85 * truth


def test_public_code_s_likelihood_without_logvar_is_no_bound() -> None:
    torch.manual_seed(0)
    rho, q = 0.5, Conditional(DIM, DIM, hidden=16)
    generator = train(q.parameters(), lambda x, y: -q.log_likelihood(x, y, normalised=False), rho)
    with torch.no_grad():
        likelihood = q.log_likelihood(*draw(10_000, rho, DIM, generator), normalised=False).mean().item()
    entropy = 0.5 * DIM * math.log(2 * math.pi * math.e)
    assert likelihood + entropy > 5 * information(rho, DIM)


@pytest.mark.parametrize("rho", [0.5, 0.7, 0.9])
def test_cosine_of_raw_scalars_has_the_value_of_their_signs(rho: float) -> None:
    # A scalar's cosine is the product of signs, which agree with probability 1/2 + asin(rho) / pi.
    estimate, error = evaluate(cpc_loss, rho, 1, torch.Generator().manual_seed(1))
    assert estimate == pytest.approx(2 / math.pi * math.asin(rho) - math.log(math.cosh(1)), abs=3 * error + 0.005)


def test_cosine_without_temperature_stays_under_its_ceiling() -> None:
    rho, dim = 0.9, 4
    ceiling = math.log(BATCH) - math.log(1 + (BATCH - 1) * math.exp(-2))  # 1.99 nats; the truth is 3.32
    torch.manual_seed(0)
    contrast = Contrast(dim)
    estimate, _ = evaluate(contrast, rho, dim, train(contrast.parameters(), contrast, rho, dim))
    assert 0.5 < estimate < ceiling < information(rho, dim)
