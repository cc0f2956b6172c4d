"""Label generation against the specification's vectors (selfmi.md §5.2) and its invariants."""

import numpy as np
import pytest
import torch
from torch import Tensor

from trivium.methods.label_bank import LabelBank, generate_labels, mix_labels, relative_distance


def test_vectors_of_the_specification() -> None:
    joint = relative_distance(torch.tensor([[1.0, 0.5]]), torch.tensor([2.0, 1.0]), torch.tensor([-1.0, -0.5]))
    own = relative_distance(
        torch.tensor([[0.2, -0.3, 0.1]]), torch.tensor([0.5, 0.0, 0.2]), torch.tensor([-0.4, -0.6, 0.0])
    )
    assert joint.item() == pytest.approx(1.0, abs=1e-6)
    assert own.item() == pytest.approx(0.555973, abs=1e-6)
    target = torch.tensor([1.4])
    new = generate_labels(joint, own, target, high=3.0)
    assert new.item() == pytest.approx(0.867168, abs=1e-6)
    label, weights = target, []
    for epoch, expected in ((2, 1.044779), (3, 0.955973), (4, 0.920451)):
        label = mix_labels(label, new, epoch)
        assert label.item() == pytest.approx(expected, abs=1e-6)
        weights.append(torch.tanh((label - target).abs()).item())
    assert weights == pytest.approx([0.340998, 0.416977, 0.445882], abs=1e-6)


def test_identity_of_the_update_rule() -> None:
    """y_s^new = y_m + (a_s - a_m) / 2 * (y_m + a_m) / a_m."""
    generator = torch.Generator().manual_seed(0)
    joint, own, target = (torch.randn(50, generator=generator, dtype=torch.float64) for _ in range(3))
    found = generate_labels(joint, own, target, high=1e9)
    torch.testing.assert_close(found, target + (own - joint) / 2 * (target + joint) / joint, rtol=1e-5, atol=1e-5)


def test_the_two_other_rules_divide_by_the_centres_distance_and_squash() -> None:
    """The variants that Self-MM's code holds commented out."""
    rng = np.random.default_rng(0)
    features, positive, negative = rng.normal(size=(5, 3)), rng.normal(size=3), rng.normal(size=3)
    near, far = (np.sqrt(((features - centre) ** 2).sum(axis=1)) for centre in (positive, negative))
    expected = (far - near) / np.sqrt(((positive - negative) ** 2).sum())
    given = [torch.from_numpy(part) for part in (features, positive, negative)]
    np.testing.assert_allclose(relative_distance(*given, rule="centres"), expected, rtol=1e-6)
    joint, own, target = (rng.normal(size=5) for _ in range(3))
    whole = 0.5 * own / joint * target + 0.5 * (target + own - joint)
    found = generate_labels(*(torch.from_numpy(part) for part in (joint, own, target)), high=3.0, rule="tanh")
    np.testing.assert_allclose(found, 3 * np.tanh(whole), rtol=1e-5)


def _bank(targets: Tensor, **settings: bool) -> LabelBank:
    bank = LabelBank(len(targets), {"joint": 3, "text": 2}, high=3.0, **settings).double()
    bank.start(targets)
    return bank


def _run(bank: LabelBank, index: Tensor, features: dict[str, Tensor], epochs: int) -> None:
    present = {"text": torch.ones(8, dtype=torch.bool)}
    for epoch in range(1, epochs + 1):
        for half in (slice(0, 8), slice(8, 16)):
            rows = {name: values[index[half]] * epoch for name, values in features.items()}
            bank.update(index[half], rows, present, epoch)


@pytest.fixture
def targets() -> Tensor:
    return torch.linspace(-3, 3, 16, dtype=torch.float64)


@pytest.fixture
def features() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {
        name: torch.randn(16, d, generator=generator, dtype=torch.float64) for name, d in (("joint", 3), ("text", 2))
    }


