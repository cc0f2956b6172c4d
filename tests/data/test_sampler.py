"""Batch order: a pure function of seed and epoch; ranks cover each global batch exactly."""

import pytest
import torch

from trivium.data.sampler import GlobalBatchSampler


def test_each_epoch_is_a_permutation_that_seed_and_epoch_alone_decide() -> None:
    sampler = GlobalBatchSampler(100, 8, seed=3)
    first = sampler.order()
    assert sorted(first.tolist()) == list(range(100))
    sampler.set_epoch(1)
    second = sampler.order()
    assert not torch.equal(first, second)
    torch.rand(5)  # the global generator has no say
    assert torch.equal(GlobalBatchSampler(100, 32, seed=3, epoch=1).order(), second)
    assert not torch.equal(GlobalBatchSampler(100, 8, seed=4, epoch=1).order(), second)


@pytest.mark.parametrize(("clips", "batch", "world"), [(100, 8, 1), (100, 8, 3), (33, 16, 2), (5, 4, 4), (7, 7, 2)])
def test_ranks_cover_every_global_batch_once(clips: int, batch: int, world: int) -> None:
    ranks = [GlobalBatchSampler(clips, batch, seed=1, rank=r, world=world) for r in range(world)]
    order = ranks[0].order()
    seen: list[int] = []
    for step in range(len(ranks[0])):
        shares = ranks[0].shares(step)
        slices = [order[s.local(step)].tolist() for s in ranks]
        assert all(len(part) == max(1, share) for part, share in zip(slices, shares, strict=True))
        real = [clip for part, share in zip(slices, shares, strict=True) for clip in part[:share]]
        assert real == order[step * batch : (step + 1) * batch].tolist()
        assert max(shares) - min(shares) <= 1
        seen += real
    assert sorted(seen) == list(range(clips))


def test_without_shuffling_the_split_keeps_its_order() -> None:
    assert GlobalBatchSampler(5, 2, shuffle=False).order().tolist() == [0, 1, 2, 3, 4]


def test_batch_size_zero_is_refused() -> None:
    with pytest.raises(ValueError, match=r"data\.batch_size must be at least 1, found 0"):
        GlobalBatchSampler(5, 0)
