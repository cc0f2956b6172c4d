"""MMIM against the values of its specification, computed by the public code in float64, and its terms' properties."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from mmim_cases import AUDIO, LABELS, MEMORY, TEXT, VISION, batch_of_vectors, fill, fill_q, on_vectors, trig
from torch import Tensor

from batches import share_of
from ranks import on_ranks
from trivium.config.compose import compose_config
from trivium.data.batch import Stream
from trivium.data.store import StoreSchema
from trivium.data.target import Target
from trivium.encoders.lstm import LSTM
from trivium.methods.build import build_method
from trivium.methods.mmim import MMIM
from trivium.objectives.barber_agakov import class_entropy, conditional_log_likelihood
from trivium.objectives.cpc import CPCPredictor, cpc_loss

DIMS = {"text": 5, "audio": 4, "vision": 8}
EXACT: dict[str, Any] = {"rtol": 0, "atol": 1e-9}
# Check 1: to 1e-9 in float64, to 1e-4 relative in float32
PRECISIONS = pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])


def close(found: Tensor | float, expected: Any, dtype: torch.dtype) -> None:
    """Compares numbers that were computed in dtype with the specification's."""
    tolerance = EXACT if dtype == torch.float64 else {"rtol": 1e-4, "atol": 0}
    assert not isinstance(found, Tensor) or found.dtype == dtype
    torch.testing.assert_close(
        torch.as_tensor(found, dtype=torch.float64).detach(), torch.tensor(expected, dtype=torch.float64), **tolerance
    )


def filled(**settings: object) -> MMIM:
    """The whole of section 11: one pair, one CPC a modality, the fusion; at the third batch, with a memory."""
    method = on_vectors(DIMS, pairs=[["text", "vision"]], **settings)
    fill_q(method)
    for name, k in (("text", 6), ("vision", 7), ("audio", 8)):
        fill(method.cpc.predictors[name][0], k)  # type: ignore[index, union-attr]
    for layer, k in ((method.fusion.layers[1], 11), (method.fusion.layers[4], 12), (method.head.out, 13)):  # type: ignore[index]
        fill(layer, k)
    method.position = (0, 2)
    method.memory = {"text__vision": [MEMORY]}
    return method.eval()


def whole_batch() -> Any:
    return batch_of_vectors({"text": TEXT, "audio": AUDIO, "vision": VISION}, LABELS)


# Acceptance check 1: the vectors


@PRECISIONS
def test_11_1_the_likelihood_of_a_pair_in_its_three_forms(dtype: torch.dtype) -> None:
    method = filled().to(dtype)
    q: Any = method.conditionals["text__vision"]
    x, y = TEXT.to(dtype, copy=True).requires_grad_(), VISION.to(dtype, copy=True).requires_grad_()
    mu, logvar = q(x)
    first = [0.851673038949, 0.447988583919, -0.162700965578, -0.672322893172]
    first += [-0.838914704906, -0.602147828730, -0.098062273151, 0.423596114578]
    close(mu[0], first, dtype)
    first = [-0.810168190682, -1.172103228555, -0.959829887860, -0.268438223057]
    first += [0.560685603473, 1.112688893240, 1.113210066207, 0.568574532089]
    close(logvar[0], first, dtype)
    plain = q.log_likelihood(x, y, normalised=False).mean()
    close(plain, -6.022934840819, dtype)
    close(plain - 0.5 * logvar.sum(dim=1).mean(), -5.986081196567, dtype)
    close(q.log_likelihood(x, y).mean(), -13.337589462204, dtype)
    for_x, for_y = torch.autograd.grad(plain, (x, y))
    close(for_x.norm(), 4.259329130561, dtype)
    close(for_y.norm(), 2.170760962218, dtype)


