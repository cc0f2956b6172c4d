"""GMC and M3ixup, small, with batches for them."""

from __future__ import annotations

import torch

from trivium.data.batch import Batch, Stream
from trivium.encoders.gru import GRU
from trivium.fusions.transformer import TransformerFusion
from trivium.methods.base import Parts
from trivium.methods.m3ixup import M3ixup
from trivium.objectives.task import L1

DIMS = {"text": 7, "audio": 3, "vision": 5}
STEPS = 6


def method_of(kind=M3ixup, *, modalities=3, objective=None, fusion=None, size=8, epoch=0, batch=0, **keys):
    """kind: GMC or M3ixup. In float64, at the given position of training."""
    torch.manual_seed(2)
    names = list(DIMS)[:modalities]
    encoders = {n: GRU(DIMS[n], hidden=4, out=size, pool="flatten", steps=STEPS) for n in names}
    raw = keys.get("joint", "inputs") == "inputs"
    dims = {n: DIMS[n] if raw else encoders[n].token_dim for n in names}
    joint = fusion(dims) if fusion else TransformerFusion(dims, dim=8, heads=2)
    parts = Parts(encoders, joint, objective or L1(), 100, 3.0, 11)
    method = kind(parts, **{"common": 6, **keys}).double()
    method.position = (epoch, batch)
    return method


def batch_of(clips=7, *, modalities=3, present=None, shares=None, rank=0, indices=None, seed=0):
    """Random clips; content, length and target are functions of a clip's index."""
    indices = list(range(clips)) if indices is None else indices
    names = list(DIMS)[:modalities]
    present = torch.ones(len(indices), modalities, dtype=torch.bool) if present is None else present
    streams = {}
    for m, name in enumerate(names):
        made = []
        for row, index in enumerate(indices):
            generator = torch.Generator().manual_seed(1000 * seed + 10 * index + m)
            length = int(torch.randint(1, STEPS + 1, (1,), generator=generator)) if present[row, m] else 1
            made.append(torch.randn(length, DIMS[name], generator=generator, dtype=torch.float64) * present[row, m])
        lengths = torch.tensor([len(clip) for clip in made])
        values = torch.zeros(len(indices), int(lengths.max()), DIMS[name], dtype=torch.float64)
        for row, clip in enumerate(made):
            values[row, : len(clip)] = clip
        streams[name] = Stream(values, torch.arange(values.shape[1]) < lengths[:, None], lengths)
    index = torch.tensor(indices)
    target = torch.stack(
        [torch.randn((), generator=torch.Generator().manual_seed(7 + i), dtype=torch.float64) for i in indices]
    )
    shares = shares or (len(indices),)
    weight = torch.full((len(indices),), float(shares[rank] > 0), dtype=torch.float64)
    return Batch(streams, present, {"multimodal": target}, index, weight, shares, rank)


def gradients(method, batch):
    """The losses, and parameter -> gradient (None where there is none)."""
    method.zero_grad()
    terms = method.losses(batch)
    terms["loss"].backward()
    grads = {name: None if p.grad is None else p.grad.clone() for name, p in method.named_parameters()}
    return {name: value.detach() for name, value in terms.items()}, grads
