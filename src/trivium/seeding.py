"""Seeds torch's random numbers as a pure function of where they are used: (seed, what, epoch, step, rank).

Nothing that trains carries generator state from one step to the next, so there is none to save, and a resumed run
draws what the uninterrupted one drew.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

from trivium.keys import derive as derive


def generator(seed: int, *keys: str | int) -> torch.Generator:
    """Returns a CPU generator seeded with `derive`."""
    return torch.Generator().manual_seed(derive(seed, *keys))


@contextlib.contextmanager
def keyed(seed: int, *keys: str | int) -> Iterator[None]:
    """Seeds torch's global CPU generator from the keys inside; afterwards it is as before.

    Modules are built under keys of their own, so that adding one never shifts another's initial weights.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(seed, *keys))
        yield
