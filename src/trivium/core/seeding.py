"""Seeds random numbers as a pure function of where they are used: (seed, what, epoch, step, rank).

Nothing that trains carries generator state from one step to the next. So there is no state to save, and a resumed run
draws the numbers that the uninterrupted one would have drawn. torch is imported on first use, as the process of a
search does without it.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def derive(seed: int, *keys: str | int) -> int:
    """Returns a 63-bit seed from a seed and any keys; different keys give unrelated seeds."""
    text = "/".join(map(str, (seed, *keys))).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big") >> 1


def generator(seed: int, *keys: str | int) -> torch.Generator:
    """Returns a CPU generator seeded with `derive`."""
    import torch

    return torch.Generator().manual_seed(derive(seed, *keys))


@contextlib.contextmanager
def keyed(seed: int, *keys: str | int) -> Iterator[None]:
    """Seeds torch's global CPU generator from the keys inside the context, and restores its state afterwards.

    Each module is built under a key of its own, so that adding one never shifts another's initial weights.
    """
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(seed, *keys))
        yield
