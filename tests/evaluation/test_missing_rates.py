"""Tests random missing rates: what enters a mask, what it leaves, and how many modalities it takes."""

import hashlib
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.stats import kstest
from torch.testing import assert_close

from trivium.evaluation.missing_rates import RATES, draw_uniform, keep_at, share_missing

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
