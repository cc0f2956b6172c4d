"""CoMM's training step, as a process: `python -m trivium.benchmark.comm TASK JSON`. Each function in TASKS is a task.

Legend: B clips, T steps of the longest clip, D features.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import cast

import numpy as np
import torch

from trivium.benchmark.child import BATCHES, Report, reports, timed
from trivium.benchmark.plain_comm import PlainCoMM, plain_view
from trivium.data.batch import Batch, Stream
from trivium.methods.base import Method
from trivium.methods.comm import CoMM

DIMS = {"vision": 20, "text": 300}  # MOSI's in MultiBench
CLIPS = 64
LONGEST, MEAN, SHAPE = 50, 12.0, 2.0  # steps; gamma-distributed, which puts the 90th percentile at 23, as in MOSI
Step = Callable[[Batch], None]


def compare(report: Report, *, lengths: str, steps: int, warm_up: int, overrides: Sequence[str] = ()) -> None:
    """Steps of both sides in turn, on the same batches: {"steps": {"mean", "p90", "max", "padded"}, "ours":
    [{"seconds", "cpu_seconds"}, ...], "plain": [...]}. "padded" is the mean T.
    """
    made = batches(lengths)
    sides = {"ours": our_step(build(overrides)), "plain": plain_step(build(overrides))}
    times: dict[str, list[dict[str, float]]] = {side: [] for side in sides}
    for number in range(warm_up + steps):
        batch = made[number % len(made)]
        for side, step in sides.items():
            taken = timed(lambda step=step, batch=batch: step(batch))  # type: ignore[misc]
            if number >= warm_up:
                times[side].append(taken)
    report({"steps": described(made), **times})


def alone(
    report: Report,
    *,
    lengths: str,
    steps: int,
    warm_up: int,
    mode: str,
    device: str = "cuda",
    overrides: Sequence[str] = (),
) -> None:
    """Our steps on a device: [{"seconds", "cpu_seconds"}, ...]. mode: float32, bf16-mixed, or compiled (float32)."""
    made = [on_device(batch, device) for batch in batches(lengths)]
    method = build(overrides).to(device)
    if mode == "compiled":
        compile_parts(method)
    step = our_step(method, torch.bfloat16 if mode == "bf16-mixed" else None)

    def waited(batch: Batch) -> None:
        step(batch)
        if device == "cuda":
            torch.cuda.synchronize()

    times = []
    for number in range(warm_up + steps):
        batch = made[number % len(made)]
        times.append(timed(lambda batch=batch: waited(batch)))  # type: ignore[misc]
    report(times[warm_up:])


def build(overrides: Sequence[str] = ()) -> CoMM:
    """experiment=comm_mosi's network on two modalities, the same weights each time."""
    from trivium.config.compose import compose_config
    from trivium.data.store import StoreSchema
    from trivium.methods.build import build_method

    config = compose_config(["experiment=comm_mosi", *overrides])
    longest = dict.fromkeys(DIMS, LONGEST)
    schema = StoreSchema("bench", "", DIMS, {"train": CLIPS * BATCHES}, longest, ("multimodal",), (-3.0, 3.0))
    return cast(CoMM, build_method(config, schema, dict.fromkeys(DIMS, "values")))


def our_step(method: Method, autocast: torch.dtype | None = None) -> Step:
    """What the Trainer does with a batch, the method's own `training_step` included."""
    optimizer, number = _optimizer(method), 0

    def step(batch: Batch) -> None:
        nonlocal number
        optimizer.zero_grad()
        with torch.autocast(batch.present.device.type, dtype=autocast, enabled=autocast is not None):
            loss = method.training_step(batch, number)["loss"]
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        number += 1

    return step


def plain_step(method: CoMM) -> Step:
    """One view and one mask after another; of `method` it has the initial weights and the optimiser."""
    plain, optimizer = PlainCoMM(method), _optimizer(method)
    drop_max, noise_std = method.augment.drop_max, method.augment.noise_std

    def step(batch: Batch) -> None:
        optimizer.zero_grad()
        views = (plain_view(batch.streams, drop_max, noise_std), plain_view(batch.streams, drop_max, noise_std))
        torch.stack(plain.losses(views)).mean().backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    return step


def compile_parts(method: CoMM) -> None:
    """torch.compile of what has weights: encoders, fusion and projection head. Batches have shapes of their own."""
    for encoder in method.encoders.values():
        encoder.compile()
    assert method.head is not None
    method.head.compile()
    method.fusion.views = torch.compile(method.fusion.views)  # type: ignore[assignment, arg-type]


def batches(lengths: str, count: int = BATCHES, *, dims: Mapping[str, int] = DIMS, clips: int = CLIPS) -> list[Batch]:
    """Random batches of `clips`. lengths: "mosi", a clip's modalities alike, as they are aligned; or "full", T = 50."""
    rng, generator = np.random.default_rng(0), torch.Generator().manual_seed(0)
    if lengths == "mosi":  # the distribution's own quantiles, so that few clips have its mean
        drawn = rng.gamma(SHAPE, MEAN / SHAPE, 200_000)
        every = np.quantile(drawn, (np.arange(count * clips) + 0.5) / (count * clips)).round().clip(1, LONGEST)
    else:
        every = np.full(count * clips, LONGEST)
    steps_B = torch.from_numpy(rng.permutation(every)).long()
    return [_batch(number, steps, generator, dims) for number, steps in enumerate(torch.split(steps_B, clips))]


def _batch(number: int, steps_B: torch.Tensor, generator: torch.Generator, dims: Mapping[str, int]) -> Batch:
    clips = len(steps_B)
    mask_BT = torch.arange(int(steps_B.max())) < steps_B[:, None]
    streams = {
        name: Stream(torch.randn(*mask_BT.shape, size, generator=generator) * mask_BT[..., None], mask_BT, steps_B)
        for name, size in dims.items()
    }
    present = torch.ones(clips, len(dims), dtype=torch.bool)
    target = {"multimodal": torch.linspace(-3.0, 3.0, clips)}
    return Batch(streams, present, target, torch.arange(clips) + number * clips, torch.ones(clips), (clips,))


def _optimizer(method: Method) -> torch.optim.Optimizer:
    assert method.make_optimizer is not None
    return method.make_optimizer(method)


def described(made: Sequence[Batch]) -> dict[str, float]:
    streams = [batch.streams["text"] for batch in made]
    every = torch.cat([stream.lengths for stream in streams]).double()
    return {
        "mean": float(every.mean()),
        "p90": float(every.quantile(0.9)),
        "max": float(every.max()),
        "padded": sum(stream.mask.shape[1] for stream in streams) / len(streams),
    }


def on_device(batch: Batch, device: str) -> Batch:
    """Lengths stay on the CPU, as the data module leaves them."""
    streams = {
        name: Stream(stream.values.to(device), stream.mask.to(device), stream.lengths)
        for name, stream in batch.streams.items()
    }
    targets = {name: target.to(device) for name, target in batch.targets.items()}
    index, weight = batch.index.to(device), batch.weight.to(device)
    return replace(
        batch, streams=streams, present=batch.present.to(device), targets=targets, index=index, weight=weight
    )


TASKS: dict[str, Callable[..., None]] = {"compare": compare, "alone": alone}

if __name__ == "__main__":
    TASKS[sys.argv[1]](reports(), **json.loads(sys.argv[2]))
