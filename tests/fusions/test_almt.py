"""ALMT against the vectors and acceptance checks of its specification (section numbers in the names of tests).

The vectors were made by the public classes in float64.
"""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch

from batches import DIMS, LONGEST, batch_of, share_of
from driver import here
from ranks import on_ranks
from sine_filled import fill, sines
from trivium.config.compose import compose_config
from trivium.data.store import StoreSchema
from trivium.data.target import Target
from trivium.encoders.base import Encoded
from trivium.encoders.identity import Identity
from trivium.fusions.almt import ALMT, CrossFusion, HyperModalityLayer
from trivium.fusions.token_encoder import ModalityEmbedding
from trivium.methods.base import Parts
from trivium.methods.build import build_method
from trivium.methods.supervised import Supervised
from trivium.objectives.task import MSE

SMALL = {"dim": 4, "tokens": 2, "heads": 2, "head_dim": 3, "feedforward": 5}
BLOCK = {"heads": 2, "head_dim": 3, "feedforward": 5}
HERE = torch.ones(1, dtype=torch.bool)


# Check 1: to 1e-9 in float64, and in float32 to 1e-5 of a vector's largest entry
PRECISIONS = pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])


def close(found, expected):
    assert found.dtype in (torch.float32, torch.float64)
    tolerance = 1e-9 if found.dtype == torch.float64 else 1e-5 * np.abs(expected).max()
    np.testing.assert_allclose(found.detach().numpy().ravel(), expected, rtol=0, atol=tolerance)


# 15.1, 16: vectors


@PRECISIONS
def test_a1_one_hyper_modality_layer(dtype):
    layer = HyperModalityLayer(4, 2, heads=2, plain=False).double()
    fill(layer)
    language, audio, vision, hyper = (sines(1, 2, 4, c=c).to(dtype) for c in (0.1, 1.1, 2.1, 3.1))
    found = layer.to(dtype)(hyper, language, [audio, vision], [HERE, HERE])
    close(found, [1.0329804349, -0.4794445344, -1.4984303417, -1.5687931941,
                  0.8506030459, -1.6724614143, -1.9647022611, 0.2300520222])  # fmt: skip


@PRECISIONS
def test_a2_three_layers_and_the_gradient_of_their_first_hyper_modality(dtype):
    layers = [HyperModalityLayer(4, 2, heads=2, plain=False).double() for _ in range(3)]
    fill(*layers)
    others = [sines(1, 2, 4, c=3.2).to(dtype), sines(1, 2, 4, c=4.2).to(dtype)]
    start = torch.ones(1, 2, 4, dtype=dtype, requires_grad=True)
    hyper = start
    for layer, c in zip(layers, (0.2, 1.2, 2.2), strict=True):
        hyper = layer.to(dtype)(hyper, sines(1, 2, 4, c=c).to(dtype), others, [HERE, HERE])
    close(hyper, [-0.0925872771, 1.2521655595, 1.0229297110, -1.0863180430,
                  0.0424891299, 1.2201701207, 0.9336752594, -1.1156498584])  # fmt: skip
    (gradient,) = torch.autograd.grad((hyper * sines(1, 2, 4, c=5.2).to(dtype)).sum(), start)
    expected = [-2395.073904, 787.409946, 1494.153678, 113.510280, -2792.354670, 991.644143, 1904.187773, -103.477247]
    if dtype == torch.float64:
        np.testing.assert_allclose(gradient.numpy().ravel(), expected, rtol=1e-6)
    else:
        close(gradient, expected)


@PRECISIONS
def test_a3_embedding_of_a_modality(dtype):
    embed = ModalityEmbedding("x", 3, 4, 4, tokens=2, depth=1, **BLOCK).double()
    fill(embed)
    found = embed.to(dtype)(sines(1, 3, 3, c=0.3).to(dtype), torch.ones(1, 3, dtype=torch.bool), HERE)
    close(found, [0.4383180882, -0.0829216298, -0.5093591478, -0.7689691005,
                  -0.3101726881, -0.8254383086, -1.1300494525, -1.1716376096])  # fmt: skip


