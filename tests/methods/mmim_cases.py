"""Holds what the specification of MMIM calls trig, its rule that fills layers, and a method on vectors as they are."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from trivium.data.batch import Batch, Stream
from trivium.encoders.identity import Identity
from trivium.fusions.concat import Concat
from trivium.methods.base import Parts
from trivium.methods.mmim import MMIM
from trivium.objectives.task import L1

LABELS = torch.tensor([1.2, -0.4, 0.0, 2.1, -1.5, 0.3], dtype=torch.float64)


def trig(rows: int, columns: int, a: float, b: float, c: float) -> Tensor:
    i, j = torch.arange(rows, dtype=torch.float64)[:, None], torch.arange(columns, dtype=torch.float64)
    return torch.sin(a * i + b * j + c)


@torch.no_grad()
def fill(layer: nn.Module, k: int) -> None:
    """Linear layer "k"."""
    assert isinstance(layer, nn.Linear)
    rows, columns = layer.weight.shape
    layer.weight.copy_(0.6 * trig(rows, columns, 0.7, 1.3, 0.5 * k))
    layer.bias.copy_(0.1 * torch.cos(0.9 * torch.arange(rows, dtype=torch.float64) + 0.4 * k))


TEXT, AUDIO, VISION = trig(6, 5, 0.7, 1.3, 0.2), trig(6, 4, -0.4, 0.9, 1.0), trig(6, 8, 1.1, -0.6, 0.5)
MEMORY = (
    torch.cat([0.5 * trig(3, 2, 0.9, 0.5, 0.1), 0.5 * trig(4, 2, -0.8, 1.2, 0.6)]),
    torch.tensor([1.0] * 3 + [-1.0] * 4, dtype=torch.float64),
)


def fill_q(method: MMIM, key: str = "text__vision") -> None:
    if key not in method.conditionals:
        return
    q = method.conditionals[key]
    for layer, k in zip((q.mu[0], q.mu[2], q.logvar[0], q.logvar[2]), (1, 2, 3, 4), strict=True):  # type: ignore[index, union-attr]
        fill(layer, k)  # type: ignore[arg-type]
    if key in method.entropies:
        fill(method.entropies[key].linear, 5)  # type: ignore[arg-type]


def on_vectors(dims: Mapping[str, int], width: int = 6, **settings: object) -> MMIM:
    """MMIM whose encoders pass a clip's one step on as it is, in float64."""
    encoders = {name: Identity(size) for name, size in dims.items()}
    fusion = Concat(dims, out=width, hidden=[width], activation="tanh")
    parts = Parts(encoders, fusion, L1(), train_clips=6, high=3.0, seed=1)  # type: ignore[arg-type]
    return MMIM(parts, **settings).double()  # type: ignore[arg-type]


def batch_of_vectors(vectors: Mapping[str, Tensor], labels_B: Tensor, absent: Mapping[str, Tensor] = {}) -> Batch:
    """One step a clip, which is its vector. absent: modality -> (B,) bool."""
    clips = len(labels_B)
    one, everyone = torch.ones(clips, dtype=torch.int64), torch.ones(clips, dtype=torch.bool)
    streams = {name: Stream(rows[:, None], everyone[:, None], one) for name, rows in vectors.items()}
    present = torch.stack([~absent[name] if name in absent else everyone for name in vectors], dim=1)
    batch = Batch(
        streams,
        present,
        {"multimodal": labels_B},
        torch.arange(clips),
        torch.ones(clips, dtype=torch.float64),
        shares=(clips,),
    )
    return batch.without(~present)
