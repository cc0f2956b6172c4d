"""OGM-GE and MMPareto: coefficients by hand, gradients against separately computed ones, one process for two."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import optimize, special, stats
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from driver import here, rows
from ranks import on_ranks
from trivium.data.batch import Batch, Stream
from trivium.encoders.gru import GRU
from trivium.fusions.base import Fusion
from trivium.fusions.concat import Concat
from trivium.fusions.gmu import GMU
from trivium.fusions.sum import Sum
from trivium.fusions.transformer import TransformerFusion
from trivium.methods.balance import CANCELLED, add_noise, modulation, pareto_weights, true_class_means
from trivium.methods.base import Parts
from trivium.methods.options import split_options
from trivium.methods.supervised import Supervised
from trivium.objectives.task import L1, CrossEntropy, TaskObjective

CLIPS, STEPS, CLASSES = 11, 3, 3
SIZES = {"text": 5, "audio": 4, "vision": 3}
NAMES = list(SIZES)
DIMS = dict.fromkeys(NAMES, 4)


def fusion_of(name: str, dims: Mapping[str, int]) -> Fusion:
    if name == "tokens":
        return TransformerFusion(dims, layers=1, heads=2)
    kinds: dict[str, Any] = {"sum": Sum, "concat": Concat, "gmu": GMU}
    return kinds[name](dims, out=5)  # type: ignore[no-any-return]


def make(
    fusion: str = "concat", modalities: int = 3, objective: TaskObjective | None = None, **settings: Any
) -> Supervised:
    """float64, the same weights for the same fusion and modalities, in the middle of the first epoch."""
    torch.manual_seed(0)
    encoders: Any = {m: GRU(SIZES[m], hidden=4) for m in NAMES[:modalities]}
    objective = objective or CrossEntropy((-3.0, 3.0), classes=CLASSES)
    joint = fusion_of(fusion, dict(list(DIMS.items())[:modalities]))
    options, settings = split_options(settings, Supervised.shared_options)
    parts = Parts(encoders, joint, objective, CLIPS, 3.0, seed=1, options=options)
    method = Supervised(parts, **settings).double()
    method.position = (0, 2)
    return method


def batch(modalities: int = 3, seed: int = 0, absent: bool = False, rows: slice = slice(CLIPS)) -> Batch:
    """`absent`: some clips lack audio, others text. Audio says most of the label."""
    draw = torch.Generator().manual_seed(seed)
    label = torch.randint(-1, 2, (CLIPS,), generator=draw).double()
    present = torch.ones(CLIPS, modalities, dtype=torch.bool)
    if absent:
        present[2:5, 1], present[7, 0] = False, False
    streams = {}
    for m in NAMES[:modalities]:
        values = torch.randn(CLIPS, STEPS, SIZES[m], dtype=torch.float64, generator=draw)
        values = (values + (3 * label[:, None, None] if m == "audio" else 0))[rows]
        count = len(values)
        streams[m] = Stream(values, torch.ones(count, STEPS, dtype=torch.bool), torch.full((count,), STEPS))
    index = torch.arange(CLIPS)[rows]
    weight = torch.ones(len(index), dtype=torch.float64)
    return Batch(streams, present[rows], {"multimodal": label[rows]}, index, weight, (len(index),))


def gradients(module: nn.Module) -> dict[str, Tensor]:
    return {name: torch.zeros_like(p) if p.grad is None else p.grad.clone() for name, p in module.named_parameters()}


def backward(method: Supervised, *batches: Batch) -> dict[str, Tensor]:
    """Gradients of the accumulated losses."""
    method.zero_grad()
    for one in batches:
        method.losses(one)["loss"].backward()
    return gradients(method)


def close(actual: Any, expected: Any, tolerance: float = 1e-12) -> None:
    torch.testing.assert_close(actual, expected, rtol=tolerance, atol=tolerance)


def encoder_of(parameter: str) -> str | None:
    first, modality, *_ = parameter.split(".")
    return modality if first == "encoders" else None


# OGM-GE


def coefficients(method: Supervised, one: Batch) -> dict[str, float]:
    return {m: float(method.losses(one)[f"coefficient_{m}"]) for m in method.encoders}


def expected_coefficients(logits: Mapping[str, Any], one: Batch, alpha: float) -> dict[str, float]:
    """Equation 10 in numpy, with tanh, from each modality's logits (b, C)."""
    label = one.targets["multimodal"].numpy().astype(int) + 1
    means = {}
    for column, (m, values) in enumerate(logits.items()):
        true = special.softmax(np.asarray(values), axis=1)[np.arange(len(label)), label]
        means[m] = true[one.present[:, column].numpy()].mean()
    out = {}
    for m, mean in means.items():
        ratio = mean / np.mean([other for name, other in means.items() if name != m])
        out[m] = 1 - math.tanh(alpha * ratio) if ratio > 1 else 1.0
    return out


