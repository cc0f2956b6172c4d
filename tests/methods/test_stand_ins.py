"""Training with modalities and steps left out at random, and learned vectors in the place of what is absent.

Legend: B clips, M modalities, p modality_dropout.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from batches import DIMS, LONGEST, batch_of
from driver import here, rows
from trivium.config.compose import composer
from trivium.config.instantiate import build, target
from trivium.data.batch import Batch, Stream
from trivium.encoders.gru import GRU
from trivium.methods.base import Method, Parts
from trivium.methods.options import split_options
from trivium.methods.selfmi import SelfMI
from trivium.methods.supervised import Supervised
from trivium.objectives.task import L1, CrossEntropy, TaskObjective

CLIPS = 7
with composer() as _session:
    FUSIONS = {
        name: dict(_session.compose([f"fusion={name}"])["fusion"])
        for name in _session.choices("fusion")
        if "/" not in name
    }


def made(
    fusion: str = "concat", kind: type[Method] = Supervised, objective: TaskObjective | None = None, **settings: Any
) -> Any:
    torch.manual_seed(0)
    encoders: Any = {name: GRU(size, hidden=6, out=8, pool="mean") for name, size in DIMS.items()}
    node = {**FUSIONS[fusion], **({"layers": 1, "width": 10} if fusion == "mult" else {})}
    takes_steps = {"steps": dict.fromkeys(DIMS, LONGEST)} if target(node).takes_steps else {}
    joint = build(node, dict.fromkeys(DIMS, 8), **takes_steps)
    options, settings = split_options(settings, kind.shared_options)
    built = kind(Parts(encoders, joint, objective or L1(), CLIPS, 3.0, 5, options), **settings).double()
    built.position = (0, 3)
    return built


def whole(clips: int = CLIPS) -> Batch:
    return batch_of(range(clips))


# Modality dropout


def many(present_M: list[bool], clips: int = 4000) -> Batch:
    """Clips with the same modalities and one step each; only their indices differ."""
    batch = batch_of([0] * clips)
    batch.index = torch.arange(clips)
    batch.present = torch.tensor(present_M).expand(clips, -1).clone()
    return batch


LAWS = ["keep_one", "gcnet", "imder"]


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("present", [[True] * 3, [True, False, True], [False, True, False]], ids=str)
def test_each_modality_is_dropped_on_its_own_and_one_stays(p: float, present: list[bool]) -> None:
    """Without the rule that one stays, all K would go with p^K; each is then the one that stays in 1 of K cases."""
    clips, had = 4000, sum(present)
    left = made(modality_dropout=p).drop_modalities(many(present)).present.double()
    assert not left[:, [not one for one in present]].any()
    assert left.any(dim=1).all()
    stays = 1 - p + p**had / had
    for column in (m for m, one in enumerate(present) if one):
        assert abs(float(left[:, column].mean()) - stays) <= 4 * math.sqrt(stays * (1 - stays) / clips)
    everything = (1 - p) ** had if had > 1 else 1.0
    assert abs(float((left.sum(dim=1) == had).double().mean()) - everything) <= 4 * math.sqrt(0.25 / clips)


@pytest.mark.parametrize("law", LAWS)
def test_a_clip_loses_the_same_whatever_it_is_batched_with(law: str) -> None:
    method, together = made(modality_dropout=0.5, modality_dropout_law=law), batch_of(range(40))
    expected = method.drop_modalities(together).present
    for indices in ([3], [17, 3], [39, 0, 3, 20]):
        assert torch.equal(method.drop_modalities(batch_of(indices)).present, expected[indices])


def test_every_step_drops_anew_and_the_same_step_alike() -> None:
    method, batch = made(modality_dropout=0.5), batch_of(range(40))
    drawn = {}
    for position in ((0, 0), (0, 1), (1, 0)):
        method.position = position
        drawn[position] = method.drop_modalities(batch).present
        assert torch.equal(method.drop_modalities(batch).present, drawn[position])
    assert not torch.equal(drawn[0, 0], drawn[0, 1])
    assert not torch.equal(drawn[0, 0], drawn[1, 0])


def test_what_is_dropped_is_gone_from_the_features_and_the_rest_is_untouched() -> None:
    batch = whole()
    left = made(modality_dropout=0.5).drop_modalities(batch)
    assert 0 < int(left.present.sum()) < left.present.numel()
    for m, (name, stream) in enumerate(left.streams.items()):
        here_B = left.present[:, m]
        assert torch.equal(stream.values[here_B], batch.streams[name].values[here_B])
        assert not stream.values[~here_B].any()
    assert batch.present.all()


def test_0_changes_nothing() -> None:
    batch = whole()
    assert made().drop_modalities(batch) is batch


@pytest.mark.parametrize(("law", "rate"), [("keep_one", 0.9), ("gcnet", 0.7), ("imder", 0.7)])
def test_training_steps_drop_and_validation_and_prediction_do_not(
    law: str, rate: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    method, batch = made(modality_dropout=rate, modality_dropout_law=law), batch_of(range(40))
    losses, seen = method.losses, []
    monkeypatch.setattr(method, "losses", lambda given: seen.append(given.present) or losses(given))
    method.training_step(batch, 0)
    assert 40 <= int(seen[0].sum()) < 70
    plain = made().eval()
    method.eval()
    assert torch.equal(method.predict(batch).score, plain.predict(batch).score)
    assert torch.equal(method.validation_step(batch, 0)["loss"], plain.validation_step(batch, 0)["loss"])


@pytest.mark.parametrize(
    "method", ["supervised", "selfmi", "tcmax", pytest.param("comm", marks=pytest.mark.slow), "gmc"]
)
def test_every_method_takes_it(method: str, tmp_path: Path) -> None:
    small = ["encoder=gru", "encoder.hidden=8", "encoder.out=8", "trainer.max_epochs=1", "trainer.limit_batches=2"]
    small += ["fusion=concat", "run.log_steps=true", "trainer.progress=off"]
    losses = []
    for p in ("0", "{text:0.5,vision:0.9}"):
        run_dir = tmp_path / str(len(losses))
        here(tmp_path, f"method={method}", *small, f"method.modality_dropout={p}", f"run.dir={run_dir}")
        losses.append([float(row["loss"]) for row in rows(run_dir / "steps.csv")])
    assert losses[0] != losses[1]


@pytest.mark.parametrize("p", [-0.1, 1.0, 2.0, float("nan")])
def test_a_modality_dropout_that_is_no_probability_below_1_is_refused(p: float) -> None:
    with pytest.raises(ValueError, match=r"method.modality_dropout: expected a probability in \[0, 1\), found"):
        made(modality_dropout=p)


def test_each_modality_may_have_a_rate_of_its_own_and_one_stays() -> None:
    """Of two draws below their rates p < q the one that lies less below stays: audio in p^2 / 2 of p q."""
    clips, p, q = 8000, 0.2, 0.6
    left = made(modality_dropout={"text": p, "default": q}).drop_modalities(many([True, True, False])).present.double()
    assert left.any(dim=1).all()
    assert not left[:, 2].any()
    # Both would go with probability p q; then text stays if p - u < q - v, audio otherwise.
    audio_stays = p * p / 2 / (p * q)
    for column, rate, saved in ((0, p, 1 - audio_stays), (1, q, audio_stays)):
        stays = 1 - rate + p * q * saved
        assert abs(float(left[:, column].mean()) - stays) <= 4 * math.sqrt(stays * (1 - stays) / clips)


@pytest.mark.parametrize("rate", [0.1, 0.3, 1 / 3, 0.5, 0.7, 0.95])
@pytest.mark.parametrize("present", [[True] * 3, [True, False, True]], ids=str)
def test_equal_rates_are_the_shared_rate_bit_for_bit(rate: float, present: list[bool]) -> None:
    by_name = {"text": rate, "audio": rate, "vision": rate}
    for position in ((0, 0), (0, 4), (3, 2)):
        left = []
        for rates in (rate, by_name, {"default": rate}):
            method = made(modality_dropout=rates)
            method.position = position
            left.append(method.drop_modalities(many(present)).present)
        assert torch.equal(left[1], left[0])
        assert torch.equal(left[2], left[0])


# Number of modalities kept -> its share of the clips: GCNet's q = 1 - 1.5 rate, (1 - q)^2, 2 q (1 - q), q^2
OF_A_LAW = {
    ("gcnet", 0.3): (0.2025, 0.495, 0.3025),
    ("gcnet", 0.7): (1.0, 0.0, 0.0),
    ("imder", 0.3): (0.3, 0.3, 0.4),
    ("imder", 0.4): (0.5, 0.2, 0.3),
    ("imder", 0.7): (1.0, 0.0, 0.0),
}


@pytest.mark.parametrize(("law", "rate"), list(OF_A_LAW))
def test_training_keeps_one_two_or_three_as_often_as_the_law_says(law: str, rate: float) -> None:
    clips = 20_000
    left = made(modality_dropout=rate, modality_dropout_law=law).drop_modalities(many([True] * 3, clips)).present
    for number, share in zip((1, 2, 3), OF_A_LAW[law, rate], strict=True):
        found = float((left.sum(dim=1) == number).double().mean())
        assert abs(found - share) <= 4 * math.sqrt(share * (1 - share) / clips)
    # No modality is lost more often than another.
    assert left.double().mean(dim=0).tolist() == pytest.approx([float(left.double().mean())] * 3, abs=0.015)


@pytest.mark.parametrize("law", ["gcnet", "imder"])
def test_a_law_draws_anew_in_every_epoch_and_alike_in_its_steps_and_for_every_seed_otherwise(law: str) -> None:
    method, batch = made(modality_dropout=0.4, modality_dropout_law=law), batch_of(range(40))
    drawn = {}
    for position in ((0, 0), (0, 3), (1, 0), (2, 0)):
        method.position = position
        drawn[position] = method.drop_modalities(batch).present
    assert torch.equal(drawn[0, 0], drawn[0, 3])
    assert len({tuple(drawn[epoch, 0].flatten().tolist()) for epoch in range(3)}) == 3
    method.seed, method.position = 6, (0, 0)
    assert not torch.equal(method.drop_modalities(batch).present, drawn[0, 0])


@pytest.mark.parametrize("law", ["gcnet", "imder"])
def test_a_law_leaves_one_modality_and_brings_none_back_and_loses_more_at_higher_rates(law: str) -> None:
    for present in ([True, False, True], [False, True, False]):
        lower = many(present).present
        for rate in (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7):
            left = made(modality_dropout=rate, modality_dropout_law=law).drop_modalities(many(present)).present
            assert left.any(dim=1).all()
            assert not (left & ~lower).any()
            lower = left


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (
            {"modality_dropout_law": "gcnt"},
            "method.modality_dropout_law: expected one of keep_one, gcnet, imder, found 'gcnt'; nearest is gcnet",
        ),
        (
            {"modality_dropout": 0.8, "modality_dropout_law": "gcnet"},
            "method.modality_dropout: expected a rate from 0 to 0.7 with .*modality_dropout_law=gcnet, .* 0.8; take",
        ),
        (
            {"modality_dropout": 0.35, "modality_dropout_law": "imder"},
            "method.modality_dropout: expected one of 0, 0.1, .*, 0.7 with .*modality_dropout_law=imder, .* 0.35; take",
        ),
        (
            {"modality_dropout": {"text": 0.1, "default": 0.3}, "modality_dropout_law": "gcnet"},
            "modality_dropout_law=gcnet: expected one rate for all modalities, found text 0.1, audio 0.3, vision 0.3",
        ),
    ],
)
def test_a_law_that_is_not_for_the_rates_is_refused(settings: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        made(**settings)


def test_imders_law_is_refused_of_two_modalities() -> None:
    options, _ = split_options({"modality_dropout": 0.3, "modality_dropout_law": "imder"}, ("modality_dropout",))
    with pytest.raises(
        ValueError, match=r"method.modality_dropout_law=imder: expected three modalities, .* text, audio"
    ):
        options.law(["text", "audio"])
    # A rate for each modality that is the same for all of them is one rate.
    rates = {"text": 0.3, "audio": 0.3, "vision": 0.3}
    assert split_options({"modality_dropout": rates, "modality_dropout_law": "imder"}, ("modality_dropout",))[0].law(
        DIMS
    )


def test_rates_of_other_modalities_or_beyond_1_are_refused() -> None:
    with pytest.raises(ValueError, match=r"method.modality_dropout.txt: no such modality; nearest is text"):
        made(modality_dropout={"txt": 0.1})
    with pytest.raises(
        ValueError, match=r"method.modality_dropout.text: expected a probability in \[0, 1\), found 1.5"
    ):
        made(modality_dropout={"text": 1.5})


# Step dropout


def erased(method: Any, batch: Batch) -> dict[str, Tensor]:
    """Modality -> (B, T) bool, the real steps whose features are all 0."""
    return {
        name: stream.mask & ~stream.values.any(dim=-1) & batch.streams[name].values.any(dim=-1)
        for name, stream in method.lose(batch).streams.items()
    }


def test_each_step_is_erased_on_its_own_at_its_modality_s_rate() -> None:
    batch = batch_of(range(600))
    for name, gone in erased(made(step_dropout={"text": 0.3, "vision": 0.6}), batch).items():
        rate, steps = {"text": 0.3, "vision": 0.6}.get(name, 0.0), int(batch.streams[name].mask.sum())
        assert abs(int(gone.sum()) / steps - rate) <= 4 * math.sqrt(rate * (1 - rate) / steps)
    method = made(step_dropout=0.3)
    left = method.lose(batch)
    assert torch.equal(left.present, batch.present)
    for name, stream in left.streams.items():
        assert torch.equal(stream.mask, batch.streams[name].mask)
        kept = ~erased(method, batch)[name]
        assert torch.equal(stream.values[kept], batch.streams[name].values[kept])


def test_a_clip_s_steps_are_erased_alike_in_any_batch_and_anew_in_every_step() -> None:
    method, together = made(step_dropout=0.5), batch_of(range(40))
    expected = erased(method, together)
    for indices in ([3], [39, 0, 3, 20]):
        for name, gone in erased(method, batch_of(indices)).items():
            assert torch.equal(gone, expected[name][indices, : gone.shape[1]])
    for position in ((0, 4), (1, 3)):
        method.position = position
        assert not all(torch.equal(gone, expected[name]) for name, gone in erased(method, together).items())
    assert made().lose(together) is together


def test_training_erases_words_that_are_token_ids_and_refuses_an_unknown_word_without_a_vector(tmp_path: Path) -> None:
    method, batch = made(step_dropout=0.9), batch_of(range(40))
    ids = torch.full(batch.streams["text"].mask.shape, 7)
    batch.streams["text"] = Stream(ids, batch.streams["text"].mask, batch.streams["text"].lengths)
    lost = method.lose(batch).streams["text"]
    inner = batch.streams["text"].mask.sum(dim=1) > 2
    assert (lost.values[inner] == method.unknown_id).any()
    assert (lost.values[:, 0] == 7).all()  # [CLS]
    method.encoders["text"].reads, method.encoders["text"].input_size = "tokens", 50
    with pytest.raises(ValueError, match=r"method.step_dropout: an erased word of 'text' becomes token 100, and its"):
        method.refuse_unknown_id("method.step_dropout", "", ["audio", "text"])
    method.refuse_unknown_id("method.step_dropout", "", ["audio"])


def test_training_steps_erase_and_validation_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    method, batch, seen = made(step_dropout=0.9), batch_of(range(40)), []
    losses = method.losses
    monkeypatch.setattr(method, "losses", lambda given: seen.append(given) or losses(given))
    method.training_step(batch, 0)
    assert seen[0].streams["text"].values.any(dim=-1).sum() < 0.2 * batch.streams["text"].mask.sum()
    plain = made().eval()
    assert torch.equal(method.eval().validation_step(batch, 0)["loss"], plain.validation_step(batch, 0)["loss"])


@pytest.mark.parametrize(("rates", "key"), [(1.0, "step_dropout"), ({"text": -0.5}, "step_dropout.text")])
def test_a_step_dropout_that_is_no_probability_below_1_is_refused(rates: Any, key: str) -> None:
    with pytest.raises(ValueError, match=rf"method.{key}: expected a probability in \[0, 1\), found"):
        made(step_dropout=rates)


# Stand-ins


def outputs(method: Any, batch: Batch) -> Tensor:
    with torch.no_grad():
        return method.eval().predict(batch).outputs  # type: ignore[no-any-return]


def filled(method: Any) -> Any:
    for vector in method.stand_ins.vectors:
        nn.init.normal_(vector)
    return method


@pytest.mark.parametrize("kind", [Supervised, SelfMI])
def test_a_learned_stand_in_is_the_pooled_vector_of_what_is_absent(kind: type[Method]) -> None:
    method, batch = filled(made(kind=kind, stand_in="learned")), batch_of(range(CLIPS), absent=True)
    encoded = method.encode(batch)
    expected = []
    for row in range(CLIPS):
        vectors = [
            encoded[name].pooled[row] if batch.present[row, m] else method.stand_ins.vectors[m]
            for m, name in enumerate(DIMS)
        ]
        hidden = torch.cat(vectors) @ method.fusion.layers[1].weight.T + method.fusion.layers[1].bias
        expected.append(hidden.relu())
    found = method.eval().predict(batch).features
    torch.testing.assert_close(found, torch.stack(expected), rtol=0, atol=1e-12)


def test_a_learned_stand_in_is_one_token_of_what_is_absent() -> None:
    """The same vectors as clips of one step, through a fusion that knows of no stand-ins."""
    method, batch = filled(made("transformer", stand_in="learned")), batch_of(range(CLIPS), absent=True, steps=LONGEST)
    encoded = method.encode(batch)
    for m, (name, one) in enumerate(encoded.items()):
        gone = ~batch.present[:, m]
        assert not one.mask[gone].any()
        one.tokens[gone, 0] = method.stand_ins.vectors[m]
        one.mask[gone, 0] = True
        assert one.tokens.shape[2] == len(method.stand_ins.vectors[m])
        encoded[name] = one
    expected = method.fusion(encoded, torch.ones_like(batch.present))
    torch.testing.assert_close(method.eval().predict(batch).features, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("fusion", FUSIONS)
def test_clips_with_every_modality_see_no_stand_in(fusion: str) -> None:
    batch = whole()
    assert torch.equal(outputs(filled(made(fusion, stand_in="learned")), batch), outputs(made(fusion), batch))


@pytest.mark.parametrize("fusion", FUSIONS)
def test_an_untrained_stand_in_is_the_zero_vector_where_a_fusion_takes_absence_as_that(fusion: str) -> None:
    """Others leave an absent modality out (a gate, a bias, a 1 or its tokens), and a zero vector is more than that."""
    as_zeros = {"concat", "share", "cosine", "gated", "bigated", "film", "lowrank"}
    batch = batch_of(range(CLIPS), absent=True)
    learned, zero = outputs(made(fusion, stand_in="learned"), batch), outputs(made(fusion), batch)
    same = (learned == zero).all(dim=1)
    assert same[batch.present.all(dim=1)].all()
    assert bool(same.all()) == (fusion in as_zeros)
    if fusion not in as_zeros:
        assert float((learned - zero).abs().max()) > 1e-6


@pytest.mark.parametrize("fusion", FUSIONS)
@pytest.mark.parametrize("kind", [Supervised, SelfMI])
def test_stand_ins_are_learnt_from_clips_that_lack_their_modality(fusion: str, kind: type[Method]) -> None:
    """The text's from the clips without text, and so on; a batch of whole clips teaches nothing."""
    method = filled(made(fusion, kind=kind, stand_in="learned"))
    if isinstance(method, SelfMI):
        method.bank.start(whole().targets["multimodal"])
    vectors = list(method.stand_ins.vectors)
    for lacking in (None, 0, 1, 2):
        batch = whole()
        if lacking is not None:
            gone = torch.zeros(CLIPS, 3, dtype=torch.bool)
            gone[:3, lacking] = True  # not an even number, of which L1's gradients of +-1 might cancel
            batch = batch.without(gone)
        found = torch.autograd.grad(method.losses(batch)["loss"], vectors)
        taught = [bool(gradient.any()) for gradient in found]
        assert taught == [m == lacking for m in range(3)]


@pytest.mark.parametrize("method", ["supervised", "selfmi"])
def test_learning_stand_ins_without_absent_clips_is_refused(method: str, tmp_path: Path) -> None:
    small = [f"method={method}", "method.stand_in=learned", "encoder=gru", "encoder.hidden=8", "encoder.out=8"]
    small += ["trainer.max_epochs=1", "trainer.limit_batches=2", "trainer.progress=off"]
    with pytest.raises(ValueError, match=r"method.stand_in=learned: no clip of the train split lacks a modality"):
        here(tmp_path, *small, f"run.dir={tmp_path / 'a'}")
    assert here(tmp_path, *small, "method.modality_dropout=0.3", f"run.dir={tmp_path / 'b'}")["epochs"] == 1


def test_wrong_stand_ins_are_named() -> None:
    with pytest.raises(ValueError, match=r"method.stand_in: expected one of zero, learned, found 'mean'"):
        made(stand_in="mean")
    with pytest.raises(ValueError, match=r"stand_in=learned does not go with method.balance=ogm_ge"):
        made(objective=CrossEntropy((-3.0, 3.0)), balance="ogm_ge", stand_in="learned")
