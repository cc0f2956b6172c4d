"""Makes training steps, and the batches to time them on, for tasks that compare two sides in one process.

Legend: B clips, T steps of the longest clip, D features.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from benchmarks.child_process import BATCHES, timed
from trivium.data.batch import Batch, Stream
from trivium.methods.base import Method

LONGEST, MEAN, SHAPE = 50, 12.0, 2.0  # steps; gamma-distributed, which puts the 90th percentile at 23, as in MOSI
Step = Callable[[Batch], None]


def steps_in_turn(
    sides: Mapping[str, Step], made: Sequence[Batch], steps: int, warm_up: int, device: str = "cpu"
) -> dict[str, Any]:
    """Times steps of the sides in turn, on the same batches.

    Returns {"steps": as `described`, SIDE: [{"seconds", "cpu_seconds"}, ...]}. The first `warm_up` steps of each side
    are not counted. device: where the batches are.
    """
    times: dict[str, list[dict[str, float]]] = {side: [] for side in sides}
    for number in range(warm_up + steps):
        batch = made[number % len(made)]
        for side, step in sides.items():
            taken = timed(lambda step=step, batch=batch: _finished(step, batch, device))  # type: ignore[misc]
            if number >= warm_up:
                times[side].append(taken)
    return {"steps": described(made), **times}


def _finished(step: Step, batch: Batch, device: str) -> None:
    step(batch)
    if device == "cuda":
        torch.cuda.synchronize()


def build_experiment(name: str, dims: Mapping[str, int], clips: int, overrides: Sequence[str] = ()) -> Method:
    """Builds the network of experiment=NAME on modalities of sizes `dims`, with the same weights each time."""
    from trivium.config.compose import compose_config
    from trivium.data.store import StoreSchema
    from trivium.data.target import Target
    from trivium.methods.build import build_method

    config = compose_config([f"experiment={name}", *overrides])
    longest = dict.fromkeys(dims, LONGEST)
    targets = {"multimodal": Target("score", range=(-3.0, 3.0))}
    schema = StoreSchema("bench", "", dict(dims), {"train": clips * BATCHES}, longest, targets)
    return build_method(config, schema, dict.fromkeys(dims, "values"))


def our_step(method: Method, autocast: torch.dtype | None = None) -> Step:
    """Returns a function that does with a batch what the Trainer does, the method's `training_step` included."""
    optimizer, number = optimizer_of(method), 0

    def step(batch: Batch) -> None:
        nonlocal number
        optimizer.zero_grad()
        with torch.autocast(batch.present.device.type, dtype=autocast, enabled=autocast is not None):
            loss = method.training_step(batch, number)["loss"]
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        number += 1

    return step


def optimizer_of(method: Method) -> torch.optim.Optimizer:
    assert method.make_optimizer is not None
    return method.make_optimizer(method)


def batches(lengths: str, dims: Mapping[str, int], clips: int, count: int = BATCHES) -> list[Batch]:
    """Makes random batches of `clips` clips.

    lengths: "mosi" (a clip's modalities are equally long, as they are aligned), or "full", where T = 50 for all.
    """
    rng, generator = np.random.default_rng(0), torch.Generator().manual_seed(0)
    if lengths == "mosi":
        # The distribution's quantiles instead of draws, so that few clips have its mean.
        drawn = rng.gamma(SHAPE, MEAN / SHAPE, 200_000)
        steps = np.quantile(drawn, (np.arange(count * clips) + 0.5) / (count * clips)).round().clip(1, LONGEST)
    else:
        steps = np.full(count * clips, LONGEST)
    steps_B = torch.from_numpy(rng.permutation(steps)).long()
    return [_batch(number, part_B, generator, dims) for number, part_B in enumerate(torch.split(steps_B, clips))]


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


def described(made: Sequence[Batch]) -> dict[str, float]:
    """Returns the batches' lengths in steps: "mean", "p90", "max", and "padded", the mean T."""
    streams = [batch.streams["text"] for batch in made]
    lengths = torch.cat([stream.lengths for stream in streams]).double()
    return {
        "mean": float(lengths.mean()),
        "p90": float(lengths.quantile(0.9)),
        "max": float(lengths.max()),
        "padded": sum(stream.mask.shape[1] for stream in streams) / len(streams),
    }


def on_device(batch: Batch, device: str) -> Batch:
    """Copies a batch to a device; lengths stay on the CPU, as the data module leaves them."""
    streams = {
        name: Stream(stream.values.to(device), stream.mask.to(device), stream.lengths)
        for name, stream in batch.streams.items()
    }
    targets = {name: target.to(device) for name, target in batch.targets.items()}
    index, weight = batch.index.to(device), batch.weight.to(device)
    return replace(
        batch, streams=streams, present=batch.present.to(device), targets=targets, index=index, weight=weight
    )