@pytest.mark.parametrize("modalities", [2, 3])
@pytest.mark.parametrize("absent", [False, True])
@torch.no_grad()
def test_coefficients_of_an_additive_score_read_each_branch_with_its_share_of_the_bias(
    modalities: int, absent: bool
) -> None:
    method, one = make("sum", modalities, balance="ogm_ge"), batch(modalities, absent=absent)
    assert isinstance(method.fusion, Sum)
    encoded, out = method.encode(one), method.head.out
    out.bias.copy_(torch.tensor([2.0, -1.0, 0.5]))
    logits = {
        m: project(encoded[m].pooled) @ out.weight.T + out.bias / modalities
        for m, project in zip(encoded, method.fusion.project, strict=True)
    }
    found = coefficients(method, one)
    assert found == pytest.approx(expected_coefficients(logits, one, 0.8), rel=1e-12)
    assert min(found.values()) < 0.5 < max(found.values()) == 1.0


@pytest.mark.parametrize("fusion", ["concat", "gmu", "tokens"])
@torch.no_grad()
def test_coefficients_of_another_score_read_each_modality_with_the_others_absent(fusion: str) -> None:
    """Clips that lack the modality are left out: a gate over no modality at all would be NaN."""
    method, one = make(fusion, balance="ogm_ge", ogm_alpha=0.3, head_hidden=[6]), batch(absent=True)
    logits = {m: method.predict(one.restrict([m])).outputs for m in NAMES}
    found = coefficients(method, one)
    assert found == pytest.approx(expected_coefficients(logits, one, 0.3), rel=1e-9)
    assert min(found.values()) < 1.0


def test_a_reading_of_nothing_does_not_count_even_if_it_is_nan() -> None:
    probability = torch.tensor([[0.25, math.nan], [0.5, 0.75], [0.75, math.nan]])
    here_BM = torch.tensor([[True, False], [True, True], [False, False]])
    mean, known = true_class_means(probability, here_BM)
    assert (mean.tolist(), known.tolist()) == ([0.375, 0.75], [True, True])
    assert true_class_means(probability[::2], here_BM[::2])[1].tolist() == [True, False]


def test_a_modality_that_no_clip_has_holds_nobody_back() -> None:
    known = torch.tensor([True, True, False])
    mean = torch.tensor([0.6, 0.3, 0.0], dtype=torch.float64)
    close(modulation(mean, known, 0.8)[1:], torch.ones(2, dtype=torch.float64))
    assert float(modulation(mean, known, 0.8)[0]) == pytest.approx(1 - math.tanh(1.6))
    close(modulation(mean, torch.tensor([True, False, False]), 0.8), torch.ones(3, dtype=torch.float64))
    assert 0 < float(modulation(torch.tensor([0.9, 1e-9]), torch.tensor([True, True]), 0.8)[0]) < 1e-5


@pytest.mark.parametrize("fusion", ["sum", "gmu", "tokens"])
def test_every_parameter_of_an_encoder_gets_its_gradient_times_the_coefficient(fusion: str) -> None:
    method, plain = make(fusion, balance="ogm_ge"), make(fusion)
    batches = [batch(absent=True), batch(seed=1)]
    factors = [coefficients(method, one) for one in batches]
    assert factors[0] != factors[1]
    found = backward(method, *batches)  # accumulated: each batch under its own coefficients
    separate = [backward(plain, one) for one in batches]
    for name, gradient in found.items():
        m = encoder_of(name)
        scales = [1.0, 1.0] if m is None else [factor[m] for factor in factors]
        close(gradient, sum(k * part[name] for k, part in zip(scales, separate, strict=True)))