@PRECISIONS
def test_11_1_the_entropy_of_a_pair(dtype: torch.dtype) -> None:
    method = filled().to(dtype)
    y = VISION.to(dtype, copy=True).requires_grad_()
    rows = method.entropies["text__vision"](y)
    close(rows[0], [-0.457234552410, -0.631294836833], dtype)
    remembered, labels = MEMORY[0].to(dtype), MEMORY[1].to(dtype)
    spread = {}
    for name, of, of_memory in (("pos", LABELS > 0, labels > 0), ("neg", LABELS < 0, labels < 0)):
        spread[name] = torch.cov(torch.cat([rows[of.flatten()], remembered[of_memory.flatten()]]).T, correction=0)
    matrix = [0.141665963696, 0.167173075398, 0.167173075398, 0.215875227623]
    close(spread["pos"].flatten(), matrix, dtype)
    close(spread["pos"].logdet(), -5.938744962233, dtype)
    close(spread["neg"].logdet(), -5.498245644167, dtype)
    entropy = class_entropy(rows, LABELS.to(dtype), (remembered, labels), eps=0.0)
    close(entropy, -2.859247651600, dtype)
    (gradient,) = torch.autograd.grad(entropy, y)
    first = [0.028455809363, 0.095679314810, 0.022732399908, -0.083517534116]
    first += [-0.067414084999, 0.047451156576, 0.092800342601, 0.002196809308]
    close(gradient[0], first, dtype)


@PRECISIONS
@pytest.mark.parametrize(
    ("name", "k", "code", "transposed", "first", "halves"),
    [
        ("text", 6, 1.957080091460, 2.046912752919, -0.445282726674, (1.008599940675, 1.248001575130)),
        ("vision", 7, 1.524097779131, 1.604480325264, -0.598810875017, (1.184022349542, 0.884658064681)),
        ("audio", 8, 1.699245232528, 1.661818535316, 0.604196218346, (1.061637878756, 1.113181559102)),
    ],
)
def test_11_2_cpc_in_both_directions_and_on_half_batches(
    name: str, k: int, code: float, transposed: float, first: float, halves: tuple[float, float], dtype: torch.dtype
) -> None:
    vectors = {"text": TEXT, "audio": AUDIO, "vision": VISION}[name].to(dtype)
    joint = trig(6, 6, 0.5, 0.9, -0.2).to(dtype)
    predictor = CPCPredictor(6, DIMS[name]).double()
    fill(predictor[0], k)
    predictor.to(dtype)
    cosine = torch.nn.functional.cosine_similarity(predictor(joint)[0], vectors[0], dim=0)
    close(cosine, first, dtype)
    close(cpc_loss(predictor(joint), vectors, "code").mean(), code, dtype)
    close(cpc_loss(predictor(joint), vectors, "paper").mean(), transposed, dtype)
    for half, value in zip((slice(0, 3), slice(3, 6)), halves, strict=True):
        close(cpc_loss(predictor(joint[half]), vectors[half], "code").mean(), value, dtype)


@PRECISIONS
def test_11_2_cpc_with_three_layers(dtype: torch.dtype) -> None:
    predictor = CPCPredictor(6, 4, layers=3).double()
    for layer, k in zip([part for part in predictor if hasattr(part, "weight")], (8, 9, 10), strict=True):
        fill(layer, k)
    joint = trig(6, 6, 0.5, 0.9, -0.2).to(dtype)
    close(cpc_loss(predictor.to(dtype)(joint), AUDIO.to(dtype), "code").mean(), 1.520532156864, dtype)


@PRECISIONS
def test_11_3_the_fusion_and_the_whole_loss_of_the_second_stage(dtype: torch.dtype) -> None:
    method = filled().to(dtype)
    method.memory = {"text__vision": [(MEMORY[0].to(dtype), MEMORY[1].to(dtype))]}
    vectors = {"text": TEXT, "audio": AUDIO, "vision": VISION}
    batch = batch_of_vectors({m: rows.to(dtype) for m, rows in vectors.items()}, LABELS.to(dtype))
    batch.weight = batch.weight.to(dtype)
    prediction = method.predict(batch)
    first = [0.545783523300, 0.060994665493, -0.495141633725, -0.725271941288, -0.702576171785, -0.380714995768]
    close(prediction.features[0], first, dtype)
    scores = [0.644513350669, 0.447755504840, 0.139455845596, -0.556697980033, -0.344774131975, -0.177053636120]
    close(prediction.score, scores, dtype)
    terms = {name: value.item() for name, value in method.losses(batch).items()}
    close(terms["task"], 0.971945913991, dtype)
    close(terms["ba_text_vision"], 6.022934840819, dtype)
    # The specification's value has no guard on the covariances, and CPC's joint vector is that of 11.2.
    assert -terms["entropy_text_vision"] == pytest.approx(-2.859247651600, abs=1e-2)
    cpc = sum(terms[f"cpc_{m}"] for m in DIMS)
    whole = terms["loss"] - 0.1 * cpc + 0.1 * 5.180423103119 - 0.1 * terms["entropy_text_vision"] + 0.1 * 2.859247651600
    close(whole, 2.378206473545, dtype)


