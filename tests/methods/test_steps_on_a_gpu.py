"""A training step, a validation step and a prediction on a device that is not the CPU, for every choice of method,
encoder, fusion, objective and optimiser: on a pretended GPU always, and with `pytest -m gpu` on a real one.

Everything is where it belongs, losses are those of the CPU, autocast to bfloat16 has no mismatch of types, and in a
step the host never waits for the device.
"""

from __future__ import annotations

import contextlib
import copy
import math
import os
import shlex
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from driver import ROOT, in_folder
from pretended_gpu import GPU, pretended_gpu
from trivium.config.compose import compose_config
from trivium.data.batch import Batch
from trivium.data.datamodule import DataModule
from trivium.data.synthetic import SPECIAL, WORDS
from trivium.methods.base import Method
from trivium.runs.assemble import assemble

COMM = (
    "encoder.feedforward=16 encoder.layers=1 method.head_hidden=[16,16] method.head_out=8 data.modalities=[text,audio]"
)
MULT = "fusion.layers=1 fusion.width=10 fusion.dim=12 encoder.hidden=6 encoder.out=12"
ALMT = "fusion.dim=16 fusion.heads=4 fusion.head_dim=4 fusion.feedforward=8"
LNLN = "method.dim=16 method.heads=4 method.head_dim=4 method.feedforward=8 method.hidden=8"
STEPS = (
    "method=supervised encoder=lstm fusion=concat objective=l1 optimizer=adamw",
    "method=supervised encoder=gru fusion=tensor objective=cross_entropy optimizer=sgd encoder.pool=last",
    "method=supervised data=fixture_classes data.sampler=balanced objective=cross_entropy "
    "objective.class_weights=balanced objective.focal_gamma=2",
    "method=supervised data=fixture_labels objective=binary_cross_entropy",
    "method=supervised encoder=identity fusion=sum objective=mse optimizer=adam method.stand_in=learned "
    "method.modality_dropout=0.3 method.modality_dropout_law=imder",
    "method=supervised encoder=transformer fusion=lowrank method.mixup=manifold objective=auto",
    "method=supervised fusion=film method.mixup=series objective=auto_mse",
    "method=supervised fusion=gmu method.balance=ogm_ge objective=cross_entropy",
    "method=supervised fusion=gated method.balance=mmpareto objective=cross_entropy encoder.pool=flatten",
    "method=supervised encoder=transformer encoder.pool=cls fusion=transformer method.mixup=manifold",
    "method=supervised encoder@encoders.text=bert",
    "method=supervised encoder@encoders.text=bert encoders.text.pool=mean encoders.text.finetune=false",
    f"method=supervised encoder=identity fusion=almt {ALMT}",
    f"method=supervised fusion=almt {ALMT} fusion.masks=false fusion.absent=zeros method.modality_dropout=0.3",
    "method=selfmi optimizer=selfmi method.update_from_epoch=1",
    "method=selfmi method.update_from_epoch=1 method.pair_estimator=ba method.ba_optimisation=separate "
    "method.modality_dropout=0.3 method.features=projected method.joint=hidden method.label_rule=tanh",
    "method=selfmi data=fixture_sims method.unimodal_targets=annotated method.mixup=one method.direction=symmetric",
    "method=selfmm method.faithful=true method.label_rule=centres",
    "method=tetfn fusion=tetfn fusion.width=10 fusion.layers=1 fusion.kernels.vision=3 method.update_from_epoch=1",
    "method=mmim optimizer=mmim",
    "method=mmim method.stages=one method.stand_in=conditional method.modality_dropout=0.3 method.direction=symmetric",
    "method=tcmax objective=tcmax fusion=share",
    "method=tcmax objective=tcmax fusion=bigated objective.negatives=50",
    "method=tcmax objective=tcmax fusion=gated objective.chunk=64 method.modality_dropout=0.3",
    "method=tcmax objective=unimodal fusion=cosine",
    "method=tcmax objective=joint fusion=transformer",
    "method=tcmax objective=tcmax_regression objective.negatives=-1 method.head_hidden=[8]",
    f"method=comm optimizer=comm {COMM}",
    f"method=comm method.faithful=true method.augment.default=multi_drop_consecutive+crop+permute+mixup {COMM}",
    f"method=cross {COMM}",
    f"method=cross_self {COMM}",
    f"method=simclr {COMM}",
    "method=supcon objective=cross_entropy encoder.feedforward=16 encoder.layers=1 data.modalities=[text,audio]",
    f"method=lnln {LNLN} {ALMT}",
    f"method=lnln fusion=transformer fusion.dim=16 {LNLN} method.unknown=learned method.modality_dropout=0.3 "
    "objective=cross_entropy",
    f"method=gmc fusion=mult {MULT} data.modalities=[text,audio]",
    "method=gmc fusion=concat method.weights.task=0 method.modality_dropout=0.3 method.modality_dropout_law=gcnet",
    "method=mag_bert encoder=gru fusion=concat encoder@encoders.audio=identity encoder@encoders.vision=identity "
    "method.modality_dropout=0.3",
    "method=misa fusion=misa encoder.hidden=4 method.dim=8 fusion.feedforward=16 method.modality_dropout=0.3 "
    "method.step_dropout=0.2",
    "method=misa optimizer=misa encoder=gru method.dim=8 method.similarity=adversarial method.absent_private=learned "
    "method.text_lengths=true method.faithful=true",
    "method=m3ixup fusion=concat",
    "method=m3ixup fusion=concat method.unimodal_mix=series method.adapt_members=modalities method.weights.task_mix=1 "
    "objective=cross_entropy",
    "method=m3ixup fusion=concat method.unimodal_mix=manifold method.adapt_members=learned method.update=features "
    "method.interpolation=slerp method.modality_dropout=0.3",
    "method=m3ixup fusion=concat method.unimodal_mix=input method.soft_targets=false method.explore_labels=perturbed",
)
# How long mixed clips are is known on the GPU alone, and these layers are laid out by it (real_steps.RealSteps). So is
# which clips lack text, and have placeholders instead.
WAITS = ("method=supervised encoder=transformer method.mixup=input", "method=mag_bert encoder=transformer")


