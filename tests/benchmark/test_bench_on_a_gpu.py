"""Runs what `make bench-gpu` times on a pretended GPU (compiling and Self-MM's Trainer left out)."""

from __future__ import annotations

from typing import Any
from unittest import mock

import pytest

from benchmarks import comm_step, m3ixup_step
from pretended_gpu import pretended_gpu

TINY = ("encoder.layers=1", "encoder.feedforward=16", "method.head_hidden=[16]", "method.head_out=8")


@pytest.mark.parametrize("mode", ["float32", "bf16-mixed"])
def test_comm_steps_wait_only_where_they_are_timed(mode: str) -> None:
    reported: list[Any] = []
    with pretended_gpu() as waits, mock.patch("torch.cuda.synchronize") as timed:
        comm_step.alone(reported.append, lengths="mosi", steps=2, warm_up=1, mode=mode, overrides=TINY)
    assert len(reported[0]) == 2
    assert timed.call_count == 3
    assert waits  # the benchmark's own copies to the GPU, which have no line of the package
    assert not [wait for wait in waits if " at " in wait and "methods/readout.py" not in wait]


def test_m3ixup_and_gmc_steps_run_there_in_turn() -> None:
    reported: list[Any] = []
    tiny = ("fusion.layers=1", "fusion.width=10", "encoder.hidden=4")
    with pretended_gpu(), mock.patch("torch.cuda.synchronize") as timed:
        m3ixup_step.compare(reported.append, lengths="mosi", steps=1, warm_up=0, device="cuda", overrides=tiny)
    assert {len(reported[0][side]) for side in ("ours", "plain")} == {1}
    assert timed.call_count == 2