@pytest.mark.parametrize("balance", ["ogm_ge", "mmpareto"])
def test_the_window_holds_its_last_epoch_and_nothing_later(balance: str) -> None:
    method, one = make(balance=balance, balance_until=4), batch()
    plain = backward(make(), one)
    method.position = (4, 0)
    inside = backward(method, one)
    assert any(not torch.allclose(inside[name], plain[name]) for name in plain)
    method.on_before_optimizer_step(torch.optim.SGD(method.parameters(), lr=1.0))
    method.position = (5, 0)
    terms = method.losses(one)
    assert {float(value) for name, value in terms.items() if name.startswith("coefficient")} == {1.0}
    after = backward(method, one)
    method.on_before_optimizer_step(torch.optim.SGD(method.parameters(), lr=1.0))
    close(gradients(method), after, 0)  # no noise
    if balance == "ogm_ge":
        assert all(torch.equal(after[name], plain[name]) for name in plain)
    else:
        assert all(torch.equal(after[name], plain[name]) for name in plain if encoder_of(name) is None)


def test_noise_has_the_deviation_of_the_gradient_before_it_was_scaled() -> None:
    draw = torch.Generator().manual_seed(0)
    weight, bias = nn.Parameter(torch.zeros(150, 200)), nn.Parameter(torch.zeros(150))
    gradient = 0.02 * torch.randn(150, 200, generator=draw) + 0.3
    weight.grad, bias.grad = 0.25 * gradient, torch.ones(150)
    add_noise([weight, bias], torch.tensor(0.25), key=7)
    noise = (weight.grad - 0.25 * gradient).flatten().numpy()
    assert noise.std() == pytest.approx(float(gradient.std()), rel=0.02)
    assert stats.kstest(noise / float(gradient.std()), "norm").pvalue > 0.01
    assert torch.equal(bias.grad, torch.ones(150))
    same = [nn.Parameter(torch.zeros(150, 200)) for _ in range(2)]
    for parameter in same:
        parameter.grad = gradient.clone()
    add_noise(same, torch.tensor(1.0), key=7)
    apart = [(parameter.grad - gradient).flatten().numpy() for parameter in same if parameter.grad is not None]
    assert abs(np.corrcoef(*apart)[0, 1]) < 0.03  # each parameter has draws of its own


def test_noise_reaches_the_encoders_weights_and_is_a_function_of_the_step() -> None:
    def noise(position: tuple[int, int]) -> dict[str, Tensor]:
        method = make(balance="ogm_ge")
        method.position = position
        before = backward(method, batch(), batch(seed=1))
        method.on_before_optimizer_step(torch.optim.SGD(method.parameters(), lr=1.0))
        return {name: after - before[name] for name, after in gradients(method).items()}

    first, again, other = noise((0, 2)), noise((0, 2)), noise((0, 3))
    for name, value in first.items():
        touched = encoder_of(name) is not None and value.ndim > 1
        assert bool((value != 0).all()) == touched, name
        assert torch.equal(value, again[name])
        assert torch.equal(value, other[name]) != touched
    a, b = first["encoders.text.forward_cells.0.weight_hh_l0"], first["encoders.audio.forward_cells.0.weight_hh_l0"]
    assert abs(np.corrcoef(a.flatten(), b.flatten())[0, 1]) < 0.5


def test_noise_of_accumulated_batches_is_sized_by_their_mean_coefficient() -> None:
    """The draws are one step's, so noises differ by the deviation of the gradient before it was scaled."""
    name, sizes, noises = "encoders.audio.forward_cells.0.weight_hh_l0", [], []
    for batches in ([batch()], [batch(), batch(seed=1, absent=True)]):
        method = make(balance="ogm_ge")
        factor = np.mean([coefficients(make(balance="ogm_ge"), one)["audio"] for one in batches])
        before = backward(method, *batches)[name]
        method.on_before_optimizer_step(torch.optim.SGD(method.parameters(), lr=1.0))
        sizes.append(float(before.std() / factor))
        noises.append(gradients(method)[name] - before)
    close(noises[1], noises[0] * sizes[1] / sizes[0], 1e-9)


