"""Tests the learning imbalance: its formula, whose gradients it compares, and what a run records of it."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from driver import here, in_folder, rows
from pretended_gpu import GPU, pretended_gpu
from trivium.config.compose import compose_config
from trivium.data.batch import Batch
from trivium.methods.base import Method
from trivium.methods.learning_imbalance import LearningImbalance, gradient_size, imbalance
from trivium.methods.supervised import Supervised
from trivium.runs.assemble import assemble

NAMES = ("text", "audio", "vision")
GRU = "encoder=gru encoder.hidden=4 encoder.out=6"


# The formula


@pytest.mark.parametrize("modalities", [2, 3, 5])
def test_it_is_0_for_equal_sizes_and_at_most_the_root_of_m_minus_1(modalities: int) -> None:
    assert float(imbalance(torch.full((modalities,), 0.3, dtype=torch.float64))) == pytest.approx(0.0, abs=1e-15)
    alone = torch.zeros(modalities, dtype=torch.float64)
    alone[1] = 0.7
    assert float(imbalance(alone)) == pytest.approx(math.sqrt(modalities - 1))
    sizes = np.random.default_rng(0).random(modalities)
    assert float(imbalance(torch.from_numpy(sizes))) == pytest.approx(sizes.std() / sizes.mean())


def test_the_size_of_a_gradient_is_its_norm_over_the_root_of_the_number_of_entries() -> None:
    layer = nn.Linear(3, 4)
    assert float(gradient_size(list(layer.parameters()))) == 0.0
    layer.weight.grad = torch.arange(12.0).view(4, 3)
    expected = math.sqrt(sum(k * k for k in range(12))) / math.sqrt(16)  # the bias has no gradient, and counts
    assert float(gradient_size(list(layer.parameters()))) == pytest.approx(expected)


def watching(*sizes: float) -> tuple[LearningImbalance, list[nn.Parameter]]:
    """A measure of one parameter a modality."""
    parameters = [nn.Parameter(torch.zeros(1)) for _ in sizes]
    measure = LearningImbalance()
    measure._parameters = [[parameter] for parameter in parameters]
    return measure, parameters


def steps(measure: LearningImbalance, parameters: list[nn.Parameter], gradients: list[tuple[float, ...]]) -> None:
    for step in gradients:
        for parameter, size in zip(parameters, step, strict=True):
            parameter.grad = torch.full((1,), size)
        measure.measure()


def test_steps_without_any_gradient_or_with_one_that_is_not_finite_are_left_out() -> None:
    measure, parameters = watching(0.0, 0.0)
    steps(measure, parameters, [(1.0, 3.0), (0.0, 0.0), (math.inf, 1.0), (math.nan, 1.0), (2.0, 2.0)])
    assert measure.finish_epoch() == {"learning_imbalance": pytest.approx(0.25)}  # 0.5 and 0
    steps(measure, parameters, [(0.0, 0.0)])
    assert measure.finish_epoch() == {}
    steps(measure, parameters, [(0.0, 5.0)])
    assert measure.finish_epoch() == {"learning_imbalance": 1.0}
    assert measure.of_run() == {"learning_imbalance": pytest.approx((0.5 + 0.0 + 1.0) / 3)}
    assert LearningImbalance().of_run() == {}


def test_an_epoch_that_goes_on_from_its_state_has_the_same_mean_to_the_last_bit() -> None:
    gradients = [tuple(row) for row in np.random.default_rng(1).random((9, 3)).tolist()]
    whole, parameters = watching(0.0, 0.0, 0.0)
    steps(whole, parameters, gradients)
    expected = whole.finish_epoch()
    for cut in range(1, 9):
        before, parameters = watching(0.0, 0.0, 0.0)
        steps(before, parameters, gradients[:cut])
        after, parameters = watching(0.0, 0.0, 0.0)
        after.load_state_dict(json.loads(json.dumps(before.state_dict())))
        steps(after, parameters, gradients[cut:])
        assert after.finish_epoch() == expected
        assert after.of_run() == whole.of_run()


# Whose gradients

FEEDS = {
    "concat": f"{GRU} fusion=concat",
    "film": f"{GRU} fusion=film",
    "sum": f"{GRU} fusion=sum",
    "gated": f"{GRU} fusion=gated",
    "bigated": f"{GRU} fusion=bigated",
    "gmu": f"{GRU} fusion=gmu",
    "lowrank": f"{GRU} fusion=lowrank",
    "tensor": f"{GRU} fusion=tensor",
    "transformer": f"{GRU} fusion=transformer fusion.dim=8",
    "mult": f"{GRU} fusion=mult fusion.layers=1 fusion.width=10",
    "almt": f"{GRU} fusion=almt fusion.dim=16 fusion.heads=4 fusion.head_dim=4 fusion.feedforward=8",
    "tetfn": f"method=tetfn {GRU} fusion=tetfn fusion.width=10 fusion.layers=1",
    "selfmi": f"method=selfmi {GRU}",
    "mmim": f"method=mmim {GRU} method.stages=one",
    "tcmax": f"method=tcmax objective=tcmax {GRU} fusion=gmu",
    "comm": "method=comm encoder.feedforward=16 encoder.layers=1 method.head_hidden=[16] method.head_out=8",
    "gmc": f"method=gmc {GRU} fusion=concat",
    "m3ixup": f"method=m3ixup {GRU} fusion=concat",
    "misa": "method=misa fusion=misa encoder.hidden=4 method.dim=8 fusion.feedforward=16",
    "lnln": f"method=lnln {GRU} fusion=almt fusion.heads=4 fusion.head_dim=4 fusion.feedforward=8 method.dim=16 "
    "method.heads=4 method.head_dim=4 method.feedforward=8 method.hidden=8",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("imbalance")


def made(folder: Path, case: str) -> tuple[Method, Batch]:
    config = compose_config(in_folder(folder, *case.split(), "data.batch_size=16", "debug.no_dropout=true"))
    _, data, method = assemble(config)
    method._trainer = None
    return method, next(iter(data.loader("train", device=torch.device("cpu"), training=True)))


def matrices_with_a_gradient(method: Method, batch: Batch, modality: str) -> list[bool]:
    """Of each matrix that the modality alone is to feed: whether it has a gradient. A bias is fed by nothing."""
    method.zero_grad()
    method.losses(batch)["loss"].backward()  # type: ignore[no-untyped-call]
    own = [p for part in method.own_parts(modality) for p in part.parameters() if p.ndim > 1]
    return [p.grad is not None and bool(p.grad.any()) for p in own]


@pytest.mark.parametrize("case", list(FEEDS))
def test_parts_of_a_modality_have_no_gradient_without_it_and_have_one_from_it_alone(case: str, folder: Path) -> None:
    method, batch = made(folder, FEEDS[case])
    measure = LearningImbalance()
    measure.watch(method)
    assert len(measure._parameters) == 3
    for name in NAMES:
        others = [other for other in NAMES if other != name]
        absent = matrices_with_a_gradient(method, batch.restrict(others), name)
        if case == "almt" and name == "text":
            # The tokens that it learns go through the language's embedding without any language too.
            absent = absent[: sum(p.ndim > 1 for p in method.encoders[name].parameters())]
        assert not any(absent)
        assert any(matrices_with_a_gradient(method, batch, name))
    every = [id(p) for parameters in measure._parameters for p in parameters]
    assert len(every) == len(set(every))


def test_parts_of_a_fusion_are_among_them(folder: Path) -> None:
    for case, attribute in (("gmu", "project"), ("lowrank", "factors"), ("transformer", "adapt")):
        method, _ = made(folder, FEEDS[case])
        for m, name in enumerate(NAMES):
            assert method.own_parts(name) == [method.encoders[name], getattr(method.fusion, attribute)[m]]


@pytest.mark.parametrize(
    ("case", "told"),
    [
        (
            "encoder=identity fusion=concat",
            "'text' has none with method=supervised; give it an encoder that is trained",
        ),
        (f"{GRU} data.modalities=[text]", r"learning_imbalance=true compares modalities; found \['text'\] alone"),
        (f"method=mag_bert {GRU} fusion=concat", "'text' has none with method=mag_bert"),
    ],
)
def test_what_has_nothing_to_compare_is_refused(case: str, told: str, folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=rf"run\.learning_imbalance=true.*|{told}") as error:
        here(folder, *case.split(), "run.learning_imbalance=true", f"run.dir={tmp_path / 'run'}")
    assert error.match(told)


def test_encoders_without_parameters_do_where_the_fusion_has_some(folder: Path) -> None:
    method, _ = made(folder, "encoder=identity fusion=sum")
    LearningImbalance().watch(method)


def test_a_step_never_waits_for_a_gpu(folder: Path) -> None:
    method, _ = made(folder, f"{GRU} fusion=sum")
    with pretended_gpu() as waits:
        method = method.to(GPU)
        measure = LearningImbalance()
        measure.watch(method)
        measure.load_state_dict({"sum": 0.25, "steps": 2.0, "sum_before": 0.0, "steps_before": 0.0})
        for parameter in method.parameters():
            parameter.grad = torch.ones_like(parameter)
        before = len(waits)
        measure.measure()
        measure.measure()
        assert waits[before:] == []
        assert measure.finish_epoch() == {"learning_imbalance": pytest.approx(0.25 / 4)}


# What a run records


def test_a_run_records_each_epochs_mean_and_its_own_and_trains_as_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Worked out anew from the encoders' gradients, in numpy."""
    measured: list[float] = []

    def look(self: Any, optimizer: torch.optim.Optimizer) -> None:
        sizes = []
        for encoder in self.encoders.values():
            gradient = np.concatenate([p.grad.double().numpy().ravel() for p in encoder.parameters()])
            sizes.append(np.linalg.norm(gradient) / np.sqrt(len(gradient)))
        measured.append(np.std(sizes) / np.mean(sizes))

    settings = [*GRU.split(), "fusion=concat", "trainer.accumulate_grad_batches=2", "trainer.gradient_clip=0.1"]
    settings += ["trainer.max_epochs=2", "trainer.progress=off"]
    plain = here(tmp_path, *settings, f"run.dir={tmp_path / 'plain'}")
    monkeypatch.setattr(Supervised, "on_before_optimizer_step", look)
    result = here(tmp_path, *settings, "run.learning_imbalance=true", f"run.dir={tmp_path / 'run'}")
    per_epoch = np.array(measured).reshape(2, -1)
    assert per_epoch.shape[1] == 4  # 7 batches, two a step
    found = [float(row["train/learning_imbalance"]) for row in rows(tmp_path / "run" / "metrics.csv")]
    assert found == pytest.approx(per_epoch.mean(axis=1).tolist(), rel=1e-6)
    assert result["learning_imbalance"] == pytest.approx(per_epoch.mean(), rel=1e-6)
    assert 0 < result["learning_imbalance"] < math.sqrt(2)
    assert "learning_imbalance" not in plain
    assert plain["config_hash"] == result["config_hash"]
    assert plain["test"] == result["test"]
