"""Erased steps: the procedure's vector, and what erasing never touches and never depends on (numbers: lnln.md, 16)."""

from __future__ import annotations

import pytest
import torch

from batches import batch_of
from sine_filled import sines
from trivium.data.batch import Batch, Stream
from trivium.data.erase import draw_rates, erase, erase_steps, fill_absent

NAMES = ["text", "audio", "vision"]


def stream(values, lengths):
    lengths = torch.tensor(lengths)
    return Stream(values, torch.arange(values.shape[1]) < lengths[:, None], lengths)


def drawn(clips, steps):
    t, i = torch.arange(1, steps + 1, dtype=torch.float64), torch.arange(clips)[:, None]
    return (0.6180339887498949 * t + 0.37 * i) % 1


def test_n6_words_become_unknown_but_for_the_first_and_last():
    ids = 2000 + 100 * torch.arange(2)[:, None] + torch.arange(8)
    ids[:, 0], ids[0, 7], ids[1, 5], ids[1, 6:] = 101, 102, 102, 0
    found = erase_steps(stream(ids, [8, 6]), drawn(2, 8) < torch.tensor([[0.5], [0.3]]), unknown_id=100)
    assert found.values.tolist() == [
        [101, 100, 2002, 100, 100, 2005, 100, 102],
        [101, 2101, 100, 2103, 2104, 102, 0, 0],
    ]
    assert torch.equal(found.mask, stream(ids, [8, 6]).mask)


def test_n6_frames_become_zeros():
    values = sines(2, 6, 2, c=0).masked_fill((torch.arange(6) >= torch.tensor([[6], [4]]))[..., None], 0.0)
    found = erase_steps(stream(values, [6, 4]), drawn(2, 6) < torch.tensor([[0.5], [0.8]]), unknown_id=100).values
    assert (found != 0).any(dim=2).int().tolist() == [[1, 0, 1, 0, 0, 1], [1, 0, 0, 1, 0, 0]]
    assert float(found.sum()) == pytest.approx(1.3910711354, abs=1e-9)


def test_a_learned_vector_takes_the_place_of_erased_words():
    vector = torch.tensor([5.0, 6.0], dtype=torch.float64, requires_grad=True)
    found = erase_steps(stream(sines(1, 3, 2, c=0), [2]), torch.ones(1, 3).bool(), unknown_id=100, unknown_D=vector)
    assert found.values[0, :2].tolist() == [[5, 6], [5, 6]]
    assert found.values[0, 2].tolist() != [5, 6]  # padding
    found.values.sum().backward()
    assert vector.grad.tolist() == [2, 2]


def test_a_row_without_padding_keeps_its_ends():
    found = erase_steps(stream(torch.full((1, 5), 7), [5]), torch.ones(1, 5).bool(), unknown_id=100)
    assert found.values.tolist() == [[7, 100, 100, 100, 7]]


def test_6_half_of_the_clips_are_complete_in_a_modality_and_an_eighth_in_all():
    rate = draw_rates(NAMES, torch.arange(10_000), key=3)
    assert rate.mean(dim=0).tolist() == pytest.approx([0.25] * 3, abs=0.01)
    assert (rate == 0).double().mean(dim=0).tolist() == pytest.approx([0.5] * 3, abs=0.015)
    assert float((rate == 0).all(dim=1).double().mean()) == pytest.approx(1 / 8, abs=0.01)
    assert rate.max() < 1
    assert not torch.equal(rate, draw_rates(NAMES, torch.arange(10_000), key=4))


def lost(batch: Batch, rate: float, key: int = 5) -> dict[str, torch.Tensor]:
    found = erase(batch, torch.full((len(batch), 3), rate, dtype=torch.float64), key, unknown_id=100)
    return {name: (one.values == 0).all(dim=2) & one.mask for name, one in found.streams.items()}


def test_7_draws_depend_on_the_clip_alone():
    one, other = batch_of(range(9)), batch_of([4, 2, 8], steps=20)
    rate = draw_rates(NAMES, one.index, key=5)
    assert torch.equal(draw_rates(NAMES, other.index, key=5), rate[[4, 2, 8]])
    assert torch.equal(draw_rates(["vision"], one.index, key=5), rate[:, 2:])
    for name, found in lost(one, 0.5).items():
        steps = found.shape[1]
        assert torch.equal(lost(other, 0.5)[name][:, :steps], found[[4, 2, 8]])
        assert found.any()
        assert not torch.equal(lost(one, 0.5, key=6)[name], found)


def test_11_what_is_lost_at_one_rate_is_lost_at_a_higher_one_and_nothing_at_none():
    batch = batch_of(range(50))
    before = {name: torch.zeros_like(one.mask) for name, one in batch.streams.items()}
    for tenths in range(11):
        found = lost(batch, tenths / 10)
        for name, one in batch.streams.items():
            assert (found[name] | ~before[name]).all()
            share, n = float(found[name].sum() / one.mask.sum()), int(one.mask.sum())
            assert abs(share - tenths / 10) <= 3 * (0.25 / n) ** 0.5
            assert tenths or not found[name].any()
        before = found


def test_absent_modalities_are_filled_with_erased_steps():
    batch = batch_of(range(7), absent=True)
    batch.streams["text"] = stream(
        torch.where(batch.streams["text"].mask, 9, 0), batch.streams["text"].lengths.tolist()
    )
    filled = fill_absent(batch, unknown_id=100, first_id=101, last_id=102)
    assert filled.present.all()
    for m, name in enumerate(batch.streams):
        old, new, gone = batch.streams[name], filled.streams[name], ~batch.present[:, m]
        steps = old.mask.shape[1]
        assert gone.any()
        assert new.mask[gone].all()
        assert (new.lengths[gone] == steps).all()
        assert torch.equal(new.values[~gone], old.values[~gone])
        assert torch.equal(new.mask[~gone], old.mask[~gone])
        expected = [101, *[100] * (steps - 2), 102] if name == "text" else torch.zeros(steps, old.values.shape[-1])
        assert (new.values[gone] == torch.as_tensor(expected)).all()