# MMPareto


@pytest.mark.parametrize("seed", range(6))
def test_weights_are_the_shortest_combination_at_the_length_of_the_plain_sum(seed: int) -> None:
    rng = np.random.default_rng(seed)
    joint, own = rng.normal(size=40), 3 * rng.normal(size=40)
    own -= joint * (seed / 2)  # from hardly to strongly opposed
    a, b = pareto_weights(torch.from_numpy(joint), torch.from_numpy(own), 1.5).tolist()
    if joint @ own >= 0:
        assert (a, b) == (1.5, 1.5)
        return
    best = optimize.minimize_scalar(
        lambda share: np.linalg.norm(share * joint + (1 - share) * own),
        bounds=(0, 1),
        method="bounded",
        options={"xatol": 1e-12},
    )
    assert a / (a + b) == pytest.approx(best.x, abs=1e-6)
    final = a * joint + b * own
    assert np.linalg.norm(final) == pytest.approx(1.5 * np.linalg.norm(joint + own), rel=1e-9)
    assert final @ joint > 0  # no longer against either loss
    assert final @ own > 0


def test_weights_where_gradients_agree_vanish_or_cancel() -> None:
    x = torch.tensor([1.0, 2.0, -1.0])
    close(pareto_weights(x, 2 * x, 1.5), torch.tensor([1.5, 1.5]))
    close(pareto_weights(0 * x, x, 1.5), torch.tensor([1.5, 1.5]))
    close(pareto_weights(0 * x, 0 * x, 2.0), torch.tensor([2.0, 2.0]))
    close(pareto_weights(x[:0], x[:0], 2.0), torch.tensor([2.0, 2.0]))  # an encoder without parameters
    a, b = pareto_weights(x, -2 * x, 1.0).tolist()  # 2/3 x - 1/3 (2 x) is nothing, whatever it is multiplied with
    assert a / b == pytest.approx(2)
    assert 0 < a <= 2 / CANCELLED**0.5


def own_loss(method: Supervised, one: Batch, m: str) -> Tensor:
    column = NAMES.index(m)
    log_probability = method.unimodal_heads[m](method.encode(one)[m].pooled).log_softmax(dim=1)
    label = one.targets["multimodal"].long() + 1
    return -log_probability[torch.arange(CLIPS), label][one.present[:, column]].mean()


def of_loss(method: Supervised, loss: Tensor) -> dict[str, Tensor]:
    method.zero_grad()
    loss.backward()
    return gradients(method)


@pytest.mark.parametrize("fusion", ["concat", "tokens"])
def test_encoders_get_the_weighted_gradients_and_heads_their_plain_ones(fusion: str) -> None:
    method, one = make(fusion, balance="mmpareto"), batch(seed=5, absent=True)
    joint = of_loss(method, method.objective(method.predict(one).outputs, one.targets["multimodal"]).mean())
    own = {m: of_loss(method, own_loss(method, one, m)) for m in NAMES}
    found, terms = backward(method, one), method.losses(one)
    weights = {m: (float(terms[f"coefficient_{m}"]), float(terms[f"coefficient_unimodal_{m}"])) for m in NAMES}
    conflicts = set()
    for m in NAMES:
        flat = [torch.cat([g.flatten() for n, g in of.items() if encoder_of(n) == m]) for of in (joint, own[m])]
        conflicts.add(bool(flat[0] @ flat[1] < 0))
        assert weights[m] == pytest.approx(pareto_weights(flat[0], flat[1], 1.5).tolist(), rel=1e-9)
        assert terms[f"unimodal_{m}"].item() == pytest.approx(own_loss(method, one, m).item())
    assert conflicts == {True, False}
    for name, gradient in found.items():
        m = encoder_of(name)
        if m is None:
            close(gradient, joint[name] + sum(of[name] for of in own.values()))
        else:
            close(gradient, weights[m][0] * joint[name] + weights[m][1] * own[m][name], 1e-9)


