"""Tests the laws of missing modalities: how often each keeps one, two or three, on 10^5 clips."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from trivium.data.missing_laws import RATES, check_rate, keep_at, keep_gcnet, keep_imder

CLIPS = 100_000
# Three standard deviations of a share of a half.
WITHIN = 0.005
EVERY = torch.ones(CLIPS, 3, dtype=torch.bool)


@pytest.fixture(scope="module")
def uniforms() -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(0)
    first, second = torch.rand(2, CLIPS, 3, dtype=torch.float64, generator=draw)
    return first, second


def shares_kept(keep_NM: Tensor) -> list[float]:
    """Shares of the clips that keep no modality, one, two and three."""
    counts = keep_NM.sum(dim=1)
    return [float((counts == number).double().mean()) for number in range(4)]


def test_gcnets_law_has_its_frequencies_at_3_tenths_and_keeps_one_at_7(uniforms: tuple[Tensor, Tensor]) -> None:
    kept = keep_gcnet(0.3, *uniforms, EVERY)
    none, *shares = shares_kept(kept)
    assert none == 0
    assert shares == pytest.approx([0.2025, 0.495, 0.3025], abs=WITHIN)
    assert kept.double().mean(dim=0).tolist() == pytest.approx([0.7] * 3, abs=WITHIN)
    assert shares_kept(keep_gcnet(0.7, *uniforms, EVERY)) == [0, 1, 0, 0]


# Rate -> q, with which each modality but the one that stays is kept.
Q_OF_GCNET = {0.1: 0.85, 0.2: 0.7, 0.3: 0.55, 0.4: 0.4, 0.5: 0.25, 0.6: 0.1, 0.7: 0.0}


@pytest.mark.parametrize("rate", list(Q_OF_GCNET))
def test_gcnets_law_keeps_each_other_modality_with_q(uniforms: tuple[Tensor, Tensor], rate: float) -> None:
    q = Q_OF_GCNET[rate]
    none, *shares = shares_kept(keep_gcnet(rate, *uniforms, EVERY))
    assert none == 0
    assert shares == pytest.approx([(1 - q) ** 2, 2 * q * (1 - q), q**2], abs=WITHIN)


# Rate MR -> shares of the clips that keep one, two and three modalities, as in IMDer's public code.
OF_IMDER = {
    0.1: (0.1, 0.1, 0.8),
    0.2: (0.2, 0.2, 0.6),
    0.3: (0.3, 0.3, 0.4),
    0.4: (0.5, 0.2, 0.3),
    0.5: (0.7, 0.1, 0.2),
    0.6: (0.9, 0.0, 0.1),
    0.7: (1.0, 0.0, 0.0),
}
# The share of all pairs of clip and modality that is then lost.
REALISED = {0.1: 0.1, 0.2: 0.2, 0.3: 0.3, 0.4: 0.4, 0.5: 0.5, 0.6: 0.6, 0.7: 2 / 3}


@pytest.mark.parametrize("rate", list(OF_IMDER))
def test_imders_law_has_its_frequencies_at_every_rate(uniforms: tuple[Tensor, Tensor], rate: float) -> None:
    number_N = torch.rand(CLIPS, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    kept = keep_imder(rate, number_N, uniforms[0], EVERY)
    none, *shares = shares_kept(kept)
    assert none == 0
    assert shares == pytest.approx(OF_IMDER[rate], abs=WITHIN)
    # Shares of 0 are never, not seldom.
    assert [share == 0 for share in shares] == [share == 0 for share in OF_IMDER[rate]]
    assert 1 - float(kept.double().mean()) == pytest.approx(REALISED[rate], abs=WITHIN)
    # No modality is lost more often than another.
    assert (1 - kept.double().mean(dim=0)).tolist() == pytest.approx([REALISED[rate]] * 3, abs=WITHIN)


def test_nothing_is_lost_at_rate_0(uniforms: tuple[Tensor, Tensor]) -> None:
    first, second = uniforms
    assert keep_at(0.0, first, EVERY).all()
    assert keep_gcnet(0.0, first, second, EVERY).all()
    assert keep_imder(0.0, first[:, 0], second, EVERY).all()


def test_rates_that_the_protocols_have_are_those_of_the_laws() -> None:
    for rate in RATES:
        check_rate("gcnet", rate, "law", "rate")
        check_rate("imder", rate, "law", "rate")
    check_rate("gcnet", 0.35, "law", "rate")
    check_rate("imder", 0.1 + 0.2, "law", "rate")
    check_rate("keep_one", 0.95, "law", "rate")
    for law, rate in (("gcnet", 0.71), ("imder", 0.35), ("imder", 0.8)):
        with pytest.raises(ValueError, match=f"rate: expected .* with law={law}, .* found {rate}"):
            check_rate(law, rate, "law", "rate")