@PRECISIONS
@pytest.mark.parametrize(
    ("bidirectional", "first", "last"),
    [
        (False, (-0.224530199598, -0.024784542048), (-0.050060506099, -0.055357816790)),
        (True, (-0.128627514875, -0.066987599150), (-0.059875353407, -0.024019429158)),
    ],
)
def test_11_4_the_encoder_of_audio_and_vision(
    bidirectional: bool, first: tuple[float, float], last: tuple[float, float], dtype: torch.dtype
) -> None:
    encoder = LSTM(
        2, hidden=3, out=2, bidirectional=bidirectional, dropout=0.0, input_dropout=0.0, pool="last", layers=1
    ).double()
    cells = [encoder.forward_cells[0], *encoder.backward_cells]
    with torch.no_grad():
        for n, cell in enumerate(cells):
            for kind, k in (("ih", 21 + 2 * n), ("hh", 22 + 2 * n)):
                weight, bias = cell.get_parameter(f"weight_{kind}_l0"), cell.get_parameter(f"bias_{kind}_l0")
                weight.copy_(0.5 * trig(*weight.shape, 0.7, 1.3, 0.5 * k))
                bias.copy_(0.1 * torch.cos(0.9 * torch.arange(len(bias)).double() + 0.4 * k))
        project: Any = encoder.project
        project.weight.copy_(0.5 * trig(*project.weight.shape, 0.7, 1.3, 12.5))
        project.bias.copy_(0.1 * torch.cos(0.9 * torch.arange(2).double() + 10.0))
    i, s, j = torch.meshgrid(*(torch.arange(size, dtype=torch.float64) for size in (4, 4, 2)), indexing="ij")
    lengths = torch.tensor([4, 4, 3, 2])
    mask = torch.arange(4) < lengths[:, None]
    values = torch.sin(1.1 * i + 0.8 * s - 0.6 * j + 0.5).masked_fill(~mask[..., None], 0.0)
    pooled = encoder.to(dtype)(Stream(values.to(dtype), mask, lengths)).pooled
    close(pooled[[0, 3]], [first, last], dtype)


# Terms


def test_5_a_class_without_rows_with_one_and_with_k_stays_finite_in_value_and_gradient() -> None:
    for labels in ([1.0] * 6, [1.0] * 5 + [-1.0], [1.0] * 4 + [-1.0] * 2, [0.0] * 6):
        method = filled()
        method.memory = {"text__vision": [(MEMORY[0][:1], MEMORY[1][:1])]}
        batch = batch_of_vectors({"text": TEXT, "audio": AUDIO, "vision": VISION}, torch.tensor(labels).double())
        terms = method.losses(batch)
        terms["loss"].backward()
        assert terms["loss"].isfinite()
        assert all(p.grad.isfinite().all() for p in method.parameters() if p.grad is not None)
        assert terms["singular"] == (1.0 if labels == [0.0] * 6 else 0.5)


def test_5_the_guard_hardly_moves_the_entropy_of_well_spread_classes() -> None:
    rows = torch.rand(200, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64) - 0.5
    labels = torch.tensor([1.0, -1.0] * 100, dtype=torch.float64)
    for sign in (1, -1):
        assert torch.linalg.eigvalsh(torch.cov(rows[labels == sign].T, correction=0)).min() > 0.02
    memory = (rows[:2], labels[:2])
    assert abs(class_entropy(rows, labels, memory) - class_entropy(rows, labels, memory, eps=0.0)) < 1e-2


