"""Epoch means of loss terms, interrupted and gone on with, on several ranks."""

from __future__ import annotations

import pytest
import torch

from ranks import on_ranks
from trivium.methods.meter import Meter

STEPS = 8
TERMS = torch.rand(STEPS, 2, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64) / 3  # step, rank, term


def _add(meter: Meter, rank: int, steps: range) -> None:
    for step in steps:
        joint, text = TERMS[step, rank]
        meter.add({"joint": joint, "text": text}, step, clips=7 + step)


def means_when_cut(rank: int) -> list[dict[str, float]]:
    """Of an epoch that is not interrupted, and of one that is after each of its steps."""
    whole = Meter()
    _add(whole, rank, range(STEPS))
    found = [whole.means()]
    for cut in range(1, STEPS):
        before, after = Meter(), Meter()
        _add(before, rank, range(cut))
        after.load_state_dict(before.state_dict(), torch.device("cpu"))
        _add(after, rank, range(cut, STEPS))
        found.append(after.means())
    return found


def state_of(rank: int, steps: range) -> dict[str, object]:
    meter = Meter()
    _add(meter, rank, steps)
    return meter.state_dict()


def test_means_of_an_epoch_that_goes_on_on_two_ranks_are_the_whole_ones_to_the_last_bit() -> None:
    """Sums of all ranks in one of them would be rounded in another order."""
    first, second = on_ranks(2, means_when_cut)
    assert first == second
    assert first[1:] == [first[0]] * (STEPS - 1)
    clips = torch.arange(7, 7 + STEPS, dtype=torch.float64)
    expected = (TERMS.mean(dim=1) * clips[:, None]).sum(dim=0) / clips.sum()
    assert list(first[0].values()) == pytest.approx(expected.tolist(), rel=1e-12)


def test_one_rank_goes_on_with_what_two_had() -> None:
    state, other = on_ranks(2, state_of, range(3))
    assert state == other
    meter = Meter()
    meter.load_state_dict(state, torch.device("cpu"))
    clips = torch.arange(7, 10, dtype=torch.float64)
    expected = (TERMS[:3].mean(dim=1) * clips[:, None]).sum(dim=0) / clips.sum()
    assert list(meter.means().values()) == pytest.approx(expected.tolist(), rel=1e-12)
    assert Meter().state_dict() == {"names": [], "sums": [], "clips": 0}