@PRECISIONS
def test_a4_last_fusion(dtype):
    cross = CrossFusion(4, 2, depth=1, **BLOCK).double()
    fill(cross)
    rows = cross.to(dtype)(sines(1, 2, 4, c=0.4).to(dtype), sines(1, 2, 4, c=1.4).to(dtype))
    close(rows[:, 0], [1.0020067110, 0.8357464360, 0.5672457973, 0.2487099866])
    close(rows[:, 1:].mean(dim=1), [1.3416436349, 0.8633161011, 0.2188721403, -0.4478379532])


def whole_network(**keys):
    """The network of vector A5 with what it reads: a supervised method on identity encoders."""
    values = {"text": sines(2, 3, 3, c=0.5), "audio": sines(2, 4, 2, c=1.5), "vision": sines(2, 5, 3, c=2.5)}
    fusion = ALMT({n: v.shape[2] for n, v in values.items()}, steps={n: v.shape[1] for n, v in values.items()},
                  **SMALL, **keys)  # fmt: skip
    encoders = {name: Identity(v.shape[2]) for name, v in values.items()}
    method = Supervised(Parts(encoders, fusion, MSE(), 2, 3.0, 0)).double()
    fill(fusion, method.head.out)
    batch = batch_of([0, 1], dims=fusion.dims)
    for name, stream in batch.streams.items():
        stream.values, stream.mask = values[name], torch.ones(values[name].shape[:2], dtype=torch.bool)
        stream.lengths = stream.mask.sum(dim=1)
    batch.targets["multimodal"] = torch.tensor([0.5, -0.5], dtype=torch.float64)
    return method, batch


@pytest.mark.parametrize(("readout", "expected"), [("token", [-0.9918935816, -1.0150892885]),
                                                   ("mean", [1.1414818652, 1.0985013397])])  # fmt: skip
@PRECISIONS
def test_a5_whole_network(readout, expected, dtype):
    method, batch = whole_network(readout=readout)
    method.to(dtype)
    for stream in batch.streams.values():
        stream.values = stream.values.to(dtype)
    batch.targets["multimodal"], batch.weight = batch.targets["multimodal"].to(dtype), batch.weight.to(dtype)
    close(method.predict(batch).score, expected)
    if readout == "token":
        close(method.losses(batch)["loss"], [1.2455317170])


# 15.2


@pytest.mark.parametrize(
    ("experiment", "dims", "steps", "count"),
    [
        ("almt_mosi", (768, 5, 20), (50, 375, 500), 2_603_649),
        ("almt_mosei", (768, 74, 35), (50, 500, 500), 3_223_041),
        ("almt_sims", (768, 33, 709), (39, 400, 55), 3_232_897),
    ],
)
def test_2_parameters_are_as_many_as_published_without_bert(experiment, dims, steps, count):
    sizes, longest = (dict(zip(("text", "audio", "vision"), each, strict=True)) for each in (dims, steps))
    schema = StoreSchema("d", "d/f", sizes, {"train": 9}, longest, {"multimodal": Target("score", range=(-3.0, 3.0))})
    config = compose_config([f"experiment={experiment}", "encoder@encoders.text=identity"])
    method = build_method(config, schema, dict.fromkeys(sizes, "values"))
    assert sum(parameter.numel() for parameter in method.parameters()) == count


# Small networks on made-up clips of 1 to 6 steps


def small(steps=LONGEST, dims=DIMS, **keys):
    torch.manual_seed(0)
    fusion = ALMT(dims, steps=dict.fromkeys(dims, steps), **{**SMALL, **keys})
    method = Supervised(Parts({n: Identity(size) for n, size in dims.items()}, fusion, MSE(), 9, 3.0, 0)).double()
    return method.eval()


def test_3_padding_changes_a_prediction_only_where_it_is_attended_to():
    batch, longer = batch_of(range(5)), batch_of(range(5), steps=LONGEST + 4)
    masked = small(LONGEST + 4)
    torch.testing.assert_close(masked.predict(batch).score, masked.predict(longer).score, rtol=0, atol=1e-12)
    shown = small(LONGEST + 4, masks=False)
    torch.testing.assert_close(shown.predict(batch).score, shown.predict(longer).score, rtol=0, atol=1e-12)
    assert (shown.predict(batch).score - masked.predict(batch).score).abs().min() > 1e-4