def test_6_cpc_is_of_the_set_of_clips_and_its_directions_are_transposes() -> None:
    joint, order = trig(6, 4, 0.5, 0.9, -0.2), torch.tensor([3, 0, 5, 1, 4, 2])
    assert torch.allclose(cpc_loss(joint[order], AUDIO[order], "code").mean(), cpc_loss(joint, AUDIO, "code").mean())
    torch.testing.assert_close(cpc_loss(joint, AUDIO, "code"), cpc_loss(AUDIO, joint, "paper"))
    for value in (cpc_loss(joint, AUDIO, "code"), cpc_loss(joint, AUDIO, "paper")):
        assert math.log(1 + 5 * math.exp(-2)) <= value.mean() <= math.log(1 + 5 * math.exp(2))
    equal = torch.ones(6, 4).double()
    assert cpc_loss(equal, equal, "code").mean().item() == pytest.approx(math.log(6))


def test_6_a_vector_of_zeros_is_no_anchor_and_no_candidate() -> None:
    method = filled(ba_weight=0.0, cpc_weight=1.0)
    dead = AUDIO.clone()
    dead[2] = 0.0
    vectors = {"text": TEXT, "audio": dead, "vision": VISION}
    others = [0, 1, 3, 4, 5]
    without = batch_of_vectors({m: rows[others] for m, rows in vectors.items()}, LABELS[others])
    found = method.losses(batch_of_vectors(vectors, LABELS))["cpc_audio"]
    torch.testing.assert_close(found, method.losses(without)["cpc_audio"])


def test_7_the_plain_likelihood_is_at_most_0_and_rises_with_any_variance() -> None:
    q: Any = filled().conditionals["text__vision"]
    mu, logvar = q(TEXT)

    def lld(y: Tensor, more: float, normalised: bool) -> float:
        return float(conditional_log_likelihood(mu, logvar + more, y, normalised=normalised).mean())

    assert lld(mu, 0, False) == 0.0
    assert lld(VISION, 0, False) < lld(VISION, 2, False) < lld(VISION, 9, False) < 0
    assert lld(VISION, 9, True) < lld(VISION, 2, True)


def test_8_every_term_the_memory_and_the_gradient_of_three_ranks_are_those_of_one() -> None:
    shares = (4, 3, 0)
    one = _stepped(0, (7,))
    found = on_ranks(3, _stepped, shares)
    for name, value in one["terms"].items():
        torch.testing.assert_close(sum(rank["terms"][name] for rank in found) / 3, value)
    for name, value in one["gradients"].items():
        torch.testing.assert_close(sum(rank["gradients"][name] for rank in found) / 3, value, msg=name)
    for rank in found:
        torch.testing.assert_close(rank["memory"], one["memory"])


def _stepped(rank: int, shares: tuple[int, ...]) -> dict[str, Any]:
    torch.manual_seed(0)
    method = on_vectors({"text": 5, "audio": 3, "vision": 4}, cpc_weight=0.5, ba_weight=0.3, stages="one")
    for step in range(3):
        method.position = (0, step)
        terms = method.losses(share_of(shares, rank, absent=True))
    weights = {name: p for name, p in method.named_parameters() if p.requires_grad}
    gradients = {}
    for term, value in terms.items():
        found = (
            torch.autograd.grad(value, list(weights.values()), retain_graph=True, allow_unused=True)
            if value.requires_grad
            else ()
        )
        gradients |= {f"{name} by {term}": g for name, g in zip(weights, found, strict=False) if g is not None}
    return {"terms": {n: v.detach() for n, v in terms.items()}, "gradients": gradients, "memory": method.memory}


def test_n_1_a_batch_of_one_clip_has_no_contrast_and_is_finite() -> None:
    method = filled()
    alone = batch_of_vectors({"text": TEXT[:1], "audio": AUDIO[:1], "vision": VISION[:1]}, LABELS[:1])
    terms = method.losses(alone)
    assert [terms[f"cpc_{m}"].item() for m in DIMS] == [0.0] * 3
    assert terms["loss"].isfinite()
    assert method.predict(alone).score.shape == (1,)