def test_human_labels_never_change_and_generated_ones_stay_in_range(
    targets: Tensor, features: dict[str, Tensor]
) -> None:
    bank = _bank(targets)
    _run(bank, torch.arange(16), features, 1)
    assert torch.equal(bank.labels("text"), targets)  # nothing moves in epoch 1
    _run(bank, torch.arange(16), features, 6)
    assert torch.equal(bank.labels("joint"), targets)
    assert not torch.equal(bank.labels("text"), targets)
    assert bank.labels("text").abs().max() <= 3


def test_renaming_clips_renames_the_bank(targets: Tensor, features: dict[str, Tensor]) -> None:
    plain, renamed = _bank(targets), _bank(targets.flip(0))
    _run(plain, torch.arange(16), features, 3)
    _run(renamed, torch.arange(15, -1, -1), {name: rows.flip(0) for name, rows in features.items()}, 3)
    torch.testing.assert_close(plain.labels("text"), renamed.labels("text").flip(0))


def test_centres_are_means_of_the_whole_bank_unseen_rows_included(features: dict[str, Tensor]) -> None:
    targets = torch.tensor([1.0, 2.0, -1.0, 0.0, *[-2.0] * 12], dtype=torch.float64)
    for exclude, members in ((True, [0, 1]), (False, [0, 1, 3])):
        bank = _bank(targets, exclude_zero=exclude)
        index = torch.tensor([0, 2, 3])
        present = {"text": torch.ones(3, dtype=torch.bool)}
        bank.update(index, {name: rows[index] for name, rows in features.items()}, present, 1)
        stored = torch.zeros(16, 3, dtype=torch.float64)
        stored[index] = features["joint"][index]
        torch.testing.assert_close(bank.get_buffer("centres_joint")[0], stored[members].mean(dim=0))
        torch.testing.assert_close(bank.get_buffer("centres_joint")[1], stored[targets < 0].mean(dim=0))


def test_a_batch_of_one_and_an_all_positive_set_stay_finite(features: dict[str, Tensor]) -> None:
    bank = _bank(torch.full((16,), 2.0, dtype=torch.float64))
    for epoch in (1, 2, 3):
        for clip in range(16):
            index = torch.tensor([clip])
            rows = {name: values[index] for name, values in features.items()}
            bank.update(index, rows, {"text": torch.ones(1, dtype=torch.bool)}, epoch)
    assert all(bool(torch.isfinite(buffer).all()) for buffer in bank.buffers())


def test_a_clip_without_the_modality_keeps_its_label_and_features(targets: Tensor, features: dict[str, Tensor]) -> None:
    bank = _bank(targets)
    _run(bank, torch.arange(16), features, 2)
    before = bank.state()
    rows = {name: values[:2] * 9 for name, values in features.items()}
    bank.update(torch.arange(2), rows, {"text": torch.tensor([True, False])}, 3)
    after = bank.state()
    assert torch.equal(before["labels_text"][1], after["labels_text"][1])
    assert torch.equal(before["features_text"][1], after["features_text"][1])
    assert not torch.equal(before["labels_text"][0], after["labels_text"][0])


def test_state_brings_a_bank_back(targets: Tensor, features: dict[str, Tensor]) -> None:
    bank, other = _bank(targets), LabelBank(16, {"joint": 3, "text": 2}, high=3.0).double()
    _run(bank, torch.arange(16), features, 3)
    other.load_state(bank.state())
    other.start(torch.zeros(16))  # a resumed run does not begin again
    assert all(torch.equal(a, b) for a, b in zip(bank.buffers(), other.buffers(), strict=True))
    assert not list(bank.state_dict())  # training state is no part of a model's weights