def test_a_store_with_longer_clips_shows_more_padding_to_a_network_without_masks():
    one, other = small(LONGEST + 4, masks=False), small(LONGEST, masks=False)
    state = one.state_dict()
    other.load_state_dict({k: v[: other.state_dict()[k].shape[0]] for k, v in state.items()})
    gap = (one.predict(batch_of(range(5))).score - other.predict(batch_of(range(5))).score).abs()
    assert gap.min() > 1e-5


def test_4_order_and_size_of_a_batch_do_not_matter():
    method = small()
    score = method.predict(batch_of(range(6))).score
    torch.testing.assert_close(method.predict(batch_of([3, 0, 5, 1, 2, 4])).score, score[[3, 0, 5, 1, 2, 4]])
    torch.testing.assert_close(method.predict(batch_of([4])).score, score[[4]])


def step_on(rank, shares):
    method = small(LONGEST + 2)
    losses, gradients = [], []
    optimizer = torch.optim.SGD(method.parameters(), lr=1e-3)
    for _ in range(3):
        loss = method.losses(share_of(shares, rank, absent=True))["loss"]
        optimizer.zero_grad()
        loss.backward()
        for parameter in method.parameters():
            if len(shares) > 1:
                torch.distributed.all_reduce(parameter.grad)
                parameter.grad /= len(shares)
        losses.append(loss.detach())
        gradients.append([parameter.grad.clone() for parameter in method.parameters()])
        optimizer.step()
    return losses, gradients