def test_one_stage_gives_q_the_gradient_of_the_first_stage_and_the_others_that_of_the_second() -> None:
    two, one, batch = filled(), filled(stages="one"), whole_batch()
    losses = [method.losses(batch)["loss"] for method in (two, one)]
    torch.testing.assert_close(losses[0], losses[1])
    for loss in losses:
        loss.backward()
    for (name, a), (_, b) in zip(two.named_parameters(), one.named_parameters(), strict=True):
        if name.startswith("conditionals"):
            assert a.grad is None
        elif a.grad is not None:
            torch.testing.assert_close(b.grad, a.grad)
    q: Any = two.conditionals["text__vision"]
    (-q.log_likelihood(TEXT, VISION, normalised=False).mean()).backward()
    for (_, a), (_, b) in zip(q.named_parameters(), one.conditionals["text__vision"].named_parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad)


def test_10_a_conditional_stand_in_is_q_s_mean_and_sends_it_no_gradient_from_the_task() -> None:
    absent = {"vision": torch.tensor([True, False] * 3)}
    batch = batch_of_vectors({"text": TEXT, "audio": AUDIO, "vision": VISION}, LABELS, absent)
    method = filled(stand_in="conditional", ba_weight=0.0)
    mean: Tensor = method.conditionals["text__vision"].mu(TEXT)  # type: ignore[operator, assignment]
    filled_in = torch.where(absent["vision"][:, None], mean, VISION)
    expected = method.predict(batch_of_vectors({"text": TEXT, "audio": AUDIO, "vision": filled_in}, LABELS))
    torch.testing.assert_close(method.predict(batch).score, expected.score)
    method.losses(batch)["task"].backward()
    assert all(parameter.grad is None for parameter in method.conditionals.parameters())
    plain = filled(ba_weight=0.0).predict(batch).score
    assert not torch.allclose(plain, expected.score)


def test_10_each_term_is_the_public_one_of_the_clips_that_have_its_modalities() -> None:
    gone = torch.tensor([False, True, False, False, True, False])
    batch = batch_of_vectors({"text": TEXT, "audio": AUDIO, "vision": VISION}, LABELS, {"vision": gone})
    both = batch_of_vectors({"text": TEXT[~gone], "audio": AUDIO[~gone], "vision": VISION[~gone]}, LABELS[~gone])
    found, expected = filled().losses(batch), filled().losses(both)
    for name in ("cpc_vision", "ba_text_vision", "entropy_text_vision"):
        torch.testing.assert_close(found[name], expected[name])


def test_11_the_bound_of_a_fitted_q_rises_with_the_correlation() -> None:
    bounds = []
    for correlation in (0.0, 0.5, 0.9):
        draw = torch.Generator().manual_seed(2)
        method = on_vectors({"text": 3, "vision": 3}, pairs=[["text", "vision"]])
        q: Any = method.conditionals["text__vision"]
        optimizer = torch.optim.Adam(q.parameters(), lr=1e-2)
        for _ in range(400):
            x, noise = torch.randn(2, 64, 3, generator=draw, dtype=torch.float64)
            y = correlation * x + math.sqrt(1 - correlation**2) * noise
            optimizer.zero_grad()
            loss = -q.log_likelihood(x, y).mean()
            loss.backward()
            optimizer.step()
        bounds.append(-float(loss))
    assert bounds[0] < bounds[1] - 0.2 < bounds[2] - 0.4


# Section 10: numbers of parameters, without the text encoder


@pytest.mark.parametrize(
    ("text", "vision", "audio", "more", "count"),
    [
        (768, 20, 5, ["encoder.bidirectional=false"], 277_257),
        (768, 20, 5, [], 281_673),
        (768, 35, 74, [], 292_425),
        (768, 709, 33, [], 373_449),
        (128, 20, 5, [], 76_233),
    ],
)
def test_10_it_has_the_public_code_s_number_of_parameters(
    text: int, vision: int, audio: int, more: list[str], count: int
) -> None:
    config = compose_config(["method=mmim", "encoder=published/mmim", "encoder@encoders.text=identity", *more])
    dims = {"text": text, "audio": audio, "vision": vision}
    schema = StoreSchema(
        "x", "x/y", dims, {"train": 8}, dict.fromkeys(dims, 4), {"multimodal": Target("score", range=(-3.0, 3.0))}
    )
    method = build_method(config, schema, dict.fromkeys(dims, "values"))
    assert sum(parameter.numel() for parameter in method.parameters()) == count
