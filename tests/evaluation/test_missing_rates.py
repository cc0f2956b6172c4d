"""Tests random missing rates: what enters a mask, what it leaves, and how many modalities it takes."""

import hashlib
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.stats import kstest
from torch.testing import assert_close

from trivium.data.missing_laws import RATES, keep_at
from trivium.evaluation.missing_rates import draw_uniform, imbalanced_rates, loss_law, share_missing

MODALITIES = ("text", "audio", "vision")
IDS = [f"clip{i // 7}$_${i % 7}" for i in range(4000)]


@pytest.fixture(scope="module")
def uniform() -> torch.Tensor:
    return draw_uniform(IDS, MODALITIES, 1)


def by_loop(rate: float, row: list[float], present: list[bool]) -> list[bool]:
    available = [m for m in range(len(row)) if present[m]]
    keeps = {m for m in available if row[m] >= rate} or {max(available, key=lambda m: row[m])}
    return [m in keeps for m in range(len(row))]


def test_depends_on_clip_modality_and_draw_alone(uniform: torch.Tensor) -> None:
    order = np.random.default_rng(0).permutation(len(IDS))[:50]
    some = draw_uniform([IDS[n] for n in order], ("vision", "text"), 1)
    assert torch.equal(some, uniform[order][:, [2, 0]])
    assert not (draw_uniform(IDS, MODALITIES, 2) == uniform).any()


def test_same_on_any_machine() -> None:
    """The first 53 bits of a checksum's 63, worked out anew."""
    digest = hashlib.blake2b(b"3/missing/a$_$1/audio", digest_size=8).digest()
    expected = (int.from_bytes(digest, "big") >> 11) / 2**53
    assert draw_uniform(["a$_$1"], ["audio"], 3).item() == expected


def test_uniform_and_independent(uniform: torch.Tensor) -> None:
    columns = uniform.T.numpy()
    assert all(kstest(column, "uniform").pvalue > 1e-3 for column in columns)
    others = np.corrcoef(np.concatenate([columns, draw_uniform(IDS, MODALITIES, 2).T.numpy()]))
    assert np.abs(others - np.eye(6)).max() < 4 / np.sqrt(len(IDS))


@pytest.mark.parametrize("rate", [0.0, 0.3, 0.7, 0.999])
def test_mask_equals_a_plain_loop(uniform: torch.Tensor, rate: float) -> None:
    some = uniform[:500]
    present = torch.from_numpy(np.random.default_rng(0).random((500, 3)) < 0.6)
    present[:, 1] |= ~present.any(dim=1)
    keep = keep_at(rate, some, present)
    pairs = zip(some.tolist(), present.tolist(), strict=True)
    assert keep.tolist() == [by_loop(rate, row, has) for row, has in pairs]
    assert keep.any(dim=1).all()
    assert not (keep & ~present).any()


def test_nothing_is_missing_at_rate_0_and_one_stays_at_rate_1(uniform: torch.Tensor) -> None:
    every = torch.ones_like(uniform, dtype=torch.bool)
    assert keep_at(0.0, uniform, every).all()
    alone = keep_at(1.0, uniform, every)
    assert (alone.sum(dim=1) == 1).all()
    assert torch.equal(alone.int().argmax(dim=1), uniform.argmax(dim=1))


def test_what_is_missing_stays_missing_at_higher_rates(uniform: torch.Tensor) -> None:
    every = torch.ones_like(uniform, dtype=torch.bool)
    masks = [keep_at(rate, uniform, every) for rate in RATES]
    for lower, higher in pairwise(masks):
        assert not (higher & ~lower).any()
        assert higher.sum() < lower.sum()


def test_share_missing_is_the_rate_but_for_the_modality_that_stays(uniform: torch.Tensor) -> None:
    """Of M modalities, one stays of the rate^M of clips that would lose all."""
    every = torch.ones_like(uniform, dtype=torch.bool)
    for rate in RATES:
        expected = rate - rate**3 / 3
        result = share_missing(keep_at(rate, uniform, every), every)
        assert result == pytest.approx(expected, abs=4 * 0.5 / np.sqrt(3 * len(IDS)) + 1e-12)


def test_share_is_of_what_clips_have() -> None:
    present = torch.tensor([[True, True, False], [True, False, False]])
    keep = torch.tensor([[True, False, True], [True, True, True]])
    assert_close(share_missing(keep, present), 1 / 3)


def test_a_rate_for_each_modality_equals_a_plain_loop(uniform: torch.Tensor) -> None:
    some, rates = uniform[:500], (0.7, 0.1, 0.9)
    present = torch.from_numpy(np.random.default_rng(1).random((500, 3)) < 0.6)
    present[:, 2] |= ~present.any(dim=1)
    expected = []
    for row, has in zip(some.tolist(), present.tolist(), strict=True):
        available = [m for m in range(3) if has[m]]
        keeps = {m for m in available if row[m] >= rates[m]} or {max(available, key=lambda m: row[m] - rates[m])}
        expected.append([m in keeps for m in range(3)])
    assert keep_at(rates, some, present).tolist() == expected