@dataclass
class Seen:
    """losses: of each training step, and of its clips' validation after it. waits: of the training steps."""

    losses: list[float] = field(default_factory=list)
    waits: list[str] = field(default_factory=list)


@dataclass
class Device:
    """Where a case runs. waits: what makes the host wait there; the CPU leaves it empty, a pretended GPU fills it."""

    device: torch.device
    waits: list[str] = field(default_factory=list)

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        yield


class RealGpu(Device):
    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        torch.cuda.set_sync_debug_mode("warn")
        try:
            with warnings.catch_warnings(record=True) as told:
                warnings.simplefilter("always")
                yield
        finally:
            torch.cuda.set_sync_debug_mode("default")
        waits = [one for one in told if "synchronizing" in str(one.message)]
        self.waits += [f"{one.message} at {one.filename}:{one.lineno}" for one in waits]


@contextlib.contextmanager
def device_of(kind: str) -> Iterator[Device]:
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # these two lines are trainer.deterministic
    torch.use_deterministic_algorithms(True)
    try:
        if kind == "pretended":
            with pretended_gpu() as waits:
                yield Device(GPU, waits)
        else:
            yield RealGpu(GPU) if kind == "real" else Device(torch.device("cpu"))
    finally:
        torch.use_deterministic_algorithms(False)