def test_5_two_ranks_are_one():
    one_losses, one = step_on(0, (7,))
    (first_losses, first), (second_losses, _) = on_ranks(2, step_on, (4, 3))
    for a, b, c in zip(one_losses, first_losses, second_losses, strict=True):
        assert float((b + c) / 2) == pytest.approx(float(a), rel=1e-6)
    torch.testing.assert_close(first, one, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize(
    "keys",
    [{}, {"masks": False}, {"absent": "zeros"}, {"masks": False, "absent": "zeros"},
     {"guide": "language", "readout": "mean"}, {"residual": "plain"}],
    ids=str,
)  # fmt: skip
def test_6_every_subset_predicts_and_absent_content_changes_no_bit(keys):
    method = small(**keys)
    batch, noisy = batch_of(range(7), absent=True), batch_of(range(7), absent=True)
    for m, stream in enumerate(noisy.streams.values()):
        stream.values = torch.where(noisy.present[:, m, None, None], stream.values, 30.0)
    score = method.predict(batch).score
    assert score.isfinite().all()
    assert torch.equal(score, method.predict(noisy).score)
    assert len(score.unique()) == 7


@pytest.mark.parametrize("readout", ["token", "mean"])
def test_language_without_the_others_is_read(readout):
    """The token attends to the hyper-modality alone, which would be a constant."""
    alone = batch_of(range(5)).restrict(["text"])
    assert len(small(readout=readout).predict(alone).score.unique()) == 5


def test_zeros_for_the_absent_differ_from_leaving_them_out():
    batch = batch_of(range(7), absent=True)
    left, zeros = small().predict(batch).score, small(absent="zeros").predict(batch).score
    has_all_others = batch.present[:, 1] & batch.present[:, 2]
    torch.testing.assert_close(left[has_all_others], zeros[has_all_others])
    assert ((left - zeros).abs()[~has_all_others] > 1e-6).all()


def test_7_the_first_hyper_modality_adds_nothing_whatever_its_constant():
    method, batch = small(), batch_of(range(4))
    score = method.predict(batch).score
    method.fusion.hyper.data.fill_(7.5)
    torch.testing.assert_close(method.predict(batch).score, score, rtol=0, atol=1e-9)


def test_9_doubling_what_a_layer_adds_to_counts_only_with_the_plain_residual():
    for plain in (False, True):
        torch.manual_seed(0)
        layer = HyperModalityLayer(4, 2, heads=2, plain=plain).double()
        hyper, language, *others = (sines(2, 2, 4, c=c) for c in (3.1, 0.1, 1.1, 2.1))
        counts = [torch.ones(2, dtype=torch.bool)] * 2
        hyper = 10 * hyper  # beside which the norm's epsilon is nothing
        gap = (layer(2 * hyper, language, others, counts) - layer(hyper, language, others, counts)).abs().max()
        assert (gap > 0.1) if plain else (gap < 1e-4)


def test_10_an_absent_modality_is_one_whose_values_are_nothing():
    layer = HyperModalityLayer(4, 2, heads=2, plain=False).double()
    hyper, language, *others = (sines(2, 2, 4, c=c) for c in (3.1, 0.1, 1.1, 2.1))
    here_, gone = torch.ones(2, dtype=torch.bool), torch.zeros(2, dtype=torch.bool)
    without = layer(hyper, language, others, [gone, here_])
    assert (without - layer(hyper, language, others, [here_, here_])).abs().max() > 1e-3
    layer.values[0].weight.data.zero_()
    torch.testing.assert_close(layer(hyper, language, others, [here_, here_]), without, rtol=0, atol=1e-12)


@pytest.mark.slow  # 10 s
def test_11_it_fits_32_clips():
    torch.manual_seed(0)
    fusion = ALMT(DIMS, steps=dict.fromkeys(DIMS, LONGEST), dim=32, heads=4, head_dim=16, feedforward=32)
    method = Supervised(Parts({n: Identity(size) for n, size in DIMS.items()}, fusion, MSE(), 32, 3.0, 0))
    batch = batch_of(range(32), dtype=torch.float32)
    optimizer = torch.optim.AdamW(method.parameters(), lr=1e-3)
    for _ in range(200):
        loss = method.losses(batch)["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert float(loss) < 0.01


def test_12_it_trains_end_to_end_on_features_of_text(tmp_path):
    settings = ["fusion=almt", "encoder=identity", "objective=mse", "optimizer=published/almt", "optimizer.lr=1e-3",
                "scheduler=warmup_cosine", "trainer.max_epochs=2", "fusion.dim=16"]  # fmt: skip
    result = here(tmp_path, *settings, f"run.dir={tmp_path / 'run'}")
    assert result["epochs"] == 2
    assert result["test"]["mae"] < 3


# The switches, and what is refused


def test_the_guide_says_which_side_attends_to_the_other():
    torch.manual_seed(0)
    fusion = small(guide="language").fusion
    scales, found = [], []
    fusion.cross.register_forward_hook(lambda _, sides, __: found.append(sides))
    fusion.layers[-1].register_forward_hook(lambda _, inputs, out: scales.append((out, inputs[1])))
    encoded = {n: Encoded(sines(2, 3, size, c=1.0), torch.ones(2, 3, dtype=torch.bool), sines(2, 1, size, c=1.0)[:, 0])
               for n, size in DIMS.items()}  # fmt: skip
    present = torch.ones(2, 3, dtype=torch.bool)
    fusion(encoded, present)
    ((hyper, language),), ((source, target),) = scales, found
    assert torch.equal(source, language)
    assert torch.equal(target, hyper)


def test_a_clip_longer_than_the_positions_is_refused_by_name():
    message = re.escape("modality 'text': expected clips of at most 3 steps")
    with pytest.raises(ValueError, match=message):
        small(3).predict(batch_of(range(6)))


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"dim": 6, "heads": 4}, r"dim: expected a multiple of heads \(4\), found 6"),
        ({"residual": "none"}, "residual"),
        ({"readout": "cls"}, "readout"),
        ({"guide": "text"}, "guide"),
        ({"absent": "drop"}, "absent"),
        ({"language": "speech"}, "language: expected one of the modalities text, audio, vision, found 'speech'"),
        ({"embed_depth": 0}, r"fusion\.embed_depth=0: expected tokens of size 4 \(fusion\.dim\) of 'text', found 5"),
        ({"embed_depth": -1}, "embed_depth: expected at least 0, found -1"),
    ],
)
def test_wrong_settings_are_named(keys, message):
    with pytest.raises(ValueError, match=message):
        small(**keys)


def test_tokens_that_were_not_embedded_have_to_be_as_many_as_expected():
    method = small(dims=dict.fromkeys(DIMS, 4), embed_depth=0)
    with pytest.raises(ValueError, match=r"expected 2 tokens \(fusion\.tokens\) of 'text'"):
        method.predict(batch_of(range(3), dims=dict.fromkeys(DIMS, 4), steps=LONGEST))
