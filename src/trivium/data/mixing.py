"""Mixes clips over the global batch (mixup; Zhang et al., 2018), after drawing which clips and how much of each.

A mixing is drawn once for the global batch, alike on every rank, and each rank mixes its own slice with clips that it
gathers from the others. M3ixup uses it, and supervised training and Self-MI have it as an option.
Legend: b clips on this rank, N of the global batch, K clips that are mixed into one, M modalities, T steps, D features.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from trivium.core.distributed import gather_rows, most_over_ranks
from trivium.data.batch import Batch, Stream


@dataclass
class Mixing:
    """Makes clip i the sum over k of weights[k, i] * clip sources[k, i].

    weights: (K, N) float64, each column's sum is 1. sources: (K, N) int64, places in the global batch; row 0 is the
    clip itself.
    """

    weights: Tensor
    sources: Tensor

    @classmethod
    def none(cls, clips: int, device: torch.device) -> Mixing:
        """Returns the mixing that leaves every clip as it is."""
        return cls(torch.ones(1, clips, dtype=torch.float64, device=device), torch.arange(clips, device=device)[None])

    def matrix(self) -> Tensor:
        """Returns (N, N) float64, the matrix A of the docs. Row i has the weights of the clips in mixed clip i."""
        clips = self.weights.shape[1]
        zero = self.weights.new_zeros(clips, clips)
        return zero.scatter_add(1, self.sources.T, self.weights.T.contiguous())

    def mix(self, values_N: Tensor, rows: slice) -> Tensor:
        """Returns (b, ...), the mixed values of this rank's clips, from those of the global batch, in their dtype."""
        sources_Kb = self.sources[:, rows]
        weights_Kb = self.weights[:, rows].to(values_N.dtype)
        weights = weights_Kb.view(*weights_Kb.shape, *[1] * (values_N.dim() - 1))
        mixed: Tensor = (weights * values_N[sources_Kb]).sum(dim=0)
        return mixed

    def all_of(self, flags_N: Tensor, rows: slice) -> Tensor:
        """Returns (b, ...) bool, True where every clip that is mixed in has the flag."""
        return (flags_N[self.sources[:, rows]] | self._unused(flags_N, rows)).all(dim=0)

    def any_of(self, flags_N: Tensor, rows: slice) -> Tensor:
        """Returns (b, ...) bool, True where some clip that is mixed in has the flag."""
        return (flags_N[self.sources[:, rows]] & ~self._unused(flags_N, rows)).any(dim=0)

    def then(self, second: Mixing) -> Mixing:
        """Returns this mixing followed by `second`: the matrix second.matrix() @ self.matrix()."""
        weights = second.weights[:, None] * self.weights[:, second.sources].transpose(0, 1)
        sources = self.sources[:, second.sources].transpose(0, 1)
        return Mixing(weights.flatten(0, 1), sources.flatten(0, 1))

    def _unused(self, flags_N: Tensor, rows: slice) -> Tensor:
        unused_Kb = self.weights[:, rows] == 0
        return unused_Kb.view(*unused_Kb.shape, *[1] * (flags_N.dim() - 1))


def draw_mixing(key: int, alpha: float, eligible_N: Tensor) -> Mixing:
    """Draws for each eligible clip a random eligible partner, and the clip's share max(lam, 1 - lam).

    lam ~ Beta(alpha, alpha), alpha above 0. key: alike on all ranks (Method.step_key). eligible_N: bool, over the
    global batch; clips that are not eligible are left as they are. A clip may be its own partner.
    """
    clips, device = len(eligible_N), eligible_N.device
    rng = np.random.default_rng(key)
    lam_N = rng.beta(alpha, alpha, clips)
    share_N = torch.from_numpy(np.maximum(lam_N, 1 - lam_N)).to(device, non_blocking=True)
    score_N = torch.from_numpy(rng.random(clips)).to(device, non_blocking=True)
    place_N = torch.arange(clips, device=device)
    # Both orders have the eligible clips in front, and behind them the others, which are so paired with themselves.
    ordered_N = torch.where(eligible_N, 0, 1).argsort(stable=True)
    shuffled_N = torch.where(eligible_N, score_N, 2.0).argsort(stable=True)
    partner_N = torch.empty_like(place_N).scatter(0, ordered_N, shuffled_N)
    share_N = torch.where(eligible_N, share_N, 1.0)
    return Mixing(torch.stack([share_N, 1 - share_N]), torch.stack([place_N, partner_N]))


def mix_streams(batch: Batch, mixing: Mapping[str, Mixing]) -> dict[str, Stream]:
    """Returns the mixed streams of this rank's clips for the modalities in `mixing`.

    Features are mixed on all T x D entries, with padding as zeros; a mixed clip is as long as its longest part.
    """
    return {name: _mix_stream(batch.streams[name], batch, how) for name, how in mixing.items()}


def mix_batch(batch: Batch, mixing: Mixing) -> Batch:
    """Returns the batch with all features mixed; a modality is present where every clip that is mixed in has it."""
    present_NM = batch.present_everywhere
    streams = mix_streams(batch, dict.fromkeys(batch.streams, mixing))
    return replace(batch, streams=streams, present=mixing.all_of(present_NM, batch.rows))


def gather_steps(values_bT: Tensor, shares: tuple[int, ...]) -> Tensor:
    """Returns (N, T, ...), the steps of all ranks, padded with zeros to the length of the longest rank's."""
    if len(shares) == 1:
        return values_bT
    longest = most_over_ranks(values_bT.shape[1], values_bT.device)
    missing = longest - values_bT.shape[1]
    return gather_rows(F.pad(values_bT, (0, 0) * (values_bT.dim() - 2) + (0, missing)), shares)


def _mix_stream(stream: Stream, batch: Batch, mixing: Mixing) -> Stream:
    values_NTD = gather_steps(stream.values, batch.shares)
    mask_NT = gather_steps(stream.mask.to(torch.uint8), batch.shares).bool()
    values, mask = mixing.mix(values_NTD, batch.rows), mixing.any_of(mask_NT, batch.rows)
    return Stream(values, mask, mask.sum(dim=1))
