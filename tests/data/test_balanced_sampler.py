"""The balanced sampler: classes equally often, a pure function of seed and epoch, and the same clips on any ranks."""

from __future__ import annotations

import pytest
import torch

from trivium.data.datamodule import DataModule
from trivium.data.sampler import GlobalBatchSampler
from trivium.data.store import Store, open_store
from trivium.data.synthetic import ensure_fixture

# 60, 30, 9 and 1 clips; class 2 has none.
CLASSES = torch.tensor([0] * 60 + [1] * 30 + [3] * 9 + [4])


def order(epoch: int = 0, seed: int = 3, batch: int = 8) -> torch.Tensor:
    return GlobalBatchSampler(len(CLASSES), batch, seed=seed, epoch=epoch, classes=CLASSES).order()


def test_an_epoch_keeps_its_length_and_has_every_class_equally_often() -> None:
    assert torch.bincount(CLASSES[order()]).tolist() == [25, 25, 0, 25, 25]
    seven = CLASSES[:-7]  # 93 clips of 3 classes: 31 each
    drawn = GlobalBatchSampler(93, 8, classes=seven).order()
    assert torch.bincount(seven[drawn]).tolist() == [31, 31, 0, 31]
    extra = [
        torch.bincount(CLASSES[GlobalBatchSampler(99, 8, classes=CLASSES[:99], epoch=e).order()]) for e in range(9)
    ]
    assert {tuple(counts.tolist()) for counts in extra} == {(33, 33, 0, 33)}
    odd = [torch.bincount(CLASSES[GlobalBatchSampler(98, 8, classes=CLASSES[:98], epoch=e).order()]) for e in range(20)]
    assert {tuple(counts.tolist()) for counts in odd} == {(33, 33, 0, 32), (33, 32, 0, 33), (32, 33, 0, 33)}


def test_a_clip_repeats_only_once_all_of_its_class_have_come() -> None:
    counts = torch.bincount(order(), minlength=100)
    assert set(counts[:60].tolist()) == {0, 1}
    assert set(counts[60:90].tolist()) == {0, 1}
    assert set(counts[90:99].tolist()) == {2, 3}
    assert counts[99] == 25


def test_over_epochs_every_clip_of_a_large_class_comes() -> None:
    assert set(torch.cat([order(epoch) for epoch in range(12)]).tolist()) == set(range(100))


def test_the_order_is_a_function_of_seed_and_epoch_alone() -> None:
    assert torch.equal(order(epoch=2, batch=8), order(epoch=2, batch=32))
    torch.rand(5)  # the global generator has no say
    assert torch.equal(order(epoch=2), order(epoch=2))
    assert not torch.equal(order(epoch=2), order(epoch=1))
    assert not torch.equal(order(seed=4), order(seed=3))


@pytest.mark.parametrize("world", [2, 3])
def test_ranks_take_the_same_clips_as_one_process(world: int) -> None:
    ranks = [GlobalBatchSampler(100, 9, seed=1, rank=r, world=world, classes=CLASSES) for r in range(world)]
    one = GlobalBatchSampler(100, 9, seed=1, classes=CLASSES)
    for step in range(len(one)):
        parts = [s.order()[s.local(step)][: s.shares(step)[s.rank]] for s in ranks]
        assert torch.equal(torch.cat(parts), one.order()[one.local(step)])


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    path = tmp_path_factory.mktemp("balanced") / "f.h5"
    return open_store(ensure_fixture(path, name="fixture_classes", label_range=(-3.0, 3.0)))


def test_training_alone_is_balanced_and_a_step_names_its_clips(store: Store) -> None:
    data = DataModule(store, reads={"text": "values"}, target="emotion", sampler="balanced")
    loader = data.loader("train", training=True)
    batches = list(loader)
    numbers = torch.cat([batch.target for batch in batches]).long()
    assert torch.bincount(numbers).tolist() == [80, 80, 80, 80]
    assert loader.ids(0, 1) == [store.split("train").ids[i] for i in batches[1].index.tolist()]
    valid = torch.cat([batch.index for batch in data.loader("valid")])
    assert torch.equal(valid, torch.arange(96))


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("multimodal", r"balanced is not defined for a score in \[-3, 3\]: .*; take data.sampler=shuffled$"),
        ("traits", r"data.sampler=balanced is not defined for 3 scores in \[1, 7\]: it draws the clips of each class"),
        ("topics", r"not defined for 3 labels: .*take data.sampler=shuffled, or objective=binary_cross"),
    ],
)
def test_targets_without_classes_are_refused(store: Store, target: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DataModule(store, reads={"text": "values"}, target=target, sampler="balanced")


def test_an_unknown_sampler_is_refused(store: Store) -> None:
    with pytest.raises(ValueError, match=r"data.sampler: expected one of shuffled, balanced, found 'balance'"):
        DataModule(store, reads={"text": "values"}, target="emotion", sampler="balance")
