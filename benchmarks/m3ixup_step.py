"""M3ixup's training step beside GMC's, as a process: `python -m benchmarks.m3ixup_step TASK JSON`."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence

from benchmarks.child_process import Report, reports
from benchmarks.training_steps import batches, build_experiment, on_device, our_step, steps_in_turn
from trivium.methods.base import Method

DIMS = {"text": 300, "audio": 74, "vision": 35}  # MOSEI's in GMC
CLIPS = 24


def compare(
    report: Report, *, lengths: str, steps: int, warm_up: int, device: str = "cpu", overrides: Sequence[str] = ()
) -> None:
    """Reports steps of both in turn, as `steps_in_turn` does: "ours" is M3ixup, "plain" GMC."""
    made = [on_device(batch, device) for batch in batches(lengths, DIMS, CLIPS)]
    sides = {side: our_step(build(name, overrides).to(device)) for side, name in (("ours", "m3ixup"), ("plain", "gmc"))}
    report(steps_in_turn(sides, made, steps, warm_up, device))


def build(name: str, overrides: Sequence[str] = ()) -> Method:
    """Builds the network of experiment=NAME_mosei."""
    return build_experiment(f"{name}_mosei", DIMS, CLIPS, overrides)


TASKS: dict[str, Callable[..., None]] = {"compare": compare}

if __name__ == "__main__":
    TASKS[sys.argv[1]](reports(), **json.loads(sys.argv[2]))
