"""A training step on two ranks of a pretended GPU each: what crosses between ranks is on the device, and the CPU's.

The collectives themselves are gloo's; NCCL's are not tested anywhere.
"""

from __future__ import annotations

import shlex
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from driver import in_folder
from pretended_gpu import GPU, pretended_gpu
from ranks import on_ranks
from trivium.config.compose import compose_config
from trivium.runs.assemble import assemble

SIZES = "encoder.feedforward=16 encoder.layers=1 method.head_hidden=[16] data.modalities=[text,audio]"
STEPS = (
    "method=supervised method.mixup=series encoder=gru",
    "method=supervised method.mixup=manifold encoder=transformer fusion=transformer",
    "method=supervised method.balance=ogm_ge objective=cross_entropy",
    "method=supervised method.balance=mmpareto objective=cross_entropy",
    "method=selfmi method.pair_estimator=ba method.update_from_epoch=1",
    "method=tcmax fusion=gated",
    "method=tcmax fusion=transformer objective.negatives=20 data.modalities=[text,audio]",
    "method=tcmax objective=unimodal fusion=share",
    f"method=comm method.head_out=8 {SIZES}",
    f"method=supcon objective=cross_entropy {SIZES}",
    "method=m3ixup fusion=concat",
)


def steps(rank: int, folder: Path, device: torch.device) -> list[float]:
    return [step(case, rank, folder, device) for case in STEPS]


def step(case: str, rank: int, folder: Path, device: torch.device) -> float:
    """The loss of the second step, which has seen the first one's update; of five clips, three on the first rank."""
    _, data, method = assemble(
        compose_config(
            in_folder(folder, *shlex.split(case), "data.batch_size=5", "trainer.limit_batches=2", "debug=exact")
        )
    )
    method.double().to(device)._trainer = SimpleNamespace(datamodule=data, accumulate_grad_batches=1, current_epoch=0)
    method.on_fit_start()
    assert method.make_optimizer is not None
    optimizer = method.make_optimizer(method)
    for number, batch in enumerate(data.loader("train", device=device, rank=rank, world=2, training=True)):
        for stream in batch.streams.values():
            stream.values = stream.values.double() if stream.values.is_floating_point() else stream.values
        optimizer.zero_grad()
        loss = method.training_step(batch, number)["loss"]
        loss.backward()  # type: ignore[no-untyped-call]
        method.on_before_optimizer_step(optimizer)
        optimizer.step()
    return float(loss.detach())


def on_a_gpu(rank: int, folder: Path) -> list[float]:
    with pretended_gpu():
        return steps(rank, folder, GPU)


def on_the_cpu(rank: int, folder: Path) -> list[float]:
    return steps(rank, folder, torch.device("cpu"))


def test_every_collective_is_on_the_device(tmp_path: Path) -> None:
    assemble(compose_config(in_folder(tmp_path)))  # the fixture, before two processes make it
    there, expected = on_ranks(2, on_a_gpu, tmp_path), on_ranks(2, on_the_cpu, tmp_path)
    for found, wanted in zip(there, expected, strict=True):
        assert found == pytest.approx(wanted, rel=1e-9)
