"""LNLN against the vectors and acceptance checks of its specification (section numbers in the names of tests).

The vectors were made by the public classes in float64.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from batches import DIMS, LONGEST, batch_of, share_of
from driver import here, rows
from ranks import on_ranks
from sine_filled import fill, sines
from trivium.config.compose import compose_config
from trivium.data.store import StoreSchema
from trivium.data.target import Target
from trivium.encoders.identity import Identity
from trivium.fusions.almt import ALMT
from trivium.methods.base import Parts
from trivium.methods.build import build_method
from trivium.methods.lnln import LNLN
from trivium.objectives.task import MSE

SIZES = {"dim": 4, "tokens": 2, "heads": 2, "head_dim": 3, "feedforward": 5}
HERE = dict.fromkeys(DIMS, torch.ones(2, dtype=torch.bool))


def made(dims=DIMS, fusion_keys=None, **keys):
    """In evaluation mode; `fusion_keys` are of fusion=almt, read as LNLN does."""
    torch.manual_seed(0)
    keys = {**SIZES, "depth": 1, **keys}
    sizes = {key: keys[key] for key in SIZES}
    steps = dict.fromkeys(dims, keys["tokens"])
    fusion = ALMT(dict.fromkeys(dims, keys["dim"]), steps=steps, embed_depth=0, readout="mean", **sizes,
                  **(fusion_keys or {}))  # fmt: skip
    encoders = {name: Identity(size) for name, size in dims.items()}
    parts = Parts(encoders, fusion, MSE(), 100, 3.0, 3, longest=dict.fromkeys(dims, LONGEST + 4))
    return LNLN(parts, **keys).double().eval()


def filled(**keys):
    method = made(hidden=2, **keys)
    method.discriminator = nn.Sequential(nn.Linear(4, 3), nn.LeakyReLU(0.1), nn.Linear(3, 2)).double()
    text, audio, vision = method.reconstructors
    fill(method.completeness_token, method.completeness, method.proxy_start, method.proxy, method.discriminator,
         audio, vision, text)  # fmt: skip
    return method


def embedded(c):
    """Erased with c = .2, complete with c = 4.2: language, audio, vision."""
    order = ("text", "audio", "vision") if c < 1 else ("audio", "vision", "text")
    made_of = {name: sines(2, 2, 4, c=c + n).requires_grad_() for n, name in enumerate(order)}
    return {name: made_of[name] for name in DIMS}


def close(found, expected):
    np.testing.assert_allclose(found.detach().numpy().ravel(), expected, rtol=0, atol=1e-9)


# 16.1, 17: vectors


def test_n1_and_n2_completeness_proxy_and_corrected_language():
    tokens = embedded(0.2)
    found = filled().mix(tokens, HERE)
    close(found.completeness, [0.6665890117, 0.6378475383])
    close(found.proxy, [-0.2605259484, 0.2519804489, 0.5929178177, 0.7304191410,
                        0.4858190946, 0.9827502691, 1.1973389019, 1.1187333491,
                        -0.2987273296, 0.2847940753, 0.6813136903, 0.8328232997,
                        0.4484528585, 1.0179824091, 1.2885991921, 1.2231006490])  # fmt: skip
    close(found.language[0], [0.0455685789, 0.5134414820, 0.8189723288, 0.9045626336,
                              0.7228927366, 0.9925789358, 1.0053336197, 0.7719329466])  # fmt: skip
    (gradient,) = torch.autograd.grad((found.language * sines(2, 2, 4, c=3.2)).sum(), tokens["audio"])
    close(gradient[0, 0], [-0.0130479024, 0.0071426448, 0.0125395428, -0.0066342853])


def test_n3_adversarial_loss():
    method, complete = filled(), embedded(4.2)["text"]
    corrected = method.mix(embedded(0.2), HERE).judged
    close(method.adversarial_loss(corrected, complete).mean(), [0.6952978185])
    close(method.discriminator(corrected)[0, 0], [0.4332164975, 0.2962559093])
    close(method.discriminator(complete)[1, 1], [0.1183189960, 0.0308260673])


def test_n4_reconstruction():
    method, tokens = filled(), embedded(0.2)
    close(method.reconstructors[1](tokens["audio"])[0, 0], [1.1371769308, 0.5545186861, -0.1184910321, -0.6812968715])
    had = torch.ones(2, 3, dtype=torch.bool)
    close(method.reconstruction_loss(tokens, embedded(4.2), had).mean(), [2.1929032109])


def test_n5_weighted_sum():
    method = filled()
    completeness = method.mix(embedded(0.2), HERE).completeness
    found = method.completeness_loss(completeness, torch.tensor([1.0, 0.4], dtype=torch.float64)).mean()
    close(found, [0.0838671693])
    task = method.objective(
        torch.tensor([[0.3], [-1.2]], dtype=torch.float64), torch.tensor([0.5, -0.2], dtype=torch.float64)
    ).mean()
    close(task, [0.52])
    terms = {"completeness": found, "adversarial": 0.6952978185, "reconstruction": 2.1929032109, "task": task}
    close(sum(method.weights[name] * value for name, value in terms.items()), [1.3710090283])


# 16.2


@pytest.mark.parametrize(
    ("experiment", "dims", "steps", "count"),
    [
        ("lnln_mosi", (768, 5, 20), (50, 375, 500), 6_483_012),
        ("lnln_mosei", (768, 74, 35), (50, 500, 500), 7_102_404),
        ("lnln_sims", (768, 33, 709), (39, 400, 55), 7_112_260),
    ],
)
def test_2_parameters_are_as_many_as_published_without_bert(experiment, dims, steps, count):
    sizes, longest = (dict(zip(("text", "audio", "vision"), each, strict=True)) for each in (dims, steps))
    schema = StoreSchema("d", "d/f", sizes, {"train": 9}, longest, {"multimodal": Target("score", range=(-3.0, 3.0))})
    config = compose_config([f"experiment={experiment}", "encoder@encoders.text=identity"])
    method = build_method(config, schema, dict.fromkeys(sizes, "values"))
    counts = {name: sum(p.numel() for p in part.parameters()) for name, part in method.named_children()}
    assert sum(counts.values()) + method.proxy_start.numel() == count
    if experiment == "lnln_mosi":
        assert counts["completeness_token"] + counts["completeness"] == 602_241
        assert (counts["proxy"], counts["discriminator"], counts["reconstructors"]) == (597_760, 8_386, 1_780_992)
        assert counts["fusion"] + counts["head"] == 1_487_233 + 1_024  # with h_0


# 16.3 to 16.5


def test_3_with_nothing_erased_both_passes_are_one():
    method, batch = made(), batch_of(range(5))
    erased = method.erased(batch, torch.zeros(5, 3, dtype=torch.float64), key=1)
    complete, again = method.embed(batch), method.embed(erased)
    assert all(torch.equal(complete[name], again[name]) for name in DIMS)
    expected = [(rec(again[name]) - again[name]).square().mean(dim=(1, 2)) for name, rec in
                zip(DIMS, method.reconstructors, strict=True)]  # fmt: skip
    found = method.reconstruction_loss(again, complete, batch.present)
    torch.testing.assert_close(found, torch.stack(expected).mean(dim=0))


@pytest.mark.parametrize(("logit", "kept"), [(1e4, True), (-1e4, False)])
def test_4_completeness_of_one_is_language_and_of_none_the_proxy(logit, kept):
    method, tokens = made(), embedded(0.2)
    method.completeness[-1].bias.data.fill_(logit)
    found = method.mix(tokens, HERE)
    torch.testing.assert_close(found.language, tokens["text"] if kept else found.proxy, rtol=0, atol=1e-12)


@pytest.mark.parametrize("reverse", ["all", "adversarial"])
def test_5_which_gradients_into_the_proxy_are_negated(reverse):
    method, tokens = made(reverse=reverse), embedded(0.2)
    found = method.mix(tokens, HERE)
    weight = found.completeness[:, None, None]
    unreversed = weight * tokens["text"] + (1 - weight) * found.proxy
    cotangent = sines(2, 2, 4, c=3.2)
    expected, judged, predicted = (
        torch.autograd.grad((d * cotangent).sum(), tokens["audio"], retain_graph=True)[0]
        for d in (unreversed, found.judged, found.language)
    )
    assert expected.abs().max() > 1e-4
    torch.testing.assert_close(judged, -expected)
    torch.testing.assert_close(predicted, -expected if reverse == "all" else expected)
    assert torch.equal(found.judged, found.language)


def test_detached_targets_get_no_gradient_from_reconstruction():
    for detach in (False, True):
        method, complete = made(detach_targets=detach), embedded(4.2)
        loss = method.reconstruction_loss(embedded(0.2), complete, torch.ones(2, 3, dtype=torch.bool)).sum()
        (gradient,) = torch.autograd.grad(loss, complete["audio"], allow_unused=True)
        assert (gradient is None) == detach


# 16.7 to 16.10


def test_7_a_step_is_the_same_in_any_order_and_another_in_the_next_epoch():
    def terms(order, epoch=0, **keys):
        method = made(**keys)
        method.position = (epoch, 5)
        return method.losses(batch_of(order, steps=8))["loss"]

    torch.testing.assert_close(terms([3, 1, 0, 2]), terms([0, 1, 2, 3]), rtol=1e-12, atol=0)
    assert terms([0, 1, 2, 3], epoch=1) != terms([0, 1, 2, 3])
    assert terms([0, 1, 2, 3], epoch=1, frozen=True) == terms([0, 1, 2, 3], frozen=True)


def test_8_prediction_needs_neither_reconstructors_nor_discriminator():
    method, batch = made(), batch_of(range(4))
    expected = method.predict(batch).score
    method.reconstructors, method.discriminator = nn.ModuleList(), nn.Identity()
    assert torch.equal(method.predict(batch).score, expected)
    assert method.validation_step(batch, 0)["loss"].shape == (4,)


def test_validation_is_erased_alike_in_every_epoch_at_its_rate():
    method, batch = made(valid_rate=0.9), batch_of(range(6))
    first = method.validation_step(batch, 0)
    method.position = (7, 1)
    again = method.validation_step(batch, 0)
    assert torch.equal(first["loss"], again["loss"])
    assert not torch.equal(first["prediction"].score, method.predict(batch).score)
    error = (method.correct(batch).completeness - 0.1).square().mean()  # roughly: the clips here are not erased
    assert float((first["total"] - first["loss"]).mean() / 0.9) == pytest.approx(float(error), abs=0.1)
    complete = made(valid_rate=0.0)
    assert torch.equal(complete.validation_step(batch, 0)["prediction"].score, complete.predict(batch).score)


def step_on(rank, shares):
    method = made()
    batch = share_of(shares, rank, absent=True)
    terms = method.losses(batch)
    terms["loss"].backward()
    for parameter in method.parameters():
        if len(shares) > 1:
            torch.distributed.all_reduce(parameter.grad)
            parameter.grad /= len(shares)
    return {name: value.detach() for name, value in terms.items()}, [p.grad for p in method.parameters()]


def test_9_two_ranks_are_one():
    one, gradients = step_on(0, (7,))
    (first, found), (second, _) = on_ranks(2, step_on, (4, 3))
    for name, value in one.items():
        assert float(first[name] + second[name]) / 2 == pytest.approx(float(value), rel=1e-9), name
    for a, b in zip(gradients, found, strict=True):
        torch.testing.assert_close(b, a, rtol=1e-6, atol=1e-10)


@pytest.mark.parametrize("keys", [{}, {"absent": "erase"}, {"masks": False}, {"unknown": "learned"}], ids=str)
def test_10_every_subset_predicts_and_absent_content_changes_no_bit(keys):
    method = made(**keys)
    batch, noisy = batch_of(range(7), absent=True), batch_of(range(7), absent=True)
    for m, stream in enumerate(noisy.streams.values()):
        stream.values = torch.where(noisy.present[:, m, None, None], stream.values, 30.0)
    score, without_text = method.predict(batch).score, ~batch.present[:, 0]
    assert score.isfinite().all()
    assert len(score.unique()) == 7
    assert torch.equal(score, method.predict(noisy).score)
    for name, value in method.losses(batch).items():
        torch.testing.assert_close(method.losses(noisy)[name], value, rtol=0, atol=1e-12)
    corrected = method.correct(batch)
    assert (corrected.completeness[without_text] == 0).all()
    assert torch.equal(corrected.language[without_text], corrected.proxy[without_text])


def test_padding_changes_nothing():
    method = made()
    scores = [method.predict(batch_of(range(5), steps=steps)).score for steps in (0, LONGEST + 3)]
    torch.testing.assert_close(*scores, rtol=0, atol=1e-12)


def test_terms_of_language_are_means_over_the_clips_that_have_it():
    method, batch = made(), batch_of(range(7), absent=True)
    keep = batch.present[:, 0].nonzero()[:, 0].tolist()
    whole = method.losses(batch)
    some = batch_of(keep)
    some = some.without(~batch.present[keep])
    for name in ("adversarial", "completeness"):
        torch.testing.assert_close(method.losses(some)[name], whole[name], rtol=1e-9, atol=0)


def test_reconstruction_is_a_mean_over_the_modalities_that_a_clip_has():
    method, batch = made(), batch_of(range(7), absent=True)
    embedded, zeros = method.embed(batch), {name: torch.zeros(7, 2, 4, dtype=torch.float64) for name in DIMS}
    found = method.reconstruction_loss(embedded, zeros, batch.present)
    squares = [rec(embedded[name]).square().mean(dim=(1, 2)) for name, rec in
               zip(DIMS, method.reconstructors, strict=True)]  # fmt: skip
    for clip, present in enumerate(batch.present.tolist()):
        has = [float(squares[m][clip]) for m in range(3) if present[m]]
        assert float(found[clip]) == pytest.approx(sum(has) / len(has))


# 16.12


@pytest.mark.slow  # 11 s
def test_12_completeness_is_learnt():
    torch.manual_seed(1)
    method = made(dim=16, tokens=4, heads=4, head_dim=8, feedforward=32, weights={"adversarial": 0.1}).train()
    optimizer = torch.optim.AdamW(method.parameters(), lr=3e-3)
    batch = batch_of(range(64), steps=10)
    for stream in batch.streams.values():  # of ten steps all, none of which is zero
        stream.values = 1 + 0.1 * torch.randn_like(stream.values)
        stream.mask, stream.lengths = torch.ones(64, 10, dtype=torch.bool), torch.full((64,), 10)
    found = []
    for epoch in range(150):
        method.position = (epoch, 0)
        terms = method.losses(batch)
        optimizer.zero_grad()
        terms["loss"].backward()
        optimizer.step()
        found.append(float(terms["completeness"].detach()))
    constant = np.mean([float(((1 - rate) - 0.75) ** 2) for rate in np.r_[np.zeros(10_000), np.arange(10_000) / 1e4]])
    assert constant == pytest.approx(5 / 48, abs=1e-3)
    assert np.mean(found[-20:]) < 0.03


# Runs, and what is refused


def test_a_run_of_token_ids_records_its_terms(tmp_path):
    pytest.importorskip("transformers")
    bert = [
        "encoder@encoders.text=bert",
        "encoders.text.random_init=true",
        f"encoders.text.model={tiny_bert(tmp_path)}",
    ]
    small = [
        "method.dim=8",
        "method.heads=2",
        "method.head_dim=4",
        "fusion.dim=8",
        "fusion.heads=2",
        "fusion.head_dim=4",
    ]
    ids = ["method.unknown_id=1", "trainer.max_epochs=1", "trainer.limit_batches=2"]
    here(tmp_path, "method=lnln", *bert, *small, *ids, f"run.dir={tmp_path / 'run'}")
    row = rows(tmp_path / "run" / "metrics.csv")[-1]
    for term in ("task", "completeness", "adversarial", "reconstruction", "mean_completeness"):
        assert math.isfinite(float(row[f"train/{term}"])), term
    assert row.keys() >= {"val/loss", "val/total"}


def test_ids_that_the_text_encoder_does_not_know_are_refused_by_name(tmp_path):
    pytest.importorskip("transformers")
    bert = [
        "encoder@encoders.text=bert",
        "encoders.text.random_init=true",
        f"encoders.text.model={tiny_bert(tmp_path)}",
    ]
    for keys, message in (
        ([], r"method\.unknown_id: expected what the tokenizer of 'text' has, below \d+, found 100"),
        (["method.unknown_id=1", "method.absent=erase"], r"method\.special_ids: .*found 101, 102"),
    ):
        with pytest.raises(ValueError, match=message):
            here(tmp_path, "method=lnln", *bert, *keys, f"run.dir={tmp_path / 'run'}")


def tiny_bert(folder):
    from transformers import BertConfig, BertModel

    from trivium.data.synthetic import SPECIAL, WORDS

    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    BertModel(BertConfig(vocab_size=WORDS + SPECIAL, **sizes)).save_pretrained(folder / "bert")
    return folder / "bert"


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"weights": {"reconstructon": 1.0}}, r"method\.weights\.reconstructon: no such term.*reconstruction"),
        ({"weights": {"task": -1.0}}, r"method\.weights\.task: expected a number from 0, found -1\.0"),
        ({"valid_rate": 1.5}, r"method\.valid_rate: expected a share of steps in \[0, 1\], found 1\.5"),
        ({"reverse": "none"}, r"method\.reverse"),
        ({"absent": "zeros"}, r"method\.absent"),
        ({"unknown": "mean"}, r"method\.unknown"),
        ({"language": "audio"}, r"fusion\.language: expected that of method\.language, 'audio', found 'text'"),
        ({"depth": 0}, r"method\.depth: expected at least 1, found 0"),
    ],
)
def test_wrong_settings_are_named(keys, message):
    with pytest.raises(ValueError, match=message):
        made(**keys)


def test_a_learned_word_is_refused_where_text_comes_as_ids():
    method = made()
    method.encoders["text"].reads = "tokens"
    parts = Parts(dict(method.encoders), method.fusion, MSE(), 9, 3.0, 0, longest=dict.fromkeys(DIMS, 9))
    with pytest.raises(ValueError, match=r"method\.unknown=learned: 'text' is read as token ids"):
        LNLN(parts, unknown="learned", unknown_id=1, **SIZES)


def test_any_other_modality_may_be_the_language_and_any_number_of_others_there():
    for dims in ({"eeg": 3}, {"eeg": 2, "hand": 4}):
        method = made(dims)
        batch = batch_of(range(4), dims=dims)
        assert method.predict(batch).score.isfinite().all()
        assert method.losses(replace(batch))["loss"].isfinite()
    method = made(language="audio", fusion_keys={"language": "audio"})
    assert method.predict(batch_of(range(4))).score.isfinite().all()
