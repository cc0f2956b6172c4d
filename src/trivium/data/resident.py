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
    """Holds one modality of a split.

    values: (L, D) or (L,), on the device. starts: (N,), on the device, the first step of each clip.
    lengths: (N,), on the CPU. device_lengths: the same on the device.
    shift, scale: (D,) or None; standardisation subtracts the one and multiplies by the other.
    """

    values: Tensor
    starts: Tensor
    lengths: Tensor
    device_lengths: Tensor
    shift: Tensor | None = None
    scale: Tensor | None = None

    @classmethod
    def load(cls, ragged: Ragged, device: torch.device, statistics: Statistics | None) -> ResidentStream:
        values = torch.from_numpy(ragged.values)
        # Where no clip of the split has the modality, a gather still needs a row to read.
        if not len(values):
            values = values.new_zeros((1, *values.shape[1:]))
        lengths = torch.from_numpy(ragged.lengths)
        shift = scale = None
        if statistics is not None:
            shift = torch.from_numpy(statistics.mean).float().to(device)
            scale = torch.from_numpy(1.0 / statistics.std).float().to(device)
        starts = torch.from_numpy(ragged.offsets[:-1]).to(device)
        return cls(values.to(device), starts, lengths, lengths.to(device), shift, scale)

    def gather(self, index: Tensor, device_index: Tensor) -> tuple[Stream, Tensor]:
        """Returns the stream, and present (B,) bool.

        index: (B,) int64, clips in the split, on the CPU. device_index: the same on the device.
        """
        # Only real steps are read and standardised, and padding is one fill. `lengths` is on the CPU, so that their sum
        # and their maximum are known without waiting for a GPU.
        lengths = self.lengths[index]
        clips, steps, total = len(lengths), max(1, int(lengths.max())), int(lengths.sum())
        lengths_B = self.device_lengths[device_index]
        clip_L = torch.arange(clips, device=lengths_B.device).repeat_interleave(lengths_B, output_size=total)
        step_L = torch.arange(total, device=lengths_B.device) - (lengths_B.cumsum(0) - lengths_B)[clip_L]
        rows = self.values.index_select(0, self.starts[device_index][clip_L] + step_L)
        if self.values.ndim == 1:
            rows = rows.long()
        elif self.shift is not None and self.scale is not None:
            rows.sub_(self.shift).mul_(self.scale)
        padded = rows.new_zeros(clips * steps, *rows.shape[1:]).index_copy_(0, clip_L * steps + step_L, rows)
        values = padded.view(clips, steps, *rows.shape[1:])
        real_BT = torch.arange(steps, device=lengths_B.device) < lengths_B[:, None]
        present = real_BT[:, 0]
        mask = real_BT.clone()
        mask[:, 0] = True
        return Stream(values, mask, lengths.clamp(min=1)), present


@dataclass
class ResidentSplit:
    """Holds the ids, streams and targets of a split on a device; batches have their modalities in this order."""

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
        """Loads a split. reads: modality -> "values" or "tokens". statistics: those of the modalities to be z-scored.

        On the CPU features stay memory-mapped; to a GPU they are copied once.
        """
        streams = {}
        for name, what in reads.items():
            stream_statistics = None if what == "tokens" else statistics.get(name)
            streams[name] = ResidentStream.load(clips.read(name, what), device, stream_statistics)
        targets = {name: torch.from_numpy(values).to(device) for name, values in clips.targets.items()}
        return cls(clips.ids, streams, targets, device)

    def __len__(self) -> int:
        return len(self.ids)

    def batch(self, index: Tensor, device_index: Tensor, shares: tuple[int, ...], rank: int) -> Batch:
        """Returns the batch of clips `index` (B,) int64 on the CPU; device_index is the same on the device."""
        gathered = {name: stream.gather(index, device_index) for name, stream in self.streams.items()}
        return Batch(
            streams={name: stream for name, (stream, _) in gathered.items()},
            present=torch.stack([present for _, present in gathered.values()], dim=1),
            targets={name: values[device_index] for name, values in self.targets.items()},
            index=device_index,
            weight=torch.full((len(index),), float(shares[rank] > 0), device=self.device),
            shares=shares,
            rank=rank,
        )
