"""Collects the vectors that probes read: those of a method for a whole split, or the features' means over time.

Legend: N clips of the split, B clips of a batch, E features.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from trivium.data.datamodule import BatchLoader
from trivium.evaluation.predict import match_dtype, refuse_all_absent
from trivium.methods.base import Method


@torch.no_grad()
def collect_vectors(method: Method, loader: BatchLoader, modalities: Sequence[str] | None = None) -> dict[str, Tensor]:
    """Returns name -> (N, E), float64 on the CPU: Method.vectors in evaluation mode, in the split's order.

    modalities: those to read; None or empty means all.
    Raises ValueError, naming the vector and a clip, if a value is not finite, and, naming it, for a clip that has none
    of the modalities.
    """
    method.eval()
    table = _VectorTable(loader)
    for batch in loader:
        if modalities:
            batch = batch.restrict(list(modalities))
        refuse_all_absent(loader, batch.present, batch.index)
        match_dtype(batch, method)
        table.add(batch.index, method.vectors(batch))
    return table.result()


@torch.no_grad()
def raw_vectors(loader: BatchLoader) -> dict[str, Tensor]:
    """Returns name -> (N, E), float64 on the CPU: each modality's mean over its real steps, in the split's order.

    Features are as the loader gives them, standardised or not, and zero where a clip lacks the modality. "joint" is the
    means of all modalities, end to end.
    Raises ValueError if every modality is read as token ids, which have no features.
    """
    table = _VectorTable(loader)
    for batch in loader:
        means = {
            name: (stream.values.double() * stream.mask[..., None]).sum(dim=1) / stream.mask.sum(dim=1, keepdim=True)
            for name, stream in batch.streams.items()
            if stream.values.is_floating_point()
        }
        if not means:
            raise ValueError(f"raw features: {', '.join(batch.streams)} is read as token ids, which have no features")
        table.add(batch.index, {"joint": torch.cat(list(means.values()), dim=1), **means})
    return table.result()


class _VectorTable:
    """Puts each vector in the place of its clip."""

    def __init__(self, loader: BatchLoader) -> None:
        self._ids = loader.split.ids
        self._rows: dict[str, Tensor] = {}

    def add(self, index_B: Tensor, vectors: dict[str, Tensor]) -> None:
        for name, vectors_BE in vectors.items():
            if name not in self._rows:
                self._rows[name] = torch.full((len(self._ids), vectors_BE.shape[1]), torch.nan, dtype=torch.float64)
            self._rows[name][index_B.cpu()] = vectors_BE.double().cpu()

    def result(self) -> dict[str, Tensor]:
        for name, rows_NE in self._rows.items():
            bad_N = ~rows_NE.isfinite().all(dim=1)
            if bool(bad_N.any()):
                clip = self._ids[int(bad_N.nonzero()[0])]
                raise ValueError(f"{name!r}: {int(bad_N.sum())} vectors are not finite, the first of clip {clip!r}")
        return self._rows
