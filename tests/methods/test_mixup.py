"""Mixup in supervised training and Self-MI against dense matrices, and what must hold of weights, ranks and absence.

Legend: N clips of the global batch, A (N, N) the dense mixing matrix, M modalities.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from batches import DIMS, batch_of, share_of
from ranks import on_ranks
from trivium.data.batch import Batch, Stream
from trivium.data.mixing import draw_mixing
from trivium.encoders.base import Encoded, Encoder
from trivium.encoders.gru import GRU
from trivium.fusions.concat import Concat
from trivium.fusions.transformer import TransformerFusion
from trivium.methods.base import Method, Parts
from trivium.methods.mixup import mix_encoded
from trivium.methods.options import split_options
from trivium.methods.selfmi import SelfMI
from trivium.methods.supervised import Supervised
from trivium.objectives.task import L1, MSE, CrossEntropy

CLIPS = 7
KINDS = ["input", "manifold", "one", "series"]
OBJECTIVES = {
    "l1": L1,
    "mse": MSE,
    "classes": lambda: CrossEntropy((-3.0, 3.0), classes=5, label_smoothing=0.1),
}


class Words(Encoder):
    """Reads token ids."""

    reads = "tokens"

    def __init__(self, in_dim: int) -> None:
        super().__init__()
        self.table, self.dim = nn.Embedding(in_dim, 4), 4

    def forward(self, stream: Stream) -> Encoded:
        tokens = self.table(stream.values).masked_fill(~stream.mask[..., None], 0.0)
        return Encoded(tokens, stream.mask, tokens.sum(dim=1))


def made(
    kind: str = "none",
    *,
    method: type[Method] = Supervised,
    fusion: str = "concat",
    objective: str = "l1",
    words: bool = False,
    **settings: Any,
) -> Any:
    """float64, with the same weights for the same fusion and objective, in the middle of the first epoch."""
    torch.manual_seed(0)
    encoders: dict[str, Encoder] = {
        name: GRU(size, hidden=4, out=6, pool="meanmax", bidirectional=True) for name, size in DIMS.items()
    }
    if words:
        encoders["text"] = Words(9)
    if fusion == "tokens":
        dims = {name: encoder.token_dim or encoder.dim for name, encoder in encoders.items()}
        joint: Any = TransformerFusion(dims, dim=8, heads=2, layers=2)
    else:
        joint = Concat({name: encoder.dim for name, encoder in encoders.items()}, out=7)
    options, settings = split_options({"mixup": kind, **settings}, method.shared_options)
    parts = Parts(encoders, joint, OBJECTIVES[objective](), CLIPS, 3.0, 5, options)
    built = method(parts, **settings).double()
    built.position = (0, 2)
    if isinstance(built, SelfMI):
        built.bank.start(batch_of(range(CLIPS)).targets["multimodal"])
    return built


def head_of(method: Any) -> nn.Module:
    return method.joint_head if isinstance(method, SelfMI) else method.head  # type: ignore[no-any-return]


# The mixed loss in dense matrices


def matrix(method: Method, layer: str, clips: int) -> Tensor:
    return draw_mixing(method.step_key("mixup", layer), 1.0, torch.ones(clips, dtype=torch.bool)).matrix()


def shared(a: Tensor, flags_NX: Tensor) -> Tensor:
    """What all have that row i of A mixes."""
    return torch.stack([flags_NX[row > 0].all(dim=0) for row in a])


def reached(a: Tensor, flags_NX: Tensor) -> Tensor:
    return torch.stack([flags_NX[row > 0].any(dim=0) for row in a])


def times(a: Tensor, values: Tensor) -> Tensor:
    return torch.einsum("ij,j...->i...", a, values)


def dense_inputs(batch: Batch, a: Tensor) -> Batch:
    streams = {}
    for name, stream in batch.streams.items():
        mask = reached(a, stream.mask)
        streams[name] = Stream(times(a, stream.values), mask, mask.sum(dim=1))
    return replace(batch, streams=streams, present=shared(a, batch.present))


def dense_encoded(encoded: dict[str, Encoded], present: Tensor, a: Tensor) -> tuple[dict[str, Encoded], Tensor]:
    here, out = shared(a, present), {}
    for m, (name, one) in enumerate(encoded.items()):
        mask = reached(a, one.mask) & here[:, m, None]
        out[name] = Encoded(
            times(a, one.tokens) * mask[..., None], mask, times(a, one.pooled) * here[:, m, None].double()
        )
    return out, here


def dense_loss(method: Any, batch: Batch, layers: list[str]) -> Tensor:
    clips = len(batch)
    labels = torch.eye(clips, dtype=torch.float64)
    if "input" in layers:
        labels = matrix(method, "input", clips)
        batch = dense_inputs(batch, labels)
    encoded, present = method.encode(batch), batch.present
    if "manifold" in layers:
        a = matrix(method, "manifold", clips)
        encoded, present = dense_encoded(encoded, present, a)
        labels = a @ labels
    outputs, target = head_of(method)(method.fuse(encoded, present)), batch.targets["multimodal"]
    if isinstance(method.objective, CrossEntropy):
        hard = nn.functional.one_hot(method.objective.classes(target), 5).double()
        soft = labels @ (0.9 * hard + 0.1 / 5)
        loss = -(soft * outputs.log_softmax(dim=1)).sum(dim=1)
    else:
        error = outputs[:, 0] - labels @ target
        loss = error.abs() if isinstance(method.objective, L1) else error**2
    return (loss * present.any(dim=1)).sum() / clips


def layers_of(method: Method, kind: str) -> list[str]:
    if kind == "one":
        return ["manifold"] if method.step_key("mixup", "layer") % 2 else ["input"]
    return ["input", "manifold"] if kind == "series" else [kind]


def gradients(loss: Tensor, method: nn.Module) -> list[Tensor]:
    weights = list(method.parameters())
    found = torch.autograd.grad(loss, weights, allow_unused=True)
    return [torch.zeros_like(w) if g is None else g for w, g in zip(weights, found, strict=True)]


@pytest.mark.parametrize("absent", [False, True], ids=["whole", "absent"])
@pytest.mark.parametrize("fusion", ["concat", "tokens"])
@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("kind", KINDS)
def test_loss_and_gradient_are_those_of_dense_matrices(kind: str, objective: str, fusion: str, absent: bool) -> None:
    method = made(kind, fusion=fusion, objective=objective)
    batch = batch_of(range(CLIPS), absent=absent, steps=8)
    for step in (2, 5):
        method.position = (0, step)
        found, expected = method.losses(batch)["loss"], dense_loss(method, batch, layers_of(method, kind))
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
        theirs = gradients(expected, method)
        assert absent or all(float(g.abs().max()) > 0 for g in theirs)
        torch.testing.assert_close(gradients(found, method), theirs, rtol=0, atol=1e-12)


@pytest.mark.parametrize("fusion", ["concat", "tokens"])
def test_token_ids_are_mixed_as_what_their_encoder_gives(fusion: str) -> None:
    method, batch = made("manifold", fusion=fusion, words=True), batch_of(range(CLIPS))
    ids = batch.streams["text"].values[..., 0].mul(7).long() % 9
    batch.streams["text"] = replace(batch.streams["text"], values=ids)
    expected = dense_loss(method, batch, ["manifold"])
    torch.testing.assert_close(method.losses(batch)["loss"], expected, rtol=0, atol=1e-12)


def test_a_learned_stand_in_stands_in_for_what_a_mixed_clip_lacks() -> None:
    method, batch = made("series", stand_in="learned"), batch_of(range(CLIPS), absent=True)
    for vector in method.stand_ins.vectors:
        nn.init.normal_(vector)
    found, expected = method.losses(batch)["loss"], dense_loss(method, batch, ["input", "manifold"])
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    method.stand_ins = None
    assert not torch.equal(method.losses(batch)["loss"], found)


@pytest.mark.parametrize("tokens", [False, True])
def test_what_a_mixed_clip_lacks_reaches_a_fusion_zeroed_and_masked(tokens: bool) -> None:
    """As Method.encode gives it: a fusion need not look at presence."""
    method, batch = made(), batch_of(range(CLIPS), absent=True)
    mixing = draw_mixing(1, 1.0, torch.ones(CLIPS, dtype=torch.bool))
    mixed, present = mix_encoded(method.encode(batch), batch, mixing, tokens=tokens)
    assert torch.equal(present, shared(mixing.matrix(), batch.present))
    assert not present.all(dim=0).any()
    for m, one in enumerate(mixed.values()):
        lacking = ~present[:, m]
        assert not one.pooled[lacking].any()
        assert not one.mask[lacking].any()
        assert not one.tokens[~one.mask].any()
        assert one.mask.shape == one.tokens.shape[:2]
        assert one.mask[present[:, m], 0].all()


# Weights, and what the option leaves alone


@pytest.mark.parametrize("kind", KINDS)
def test_a_weight_divides_the_joint_loss_into_clean_and_mixed(kind: str) -> None:
    batch = batch_of(range(CLIPS), absent=True)
    clean, mixed = made().losses(batch)["loss"], made(kind).losses(batch)["loss"]
    terms = made(kind, mixup_weight=0.3).losses(batch)
    assert list(terms) == ["joint", "mixed", "loss"]
    torch.testing.assert_close(terms["joint"], clean, rtol=0, atol=1e-14)
    torch.testing.assert_close(terms["mixed"], mixed, rtol=0, atol=1e-14)
    torch.testing.assert_close(terms["loss"], 0.7 * clean + 0.3 * mixed, rtol=0, atol=1e-14)
    assert float((mixed - clean).abs().detach()) > 1e-3


@pytest.mark.parametrize("method", [Supervised, SelfMI])
def test_without_a_weight_nothing_is_mixed_or_computed(method: type[Method], monkeypatch: pytest.MonkeyPatch) -> None:
    batch = batch_of(range(CLIPS))
    expected = made(method=method).losses(batch)
    monkeypatch.setattr("trivium.methods.mixup.draw_mixing", None)
    found = made("series", method=method, mixup_weight=0.0).losses(batch)
    assert found.keys() == expected.keys()
    assert all(torch.equal(value, expected[name]) for name, value in found.items())


def test_supervised_does_not_compute_a_clean_pass_that_has_no_weight() -> None:
    method = made("input")
    calls = []
    method.encoders["text"].register_forward_hook(lambda *_: calls.append(1))
    method.losses(batch_of(range(CLIPS)))
    assert len(calls) == 1


@pytest.mark.parametrize("kind", ["input", "manifold", "series"])
@pytest.mark.parametrize("weight", [0.5, 1.0])
def test_selfmi_mixes_its_joint_loss_alone(kind: str, weight: float) -> None:
    batch = batch_of(range(CLIPS), absent=True)
    plain, method = made(method=SelfMI), made(kind, method=SelfMI, mixup_weight=weight)
    expected, terms = plain.losses(batch), method.losses(batch)
    assert set(terms) - set(expected) == {"mixed"}
    assert all(torch.equal(terms[name], value) for name, value in expected.items() if name != "loss")
    mixed = dense_loss(method, batch, layers_of(method, kind))
    torch.testing.assert_close(terms["mixed"], mixed, rtol=0, atol=1e-12)
    whole = expected["loss"] - weight * expected["joint"] + weight * mixed
    torch.testing.assert_close(terms["loss"], whole, rtol=0, atol=1e-12)
    banks = plain.bank.state(), method.bank.state()
    assert banks[0].keys() == banks[1].keys()
    assert all(torch.equal(value, banks[1][name]) for name, value in banks[0].items())


@pytest.mark.parametrize("kind", KINDS)
def test_evaluation_mixes_nothing(kind: str) -> None:
    batch = batch_of(range(CLIPS), absent=True)
    expected = made().eval().validation_step(batch, 0)
    found = made(kind).eval().validation_step(batch, 0)
    assert torch.equal(found["prediction"].score, expected["prediction"].score)
    assert torch.equal(found["loss"], expected["loss"])


# Steps


def test_one_takes_each_layer_in_half_of_the_steps_and_does_then_what_it_does() -> None:
    methods, batch = {kind: made(kind) for kind in ("one", "input", "manifold")}, batch_of(range(CLIPS))
    drawn = []
    for step in range(400):
        methods["one"].position = (1, step)
        drawn.append(layers_of(methods["one"], "one")[0])
        if step < 12:
            methods[drawn[-1]].position = (1, step)
            assert torch.equal(methods["one"].losses(batch)["loss"], methods[drawn[-1]].losses(batch)["loss"])
    assert len(set(drawn[:12])) == 2
    assert abs(drawn.count("input") - 200) < 4 * 10  # standard deviations of Binomial(400, 1/2)


def test_every_step_mixes_anew_and_the_same_step_alike() -> None:
    method, batch = made("series"), batch_of(range(CLIPS))
    losses = {}
    for position in ((0, 0), (0, 1), (1, 0)):
        method.position = position
        losses[position] = float(method.losses(batch)["loss"].detach())
        assert float(method.losses(batch)["loss"].detach()) == losses[position]
    assert len(set(losses.values())) == 3


def test_alpha_says_how_much_is_mixed() -> None:
    batch = batch_of(range(CLIPS))
    clean = float(made().losses(batch)["loss"].detach())

    def distance(alpha: float) -> float:
        method, found = made("input", mixup_alpha=alpha), []
        for step in range(10):
            method.position = (0, step)
            found.append(abs(float(method.losses(batch)["loss"].detach()) - clean))
        return sum(found)

    assert distance(1e-4) < 0.05 * distance(50.0)


# Absence


@pytest.mark.parametrize("kind", ["input", "manifold"])
def test_a_mixed_clip_without_any_modality_counts_nothing(kind: str) -> None:
    """One clip has audio alone, the other text: mixed with each other, both are empty."""
    batch = batch_of([5, 6], absent=True)
    assert batch.present.sum(dim=1).tolist() == [1, 1]
    assert not (batch.present[0] & batch.present[1]).any()
    method = made(kind)
    seen = set()
    for step in range(12):
        method.position = (0, step)
        swapped = not matrix(method, kind, 2).equal(torch.eye(2, dtype=torch.float64))
        loss = method.losses(batch)["loss"]
        assert (float(loss.detach()) == 0) == swapped
        assert all(float(g.abs().max()) == 0 for g in gradients(loss, method)) == swapped
        seen.add(swapped)
    assert seen == {True, False}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("fusion", ["concat", "tokens"])
def test_content_of_absent_modalities_reaches_no_loss_or_gradient(kind: str, fusion: str) -> None:
    found = []
    for junk in (0.0, 50.0):
        method, batch = made(kind, fusion=fusion), batch_of(range(CLIPS), absent=True)
        for m, stream in enumerate(batch.streams.values()):
            stream.values[~batch.present[:, m]] = junk
        loss = method.losses(batch)["loss"]
        found.append([loss.detach(), *gradients(loss, method)])
    torch.testing.assert_close(found[0], found[1], rtol=0, atol=1e-12)


# Two ranks

CASES: list[tuple[type[Method], str, str, str]] = [
    *((Supervised, kind, "concat", "l1") for kind in KINDS),
    (Supervised, "series", "tokens", "classes"),
    (SelfMI, "series", "tokens", "l1"),
    (SelfMI, "manifold", "concat", "mse"),
]
SHARES = [(4, 3), (1, 2), (1, 0)]


def step(case: tuple[type[Method], str, str, str], batch: Batch) -> list[Tensor]:
    kind_of, kind, fusion, objective = case
    method = made(kind, method=kind_of, fusion=fusion, objective=objective)
    loss = method.losses(batch)["loss"]
    return [loss.detach(), *gradients(loss, method)]


def of_rank(rank: int) -> list[list[Tensor]]:
    return [step(case, share_of(shares, rank, absent=True)) for case in CASES for shares in SHARES]


@pytest.fixture(scope="module")
def two() -> list[list[list[Tensor]]]:
    return on_ranks(2, of_rank)


@pytest.mark.parametrize("shares", SHARES, ids=str)
@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[0].__name__}-{'-'.join(case[1:])}")
def test_two_ranks_are_one_process(
    case: tuple[type[Method], str, str, str], shares: tuple[int, ...], two: list[list[list[Tensor]]]
) -> None:
    number = CASES.index(case) * len(SHARES) + SHARES.index(shares)
    one = step(case, batch_of(range(sum(shares)), absent=True))
    mean = [(a + b) / 2 for a, b in zip(two[0][number], two[1][number], strict=True)]
    torch.testing.assert_close(mean, one, rtol=0, atol=1e-10)
    assert float(one[0]) > 0


# Settings


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kind": "cut"}, r"method.mixup: expected one of none, input, manifold, one, series, found 'cut'"),
        ({"kind": "input", "mixup_alpha": 0.0}, r"method.mixup_alpha: expected a number above 0, found 0.0"),
        ({"kind": "none", "mixup_alpha": -1.0}, r"method.mixup_alpha: expected a number above 0, found -1.0"),
        ({"kind": "input", "mixup_alpha": float("nan")}, r"method.mixup_alpha: expected a number above 0, found nan"),
        ({"kind": "input", "mixup_weight": 1.5}, r"method.mixup_weight: expected a share in \[0, 1\], found 1.5"),
        ({"kind": "input", "mixup_weight": -0.1}, r"method.mixup_weight: expected a share in \[0, 1\], found -0.1"),
        *(
            (
                {"kind": kind, "words": True},
                rf"mixup={kind} mixes features, and the encoder of 'text' .* method.mixup=manifold",
            )
            for kind in ("input", "one", "series")
        ),
    ],
)
@pytest.mark.parametrize("method", [Supervised, SelfMI])
def test_wrong_settings_are_named(method: type[Method], settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        made(method=method, **settings)


@pytest.mark.parametrize("balance", ["ogm_ge", "mmpareto"])
def test_balancing_and_mixup_are_not_done_together(balance: str) -> None:
    with pytest.raises(ValueError, match=f"method.mixup=input does not go with method.balance={balance}"):
        made("input", objective="classes", balance=balance)
