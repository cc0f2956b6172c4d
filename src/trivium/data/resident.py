"""Holds a split on the device, and makes a batch of it by one indexed gather.

A split that a GPU has no room for stays in the host's memory, where it is memory-mapped. The rows of each batch are
then gathered there, and everything else is done on the GPU as ever, so that the batches are the same.
Legend: B clips, T steps of the batch's longest clip, L steps of the whole split, R of the batch's, D features.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from trivium.data.batch import Batch, Stream, Words
from trivium.data.clips import Array, Clips, Ragged, TokenWords
from trivium.data.store import Statistics

# The share of a GPU's free memory that a split may take; the rest is for the model, its optimiser and a step.
_SHARE = 0.5


@dataclass
class ResidentStream:
    """Holds one modality of a split.

    values: (L, D) or (L,), on the device, or on the CPU if it has no room. starts: (N,), beside the values, the first
    step of each clip. lengths: (N,), on the CPU. device_lengths: the same on the device.
    shift, scale: (D,) or None; standardisation subtracts the one and multiplies by the other.
    words: (L,) beside the values, the word of each token, or None. word_counts: (N,), on the device, those of clips.
    """

    values: Tensor
    starts: Tensor
    lengths: Tensor
    device_lengths: Tensor
    shift: Tensor | None = None
    scale: Tensor | None = None
    words: Tensor | None = None
    word_counts: Tensor | None = None

    @classmethod
    def load(
        cls,
        ragged: Ragged,
        device: torch.device,
        statistics: Statistics | None,
        *,
        words: TokenWords | None = None,
        on_host: bool = False,
    ) -> ResidentStream:
        """Loads a modality. on_host: the values stay on the CPU, for a device that has no room for them."""
        values = _with_a_row(ragged.values)
        lengths = torch.from_numpy(ragged.lengths)
        shift = scale = None
        if statistics is not None:
            shift = torch.from_numpy(statistics.mean).float().to(device)
            scale = torch.from_numpy(1.0 / statistics.std).float().to(device)
        values = values if on_host else values.to(device)
        starts = torch.from_numpy(ragged.offsets[:-1]).to(values.device)
        numbers = counts = None
        if words is not None:
            numbers = _with_a_row(words.numbers.values).to(values.device)
            counts = torch.from_numpy(words.counts).long().to(device)
        return cls(values, starts, lengths, lengths.to(device), shift, scale, numbers, counts)

    def gather(self, index: Tensor, device_index: Tensor) -> tuple[Stream, Tensor]:
        """Returns the stream, and present (B,) bool.

        index: (B,) int64, clips in the split, on the CPU. device_index: the same on the device.
        """
        # Only real steps are read and standardised, and padding is one fill. `lengths` is on the CPU, so that their sum
        # and their maximum are known without waiting for a GPU.
        lengths = self.lengths[index]
        clips, steps, total = len(lengths), max(1, int(lengths.max())), int(lengths.sum())
        lengths_B = self.device_lengths[device_index]
        clip_R, step_R = _places(lengths_B, total)

        def rows_of(values: Tensor) -> Tensor:
            if values.device == lengths_B.device:
                return values.index_select(0, self.starts[device_index][clip_R] + step_R)
            return self._from_host(values, index, lengths, total).to(lengths_B.device, non_blocking=True)

        rows = rows_of(self.values)
        if self.values.ndim == 1:
            rows = rows.long()
        elif self.shift is not None and self.scale is not None:
            rows.sub_(self.shift).mul_(self.scale)
        padded = rows.new_zeros(clips * steps, *rows.shape[1:]).index_copy_(0, clip_R * steps + step_R, rows)
        values = padded.view(clips, steps, *rows.shape[1:])
        real_BT = torch.arange(steps, device=lengths_B.device) < lengths_B[:, None]
        present = real_BT[:, 0]
        mask = real_BT.clone()
        mask[:, 0] = True
        words = None
        if self.words is not None and self.word_counts is not None:
            numbers = torch.full((clips * steps,), -1, device=lengths_B.device)
            numbers.index_copy_(0, clip_R * steps + step_R, rows_of(self.words).long())
            words = Words(numbers.view(clips, steps), self.word_counts[device_index])
        return Stream(values, mask, lengths.clamp(min=1), words), present

    def _from_host(self, values: Tensor, index: Tensor, lengths: Tensor, total: int) -> Tensor:
        """Returns (R, D) or (R,), the clips' rows in pinned memory, from which a copy to the GPU makes nobody wait."""
        clip_R, step_R = _places(lengths, total)
        rows = torch.empty((total, *values.shape[1:]), dtype=values.dtype, pin_memory=True)
        return torch.index_select(values, 0, self.starts[index][clip_R] + step_R, out=rows)


def _with_a_row(values: Array) -> Tensor:
    """Returns the values of a split as a tensor.

    Where no clip of the split has the modality, a gather still needs a row to read.
    """
    rows = torch.from_numpy(values)
    return rows if len(rows) else rows.new_zeros((1, *rows.shape[1:]))


def _places(lengths_B: Tensor, total: int) -> tuple[Tensor, Tensor]:
    """Returns (R,) the clip of each step of a batch, and (R,) its place in the clip. total: R."""
    clip_R = torch.arange(len(lengths_B), device=lengths_B.device).repeat_interleave(lengths_B, output_size=total)
    return clip_R, torch.arange(total, device=lengths_B.device) - (lengths_B.cumsum(0) - lengths_B)[clip_R]


@dataclass
class ResidentSplit:
    """Holds the ids, streams and targets of a split on a device; batches have their modalities in this order.

    on_host: the values of its streams are on the CPU, as the device has no room for them.
    """

    ids: list[str]
    streams: dict[str, ResidentStream]
    targets: dict[str, Tensor]
    device: torch.device
    on_host: bool = False

    @classmethod
    def load(
        cls,
        clips: Clips,
        reads: dict[str, str],
        device: torch.device,
        statistics: dict[str, Statistics],
    ) -> ResidentSplit:
        """Loads a split. reads: modality -> "values" or "tokens". statistics: those of the modalities to be z-scored.

        On the CPU features stay memory-mapped; to a GPU they are copied once, if it has room for them.
        """
        raggeds = {name: clips.read(name, what) for name, what in reads.items()}
        on_host = not _has_room(device, sum(ragged.values.nbytes for ragged in raggeds.values()))
        streams = {}
        for name, what in reads.items():
            stream_statistics = None if what == "tokens" else statistics.get(name)
            words = clips.words if what == "tokens" else None
            streams[name] = ResidentStream.load(raggeds[name], device, stream_statistics, words=words, on_host=on_host)
        targets = {name: torch.from_numpy(values).to(device) for name, values in clips.targets.items()}
        return cls(clips.ids, streams, targets, device, on_host)

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


def _has_room(device: torch.device, size: int) -> bool:
    """Tells whether a device may take `size` bytes of values; the CPU has them mapped, and takes any."""
    if device.type != "cuda":
        return True
    free, _ = torch.cuda.mem_get_info(device)
    return size <= free * _SHARE