def test_shifts_are_means_and_quantiles_of_what_labels_moved(targets: Tensor, features: dict[str, Tensor]) -> None:
    bank = _bank(targets)
    assert set(bank.shifts().values()) == {0.0}
    _run(bank, torch.arange(16), features, 4)
    moved = (bank.labels("text") - targets).numpy()
    expected = {"shift_text": np.abs(moved).mean()}
    expected |= {f"shift_text_q{q}": np.percentile(moved, q) for q in (10, 50, 90)}
    assert bank.shifts() == pytest.approx(expected, rel=1e-12)
    assert expected["shift_text"] > 0.1


@pytest.mark.parametrize("known", [True, False], ids=["known from the store", "learned as they come"])
def test_clips_without_the_modality_count_as_in_a_bank_without_them(
    known: bool, targets: Tensor, features: dict[str, Tensor]
) -> None:
    """A third of the clips lack text: labels and centres of the others are those of a bank that never held them."""
    here = torch.arange(16) % 3 != 0
    bank, without = _bank(targets), _bank(targets[here])
    if known:
        bank.start(targets, {"text": here})
    place = here.cumsum(0) - 1
    for epoch in range(1, 5):
        for half in (slice(0, 8), slice(8, 16)):
            index = torch.arange(16)[half]
            rows = {name: values[index] * epoch for name, values in features.items()}
            rows["text"] = torch.where(here[index, None], rows["text"], 0.0)
            kept = here[index]
            # The joint centres are those of all clips, in both.
            without.get_buffer("centres_joint").copy_(bank.get_buffer("centres_joint"))
            bank.update(index, rows, {"text": kept}, epoch)
            there = {"text": torch.ones(int(kept.sum()), dtype=torch.bool)}
            without.update(place[index[kept]], {name: values[kept] for name, values in rows.items()}, there, epoch)
            if known or epoch > 1:
                torch.testing.assert_close(bank.get_buffer("centres_text"), without.get_buffer("centres_text"))
        torch.testing.assert_close(bank.labels("text")[here], without.labels("text"))
        assert torch.equal(bank.labels("text")[~here], targets[~here])
    assert not torch.equal(bank.labels("text"), targets)


def test_a_clip_that_lost_the_modality_before_it_was_seen_has_no_part_until_it_is(
    targets: Tensor, features: dict[str, Tensor]
) -> None:
    bank, everyone = _bank(targets), torch.arange(16)
    dropped = torch.arange(16) == 15
    bank.update(everyone, features, {"text": ~dropped}, 1)
    others = features["text"][(targets > 0) & ~dropped]
    torch.testing.assert_close(bank.get_buffer("centres_text")[0], others.mean(dim=0))
    bank.update(everyone, features, {"text": torch.ones(16, dtype=torch.bool)}, 1)
    bank.update(everyone, features, {"text": ~dropped}, 1)  # dropped again: its row from before counts
    torch.testing.assert_close(bank.get_buffer("centres_text")[0], features["text"][targets > 0].mean(dim=0))


def test_the_bank_stays_float32_in_a_model_of_half_precision(targets: Tensor) -> None:
    for half in (torch.bfloat16, torch.float16):
        bank = LabelBank(16, {"joint": 3, "text": 2}, high=3.0)
        bank.start(targets)
        before = bank.state()
        torch.nn.ModuleList([bank]).to(half)
        assert all(torch.equal(value, before[name]) for name, value in bank.named_buffers())
    assert bank.double().labels("text").dtype == torch.float64


def test_a_bank_of_version_0_1_0_goes_on(targets: Tensor, features: dict[str, Tensor]) -> None:
    """Its checkpoints do not say which rows are of clips with the modality."""
    bank, other = _bank(targets), _bank(targets)
    here = torch.arange(16) % 3 != 0
    for half in (slice(0, 8), slice(8, 16)):
        index = torch.arange(16)[half]
        bank.update(index, {name: rows[index] for name, rows in features.items()}, {"text": here[index]}, 1)
    old = {name: value for name, value in bank.state().items() if not name.startswith("rows_")}
    other.load_state(old)
    other.start(targets, {"text": here})
    assert all(torch.equal(value, other.get_buffer(name)) for name, value in bank.state().items())