KINDS = [
    "pretended",
    pytest.param(
        "real", marks=[pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")]
    ),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With the fixtures in it once they were asked for."""
    return tmp_path_factory.mktemp("steps")


def made(case: str, folder: Path) -> tuple[DataModule, Method]:
    overrides = [*shlex.split(case), *(tiny_bert(folder) if "=bert" in case else [])]
    config = compose_config(in_folder(folder, *overrides, "data.batch_size=4", "debug.no_dropout=true"))
    _, data, method = assemble(config)
    return data, method


def tiny_bert(folder: Path) -> list[str]:
    transformers = pytest.importorskip("transformers")
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 24}
    transformers.BertConfig(vocab_size=WORDS + SPECIAL, **sizes).save_pretrained(folder / "bert")
    return [f"encoders.text.model={folder / 'bert'}", "encoders.text.random_init=true"]


def steps(data: DataModule, method: Method, kind: str) -> Seen:
    """A training step of four clips, their validation and a prediction; elsewhere than on the CPU another step too,
    under autocast, and what probes read."""
    seen = Seen()
    with device_of(kind) as where:
        method = copy.deepcopy(method).to(where.device)
        method._trainer = SimpleNamespace(datamodule=data, accumulate_grad_batches=1, current_epoch=0, scaler=None)
        method.on_fit_start()
        assert method.make_optimizer is not None
        optimizer = method.make_optimizer(method)
        loader = iter(data.loader("train", device=where.device, training=True))
        next(loader)  # the epoch's order has travelled
        for number, autocast in enumerate([False] if kind == "cpu" else [False, True]):
            before = len(where.waits)
            with torch.autocast(where.device.type, torch.bfloat16, enabled=autocast):
                with where.watched():
                    batch = next(loader)
                    loss = train(method, optimizer, batch, number)
                seen.waits += where.waits[before:]
                seen.losses += [float(loss.detach()), evaluate(method, batch)]
                if autocast:
                    check_vectors(method, batch)
    return seen


def train(method: Method, optimizer: torch.optim.Optimizer, batch: Batch, number: int) -> torch.Tensor:
    method.train()
    optimizer.zero_grad()
    loss = method.training_step(batch, number)["loss"]
    with torch.autocast(loss.device.type, enabled=False):
        loss.backward()  # type: ignore[no-untyped-call]
        method.on_before_optimizer_step(optimizer)
        optimizer.step()
    return loss


@torch.no_grad()
def evaluate(method: Method, batch: Batch) -> float:
    """The validation loss."""
    output: dict[str, Any] = method.eval().validation_step(batch, 0)
    prediction = method.predict(batch.restrict(list(batch.streams)[:1]))
    assert bool(prediction.score.isfinite().all())
    return float(output["loss"].mean())


@torch.no_grad()
def check_vectors(method: Method, batch: Batch) -> None:
    for name, vectors in method.eval().vectors(batch).items():
        assert bool(vectors.isfinite().all()), name


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("case", STEPS)
def test_a_step_runs_there_as_on_the_cpu_and_never_waits(case: str, kind: str, folder: Path) -> None:
    data, method = made(case, folder)
    there, here = steps(data, method, kind), steps(data, method, "cpu")
    # The last bits differ by the kernels that a processor has, and Adam's first steps go by the signs of gradients.
    exact = 1e-3 if kind == "pretended" else 1e-2  # cuDNN's recurrent layers round to TF32
    assert there.losses[:2] == pytest.approx(here.losses, rel=exact)
    assert all(map(math.isfinite, there.losses))
    assert there.waits == []


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("case", WAITS)
def test_the_exceptions_wait_where_it_is_said(case: str, kind: str, folder: Path) -> None:
    there = steps(*made(case, folder), kind)
    assert there.waits
    if kind == "pretended":
        assert all("encoders/real_steps.py" in wait for wait in there.waits)


@pytest.mark.parametrize("group", ["method", "encoder", "fusion", "objective", "optimizer"])
def test_every_choice_is_among_the_steps(group: str) -> None:
    chosen = [word.split("=") for case in STEPS for word in case.split()]
    tried = {choice for key, choice in chosen if key.partition("@")[0] == group}
    assert tried >= {path.stem for path in (ROOT / "configs" / group).glob("*.yaml")}
