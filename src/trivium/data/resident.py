"""Holds a split on the device, and makes a batch of it by one indexed gather.

Legend: B clips, T steps of the batch's longest clip, L steps of the whole split, D features.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from trivium.data.batch import Batch, Stream
from trivium.data.clips import Clips, Ragged
from trivium.data.store import Statistics


@dataclass
class ResidentStream:
    """Holds one modality of a split. values (L, D) or (L,) and starts (N,) on the device, lengths (N,) on the CPU too.

    shift, scale: (D,) or None; what standardisation subtracts and multiplies with.
    """

    values: Tensor
    starts: Tensor
    lengths: Tensor
    lengths_here: Tensor
    shift: Tensor | None = None
    scale: Tensor | None = None

    @classmethod
    def load(cls, ragged: Ragged, device: torch.device, statistics: Statistics | None) -> ResidentStream:
        values = torch.from_numpy(ragged.values)
        if not len(values):  # no clip of the split has it: one zero row, so that a gather has something to read
            values = values.new_zeros((1, *values.shape[1:]))
        lengths = torch.from_numpy(ragged.lengths)
        shift = scale = None
        if statistics is not None:
            shift = torch.from_numpy(statistics.mean).float().to(device)
            scale = torch.from_numpy(1.0 / statistics.std).float().to(device)
        starts = torch.from_numpy(ragged.offsets[:-1]).to(device)
        return cls(values.to(device), starts, lengths, lengths.to(device), shift, scale)

    def gather(self, index: Tensor, index_here: Tensor) -> tuple[Stream, Tensor]:
        """Returns stream and present (B,) bool. index: (B,) int64 on the CPU; index_here: the same on the device."""
        # Only real steps are read and standardised; padding is one fill. lengths is on the CPU: no wait for a GPU.
        lengths = self.lengths[index]
        clips, steps, total = len(lengths), max(1, int(lengths.max())), int(lengths.sum())
        here = self.lengths_here[index_here]
        clip_L = torch.arange(clips, device=here.device).repeat_interleave(here, output_size=total)
        step_L = torch.arange(total, device=here.device) - (here.cumsum(0) - here)[clip_L]
        rows = self.values.index_select(0, self.starts[index_here][clip_L] + step_L)
        if self.values.ndim == 1:
            rows = rows.long()
        elif self.shift is not None and self.scale is not None:
            rows.sub_(self.shift).mul_(self.scale)
        padded = rows.new_zeros(clips * steps, *rows.shape[1:]).index_copy_(0, clip_L * steps + step_L, rows)
        values = padded.view(clips, steps, *rows.shape[1:])
        real_BT = torch.arange(steps, device=here.device) < here[:, None]
        present = real_BT[:, 0]
        mask = real_BT.clone()
        mask[:, 0] = True
        return Stream(values, mask, lengths.clamp(min=1)), present


@dataclass
class ResidentSplit:
    """Holds all that a batch may need of a split, in the order of `streams`."""

    ids: list[str]
    streams: dict[str, ResidentStream]
    targets: dict[str, Tensor]
    device: torch.device

    @classmethod
    def load(
        cls,
        clips: Clips,
        reads: dict[str, str],
        device: torch.device,
        statistics: dict[str, Statistics],
    ) -> ResidentSplit:
        """Loads a split. reads: modality -> "values" or "tokens". statistics: of the modalities to be z-scored.

        Features that lie on the CPU stay memory-mapped; for a GPU they are copied to it once.
        """
        streams = {}
        for name, what in reads.items():
            used = None if what == "tokens" else statistics.get(name)
            streams[name] = ResidentStream.load(clips.read(name, what), device, used)
        targets = {name: torch.from_numpy(values).to(device) for name, values in clips.targets.items()}
        return cls(clips.ids, streams, targets, device)

    def __len__(self) -> int:
        return len(self.ids)

    def batch(self, index: Tensor, index_here: Tensor, shares: tuple[int, ...], rank: int) -> Batch:
        """Returns the batch of clips `index` (B,) int64 on the CPU; index_here is the same on the device."""
        gathered = {name: stream.gather(index, index_here) for name, stream in self.streams.items()}
        return Batch(
            streams={name: stream for name, (stream, _) in gathered.items()},
            present=torch.stack([present for _, present in gathered.values()], dim=1),
            targets={name: values[index_here] for name, values in self.targets.items()},
            index=index_here,
            weight=torch.full((len(index),), float(shares[rank] > 0), device=self.device),
            shares=shares,
            rank=rank,
        )
