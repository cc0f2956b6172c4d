"""Defines a batch: padded to its longest clip, with masks, presence and its place in the global batch.

Legend: B clips on this rank, N clips of the global batch, T steps, D features, M modalities.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from trivium.core.distributed import gather_rows
from trivium.data.target import MULTIMODAL


@dataclass
class Words:
    """Says which word of its clip each token of a stream is of.

    numbers: (B, T) int64, from 0; -1 for special tokens and where padded. counts: (B,) int64, the number of words of
    each clip, with those whose tokens were cut off; 0 where the words are not known.
    """

    numbers: Tensor
    counts: Tensor


@dataclass
class Stream:
    """Holds one modality of a batch.

    values: (B, T, D) features, zero where padded; or (B, T) int64 token ids, 0 where padded.
    mask: (B, T) bool, True on real steps; the first step is always True, so that attention over a row is defined.
    lengths: (B,) int64, at least 1, on the CPU, so that nothing waits for a GPU. Only those of mixed clips are on the
    device. A clip that lacks the modality has one zero step and is False in Batch.present.
    words: which word each token is of, where the values are token ids and the store knows it.
    """

    values: Tensor
    mask: Tensor
    lengths: Tensor
    words: Words | None = None

    @classmethod
    def padded(cls, values: Tensor, lengths: Tensor | None = None) -> Stream:
        """Returns the stream of padded sequences: (B, T, D) features or (B, T) token ids.

        lengths: (B,), real steps of each clip, which come first; all T if None. What lies behind them is cleared.
        Raises ValueError for shapes that do not fit and for lengths outside 1 to T.

        >>> import torch
        >>> from trivium.encoders import GRU, Stream
        >>> stream = Stream.padded(torch.randn(2, 5, 3), lengths=torch.tensor([5, 2]))
        >>> GRU(3, hidden=4)(stream).pooled.shape
        torch.Size([2, 4])
        """
        clips, steps = values.shape[:2]
        lengths = torch.full((clips,), steps) if lengths is None else lengths.cpu().long()
        if lengths.shape != (clips,) or not bool(((lengths >= 1) & (lengths <= steps)).all()):
            raise ValueError(
                f"Stream.padded: values of shape {tuple(values.shape)} and lengths {lengths.tolist()}; expected one "
                f"length a clip, from 1 to {steps}"
            )
        mask = (torch.arange(steps) < lengths[:, None]).to(values.device)
        return cls(values.masked_fill(~mask.view(*mask.shape, *[1] * (values.dim() - 2)), 0), mask, lengths)


@dataclass
class Batch:
    """Holds one rank's slice of a global batch.

    streams: modality -> Stream, in the data module's order. present: (B, M) bool, columns in that order.
    targets: name -> values of each clip: "multimodal", the chosen target (B,) or (B, K), whatever its name in the
    store is; and modalities' own where they are annotated.
    index: (B,) int64, the clips' positions in the split, by which banks are addressed.
    weight: (B,) 1.0, or 0.0 for the one clip that a rank without clips gets to keep it in step.
    shares: the number of this global batch's clips on each rank; their sum is N. rank: this rank.
    """

    streams: dict[str, Stream]
    present: Tensor
    targets: dict[str, Tensor]
    index: Tensor
    weight: Tensor
    shares: tuple[int, ...]
    rank: int = 0

    def __len__(self) -> int:
        return len(self.index)

    @property
    def global_size(self) -> int:
        """Returns N, the number of clips in the global batch."""
        return sum(self.shares)

    @property
    def rows(self) -> slice:
        """Returns this rank's rows of the global batch; for a clip of weight 0, some row that exists."""
        start = sum(self.shares[: self.rank]) if self.shares[self.rank] else 0
        return slice(start, start + len(self))

    @functools.cached_property
    def present_everywhere(self) -> Tensor:
        """Returns (N, M) bool, `present` of all clips of the global batch. All ranks have to read it, as it gathers."""
        if len(self.shares) == 1:
            return self.present
        return gather_rows(self.present.to(torch.uint8), self.shares).bool()

    @property
    def target(self) -> Tensor:
        """Returns what is to be predicted of each clip: (B,) scores or class numbers; (B, K) scores or labels."""
        return self.targets[MULTIMODAL]

    def gather(self, rows: Tensor) -> Tensor:
        """Returns every rank's rows, end to end in the global batch's order, with gradients."""
        return gather_rows(rows, self.shares)

    def mean(self, per_clip_B: Tensor, among_N: Tensor | None = None) -> Tensor:
        """Returns the local sum times world / N, whose mean over ranks (DDP's) is the mean over the global batch.

        among_N: (N,) bool, True for the clips of the global batch that count. The mean is then over these alone, and 0
        where there are none. A term that uses one modality gives the clips that have it.
        """
        # A mean, or values of shape (B, 1), would broadcast to a number that looks like a loss.
        assert per_clip_B.shape == self.weight.shape, f"one value a clip, {(*self.weight.shape,)}: {per_clip_B.shape}"
        if among_N is not None:
            scale = self.global_size / among_N.sum().clamp(min=1).to(per_clip_B.dtype)
            per_clip_B = torch.where(among_N[self.rows], per_clip_B, 0.0) * scale
        weight = self.weight.to(per_clip_B.dtype)
        return (per_clip_B * weight).sum() * (len(self.shares) / self.global_size)

    def restrict(self, modalities: list[str]) -> Batch:
        """Returns the same clips with every other modality marked absent and its content zeroed.

        Raises ValueError if a name is unknown.
        """
        unknown = set(modalities) - set(self.streams)
        if unknown:
            raise ValueError(f"modalities {sorted(unknown)} are not among {list(self.streams)}")
        removed = torch.tensor([name not in modalities for name in self.streams], device=self.present.device)
        return self.without(removed.expand(len(self), -1))

    def without(self, removed_BM: Tensor) -> Batch:
        """Returns the same clips with the modalities that are True in removed_BM marked absent, their content zeroed.

        Masks and lengths stay as they are. A method must not use the length of an absent stream, and Method.encode
        clears it.
        """
        streams = {
            name: replace(s, values=s.values.masked_fill(removed_BM[:, m].view(-1, *[1] * (s.values.dim() - 1)), 0))
            for m, (name, s) in enumerate(self.streams.items())
        }
        return replace(self, streams=streams, present=self.present & ~removed_BM)
