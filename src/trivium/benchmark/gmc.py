"""M3ixup's training step beside GMC's, as a process: `python -m trivium.benchmark.gmc TASK JSON`."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence

import torch

from trivium.benchmark.child import BATCHES, Report, reports, timed
from trivium.benchmark.comm import LONGEST, batches, described, on_device, our_step
from trivium.methods.base import Method

DIMS = {"text": 300, "audio": 74, "vision": 35}  # MOSEI's in GMC
CLIPS = 24


def compare(
    report: Report, *, lengths: str, steps: int, warm_up: int, device: str = "cpu", overrides: Sequence[str] = ()
) -> None:
    """Steps of both in turn, on the same batches: {"steps": as comm.compare, "ours": M3ixup's, "plain": GMC's}."""
    made = [on_device(batch, device) for batch in batches(lengths, dims=DIMS, clips=CLIPS)]
    sides = {side: our_step(build(name, overrides).to(device)) for side, name in (("ours", "m3ixup"), ("plain", "gmc"))}
    times: dict[str, list[dict[str, float]]] = {side: [] for side in sides}
    for number in range(warm_up + steps):
        batch = made[number % len(made)]
        for side, step in sides.items():

            def waited(step=step, batch=batch) -> None:  # type: ignore[no-untyped-def]
                step(batch)
                if device == "cuda":
                    torch.cuda.synchronize()

            taken = timed(waited)
            if number >= warm_up:
                times[side].append(taken)
    report({"steps": described(made), **times})


def build(name: str, overrides: Sequence[str] = ()) -> Method:
    """The network of experiment=NAME_mosei, the same weights each time."""
    from trivium.config.compose import compose_config
    from trivium.data.store import StoreSchema
    from trivium.methods.build import build_method

    config = compose_config([f"experiment={name}_mosei", *overrides])
    longest = dict.fromkeys(DIMS, LONGEST)
    schema = StoreSchema("bench", "", DIMS, {"train": CLIPS * BATCHES}, longest, ("multimodal",), (-3.0, 3.0))
    return build_method(config, schema, dict.fromkeys(DIMS, "values"))


TASKS: dict[str, Callable[..., None]] = {"compare": compare}

if __name__ == "__main__":
    TASKS[sys.argv[1]](reports(), **json.loads(sys.argv[2]))
