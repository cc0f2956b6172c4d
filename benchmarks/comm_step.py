"""CoMM's training step, as a process: `python -m benchmarks.comm_step TASK JSON`. Each function in TASKS is a task."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from typing import cast

import torch

from benchmarks.child_process import Report, reports
from benchmarks.plain_comm import PlainCoMM, plain_view
from benchmarks.training_steps import (
    Step,
    batches,
    build_experiment,
    on_device,
    optimizer_of,
    our_step,
    steps_in_turn,
)
from trivium.data.batch import Batch
from trivium.methods.comm import CoMM

DIMS = {"vision": 20, "text": 300}  # MOSI's in MultiBench
CLIPS = 64


def compare(report: Report, *, lengths: str, steps: int, warm_up: int, overrides: Sequence[str] = ()) -> None:
    """Reports steps of both sides in turn, as `steps_in_turn` does: "ours" and "plain"."""
    sides = {"ours": our_step(build(overrides)), "plain": plain_step(build(overrides))}
    report(steps_in_turn(sides, batches(lengths, DIMS, CLIPS), steps, warm_up))


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
    """Reports our steps on a device: [{"seconds", "cpu_seconds"}, ...].

    mode: float32, bf16-mixed, or compiled (float32).
    """
    made = [on_device(batch, device) for batch in batches(lengths, DIMS, CLIPS)]
    method = build(overrides).to(device)
    if mode == "compiled":
        compile_parts(method)
    step = our_step(method, torch.bfloat16 if mode == "bf16-mixed" else None)
    report(steps_in_turn({"ours": step}, made, steps, warm_up, device)["ours"])


def build(overrides: Sequence[str] = ()) -> CoMM:
    """Builds experiment=comm_mosi's network on two modalities."""
    return cast(CoMM, build_experiment("comm_mosi", DIMS, CLIPS, overrides))


def plain_step(method: CoMM) -> Step:
    """Returns a function that takes one view and one mask after another.

    It starts from `method`'s weights and has an optimiser like its own.
    """
    plain, optimizer = PlainCoMM(method), optimizer_of(method)
    drop_max, noise_std = method.augment.drop_max, method.augment.noise_std

    def step(batch: Batch) -> None:
        optimizer.zero_grad()
        views = (plain_view(batch.streams, drop_max, noise_std), plain_view(batch.streams, drop_max, noise_std))
        torch.stack(plain.losses(views)).mean().backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    return step


def compile_parts(method: CoMM) -> None:
    """Compiles what has weights: encoders, fusion and projection head. Batches differ in shape."""
    for encoder in method.encoders.values():
        encoder.compile()
    assert method.head is not None
    method.head.compile()
    method.fusion.views = torch.compile(method.fusion.views)  # type: ignore[assignment, arg-type]


TASKS: dict[str, Callable[..., None]] = {"compare": compare, "alone": alone}

if __name__ == "__main__":
    TASKS[sys.argv[1]](reports(), **json.loads(sys.argv[2]))
