"""Batches of made-up clips. What a clip holds is a function of its index alone, whatever it is batched with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from trivium.data.batch import Batch, Stream

DIMS = {"text": 5, "audio": 3, "vision": 4}
LONGEST = 6


def subsets(clips: int, modalities: int = 3) -> Tensor:
    """(clips, modalities) bool: every non-empty subset in turn, the whole one first."""
    rows = [[bool(n >> m & 1) for m in range(modalities)] for n in range(2**modalities - 1, 0, -1)]
    return torch.tensor([rows[clip % len(rows)] for clip in range(clips)])


def batch_of(
    indices: Sequence[int],
    *,
    dims: Mapping[str, int] = DIMS,
    absent: bool = False,
    steps: int = 0,
    shares: tuple[int, ...] | None = None,
    rank: int = 0,
    dtype: torch.dtype = torch.float64,
) -> Batch:
    """The clips of `indices`, each of 1 to LONGEST steps a modality, padded to `steps` at least.

    absent: clip i lacks what row i of `subsets` says. Labels lie in [-3, 3].
    """
    here = subsets(max(indices) + 1, len(dims))[list(indices)]
    present = here if absent else torch.ones_like(here)
    streams = {}
    for m, (name, size) in enumerate(dims.items()):
        clips = [
            _clip(index, m, size) if present[row, m] else torch.zeros(1, size) for row, index in enumerate(indices)
        ]
        lengths = torch.tensor([len(clip) for clip in clips])
        values = torch.zeros(len(clips), max(steps, int(lengths.max())), size, dtype=dtype)
        for row, clip in enumerate(clips):
            values[row, : len(clip)] = clip
        streams[name] = Stream(values, torch.arange(values.shape[1]) < lengths[:, None], lengths)
    label = torch.tensor([(1.7 * index + 0.3) % 6 - 3 for index in indices], dtype=dtype)
    shares = shares or (len(indices),)
    weight = torch.full((len(indices),), float(shares[rank] > 0), dtype=dtype)
    return Batch(streams, present, {"multimodal": label}, torch.tensor(list(indices)), weight, shares, rank)


def share_of(shares: tuple[int, ...], rank: int, **how: bool) -> Batch:
    """A rank's slice of the global batch of clips 0, 1, ...; of a rank without clips, clip 0 with weight 0."""
    start = sum(shares[:rank]) if shares[rank] else 0
    indices = range(start, start + max(1, shares[rank]))
    return batch_of(indices, shares=shares, rank=rank, steps=LONGEST + 2 * rank, **how)


def _clip(index: int, modality: int, size: int) -> Tensor:
    draw = torch.Generator().manual_seed(100 * index + modality)
    length = int(torch.randint(1, LONGEST + 1, (), generator=draw))
    return torch.randn(length, size, generator=draw, dtype=torch.float64)