def test_unimodal_heads_leave_the_initial_weights_of_all_else() -> None:
    balanced, plain = make(balance="mmpareto").state_dict(), make().state_dict()
    assert all(torch.equal(value, balanced[name]) for name, value in plain.items())
    assert {name.partition(".")[0] for name in balanced.keys() - plain.keys()} == {"unimodal_heads"}


# Both


class Step(nn.Module):
    """What DistributedDataParallel wraps: a training step's forward."""

    def __init__(self, method: Supervised) -> None:
        super().__init__()
        self.method = method

    def forward(self, one: Batch) -> Tensor:
        return self.method.losses(one)["loss"]


def train(rank: int, balance: str, all_shares: list[tuple[int, ...]]) -> dict[str, Tensor]:
    """Weights after a step of SGD for each of `all_shares`, clips being split over ranks in that way."""
    method = make("gmu", balance=balance)
    step: nn.Module = Step(method)
    if len(all_shares[0]) > 1:
        step = DistributedDataParallel(step)
    optimizer = torch.optim.SGD(method.parameters(), lr=0.1)
    for number, shares in enumerate(all_shares):
        start = sum(shares[:rank]) if shares[rank] else 0
        one = batch(seed=number, absent=True, rows=slice(start, start + max(1, shares[rank])))
        one.shares, one.rank = shares, rank
        one.weight = one.weight * (shares[rank] > 0)
        method.position = (0, number)
        optimizer.zero_grad()
        step(one).backward()
        method.on_before_optimizer_step(optimizer)
        optimizer.step()
    return copy.deepcopy(method.state_dict())


def train_both(rank: int, all_shares: list[tuple[int, ...]]) -> list[dict[str, Tensor]]:
    return [train(rank, balance, all_shares) for balance in ("ogm_ge", "mmpareto")]


def test_two_processes_train_as_one_with_uneven_shares_and_a_rank_without_clips() -> None:
    shares = [(6, 5), (2, 9), (CLIPS, 0)]
    alone = train_both(0, [(CLIPS,)] * len(shares))
    start = make("gmu").state_dict()
    for of_rank in on_ranks(2, train_both, shares):
        for found, expected in zip(of_rank, alone, strict=True):
            close(found, expected, 1e-10)
            assert any(not torch.allclose(expected[name], value) for name, value in start.items())


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"balance": "ogm"}, "method.balance: expected one of none, ogm_ge, mmpareto, found 'ogm'"),
        ({"balance": "ogm_ge", "objective": L1()}, "method.balance=ogm_ge needs objective=cross_entropy.*found L1"),
        ({"balance": "mmpareto", "modalities": 1}, r"found \['text'\] alone"),
        ({"balance_until": -1}, "method.balance_until: expected an epoch from 0, found -1"),
        ({"ogm_alpha": 0.0}, "method.ogm_alpha: expected a number above 0, found 0.0"),
        ({"pareto_gamma": -1.0}, "method.pareto_gamma: expected a number above 0, found -1.0"),
    ],
)
def test_settings_that_cannot_be_are_told_by_their_key(settings: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        make(**settings)


@pytest.mark.parametrize("balance", ["ogm_ge", "mmpareto"])
def test_a_balanced_run_learns(tmp_path: Path, balance: str) -> None:
    budget = ["trainer.max_epochs=5", "data.batch_size=40", "optimizer.lr=0.01", "trainer.progress=off"]
    lstm = ["encoder.hidden=16", "optimizer.groups.audio.lr=null", "objective=cross_entropy"]
    result = here(tmp_path, *budget, *lstm, f"method.balance={balance}", f"run.dir={tmp_path / 'run'}")
    assert result["test"]["mae"] < 0.5 * result["train_mean_mae"]["test"]
    assert result["test"]["acc_argmax"] > 0.4
    for m in NAMES:
        column = [float(row[f"train/coefficient_{m}"]) for row in rows(tmp_path / "run" / "metrics.csv")]
        assert all(0 < value < 1 if balance == "ogm_ge" else value > 0 for value in column)
