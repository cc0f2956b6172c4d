"""Chooses the clips of each batch as a pure function of (seed, epoch), alike for any method and number of devices.

Legend: N clips of the split, n_c of class c, C classes that occur.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from trivium.core.seeding import generator


@dataclass
class GlobalBatchSampler:
    """Cuts an epoch of `clips` into global batches, and each of these into one contiguous slice a rank.

    batch_size is that of the global batch; the last batch holds the remaining clips. shuffle=False keeps the split's
    order. A rank whose slice of a short batch is empty gets the batch's first clip, to be run with weight 0.
    classes: (N,) int64, or None. With it an epoch has every class equally often (`balanced_order`).
    """

    clips: int
    batch_size: int
    seed: int = 0
    shuffle: bool = True
    rank: int = 0
    world: int = 1
    epoch: int = 0
    classes: Tensor | None = None

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise ValueError(f"data.batch_size must be at least 1, found {self.batch_size}")

    def __len__(self) -> int:
        return -(-self.clips // self.batch_size)

    def set_epoch(self, epoch: int) -> None:
        """Sets the epoch; Lightning calls this before each one."""
        self.epoch = epoch

    def order(self) -> Tensor:
        """Returns (clips,) int64, this epoch's order of the whole split; with `classes`, of the clips drawn from it."""
        if not self.shuffle:
            return torch.arange(self.clips)
        if self.classes is not None:
            return balanced_order(self.classes, generator(self.seed, "balanced order", self.epoch))
        return torch.randperm(self.clips, generator=generator(self.seed, "order", self.epoch))

    def shares(self, step: int) -> tuple[int, ...]:
        """Returns the number of clips of global batch `step` on each rank; the first ranks take the remainder."""
        size = min(self.batch_size, self.clips - step * self.batch_size)
        quotient, remainder = divmod(size, self.world)
        return tuple(quotient + (rank < remainder) for rank in range(self.world))

    def local(self, step: int) -> slice:
        """Returns this rank's slice of `order()` in global batch `step`; of length 1 where its share is 0."""
        shares = self.shares(step)
        start = step * self.batch_size + (sum(shares[: self.rank]) if shares[self.rank] else 0)
        return slice(start, start + max(1, shares[self.rank]))


def balanced_order(classes_N: Tensor, draw: torch.Generator) -> Tensor:
    """Returns (N,) int64, clips in which every class that occurs comes N // C times, and N % C of them once more.

    Which have one more is drawn. Of a class, each clip comes q // n_c or one time more often, q being the class's
    number: a large class leaves clips out, others in every epoch, and a small one repeats its own.
    """
    occurring = classes_N.bincount().nonzero()[:, 0]
    order = torch.randperm(len(occurring), generator=draw)
    quotient, remainder = divmod(len(classes_N), len(occurring))
    drawn = []
    for place, number in enumerate(order.tolist()):
        members = (classes_N == occurring[number]).nonzero()[:, 0]
        count = quotient + (place < remainder)
        rounds = [members[torch.randperm(len(members), generator=draw)] for _ in range(-(-count // len(members)))]
        drawn.append(torch.cat(rounds)[:count])
    clips = torch.cat(drawn)
    return clips[torch.randperm(len(clips), generator=draw)]