def test_equal_rates_are_the_shared_rate_bit_for_bit(uniform: torch.Tensor) -> None:
    every = torch.ones_like(uniform, dtype=torch.bool)
    for rate in RATES:
        assert torch.equal(keep_at((rate,) * 3, uniform, every), keep_at(rate, uniform, every))


@pytest.mark.parametrize("modalities", [1, 2, 3, 4])
def test_imbalanced_rates_all_have_mean_3_tenths_and_differ(modalities: int) -> None:
    grids = imbalanced_rates(modalities)
    every = [rates for kind in grids.values() for rates in kind]
    assert len({*every}) == len(every)
    assert all(np.mean(rates) == pytest.approx(0.3, abs=1e-4) and len(rates) == modalities for rates in every)
    assert {kind: len(rates) for kind, rates in grids.items()} == {
        1: {"shared": 1},
        2: {"shared": 1, "spread": 2},
        3: {"shared": 1, "spread": 6, "one": 3},
        4: {"shared": 1, "spread": 24, "one": 4},
    }[modalities]
    if modalities == 3:
        assert (0.7, 0.1, 0.1) in grids["one"]
        assert (0.1, 0.5, 0.3) in grids["spread"]


# share of clips that keep one, two and three modalities: GCNet's q = 1 - 1.5 rate, (1 - q)^2, 2 q (1 - q), q^2
GCNET = {0.0: (0, 0, 1), 0.3: (0.2025, 0.495, 0.3025), 0.5: (0.5625, 0.375, 0.0625), 0.7: (1, 0, 0)}
# and IMDer's table
IMDER = {
    **{0.0: (0, 0, 1), 0.1: (0.1, 0.1, 0.8), 0.2: (0.2, 0.2, 0.6), 0.3: (0.3, 0.3, 0.4)},
    **{0.4: (0.5, 0.2, 0.3), 0.5: (0.7, 0.1, 0.2), 0.6: (0.9, 0, 0.1), 0.7: (1, 0, 0)},
}


@pytest.mark.parametrize(("law", "shares"), [("gcnet", GCNET), ("imder", IMDER)])
def test_laws_keep_one_two_or_three_as_often_as_published(law: str, shares: dict[float, tuple[float, ...]]) -> None:
    ids = [f"clip{n}" for n in range(30_000)]
    every = torch.ones(len(ids), 3, dtype=torch.bool)
    keep = loss_law(law, ids, MODALITIES, 1, every)
    for rate, expected in shares.items():
        kept = keep(rate)
        counts = kept.sum(dim=1)
        found = [float((counts == number).double().mean()) for number in (1, 2, 3)]
        assert found == pytest.approx(expected, abs=0.01)
        # no modality is lost more often than another
        assert kept.double().mean(dim=0).tolist() == pytest.approx([float(kept.double().mean())] * 3, abs=0.01)


@pytest.mark.parametrize("law", ["keep_one", "gcnet", "imder"])
def test_laws_are_nested_leave_one_and_depend_on_the_clip_alone(law: str) -> None:
    ids = IDS[:600]
    present = torch.from_numpy(np.random.default_rng(2).random((600, 3)) < 0.6)
    present[:, 0] |= ~present.any(dim=1)
    keep = loss_law(law, ids, MODALITIES, 1, present)
    masks = [keep(rate) for rate in RATES]
    assert torch.equal(masks[0], present)
    for lower, higher in pairwise(masks):
        assert not (higher & ~lower).any()
        assert higher.any(dim=1).all()
    order = np.random.default_rng(0).permutation(600)[:50]
    some = loss_law(law, [ids[n] for n in order], MODALITIES, 1, present[order])
    assert torch.equal(some(0.4), keep(0.4)[order])
    assert not torch.equal(loss_law(law, ids, MODALITIES, 2, present)(0.4), keep(0.4))


def test_gcnet_loses_the_rate_of_two_modalities_up_to_a_half() -> None:
    every = torch.ones(len(IDS), 2, dtype=torch.bool)
    keep = loss_law("gcnet", IDS, MODALITIES[:2], 1, every)
    for rate in RATES:
        assert share_missing(keep(rate), every) == pytest.approx(min(rate, 0.5), abs=0.02)


def test_unknown_laws_and_imders_of_two_modalities_are_refused() -> None:
    every = torch.ones(1, 2, dtype=torch.bool)
    with pytest.raises(ValueError, match="law: expected one of keep_one, gcnet, imder, found 'gcnt'; nearest is gcnet"):
        loss_law("gcnt", ["a"], MODALITIES[:2], 1, every)
    with pytest.raises(ValueError, match=r"law=imder: expected three modalities, .* found text, audio"):
        loss_law("imder", ["a"], MODALITIES[:2], 1, every)
