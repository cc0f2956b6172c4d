"""Measures how far a modality's vectors agree with the joint ones: whether they have the same neighbours, by cosine.

It takes the place of GMC's Delaunay component analysis (Poklukar et al., 2022); docs/protocol.md says why.
Legend: N clips, E and F sizes of two vectors, R rows of a block.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

NEIGHBOURS = 10
# Cosines that differ by less are ties, because the products of equal vectors differ in their last bits.
_TIE = 1e-12
# Rows of the N x N similarities that are in memory at once.
_ROWS = 512


def align(modality_NE: Tensor, joint_NF: Tensor, k: int = NEIGHBOURS) -> dict[str, float]:
    """Returns all measures of one modality's vectors, and the values that chance gives.

    They are "n" (clips), "k", "mutual_knn" and "chance_knn" (`mutual_neighbours`), and, if E and F are equal, "top1",
    "mrr", "chance_top1" and "chance_mrr" (`retrieval`).
    modality_NE, joint_NF: float64. k: number of neighbours; N - 1 if that is less.
    Raises ValueError for fewer than two clips.
    """
    clips = len(modality_NE)
    if clips < 2:
        raise ValueError(f"alignment: {clips} clips with every modality; neighbours need two at least")
    k = min(k, clips - 1)
    measures = {
        "n": clips,
        "k": k,
        "mutual_knn": mutual_neighbours(modality_NE, joint_NF, k),
        "chance_knn": k / (clips - 1),
    }
    if modality_NE.shape[1] == joint_NF.shape[1]:
        measures |= retrieval(modality_NE, joint_NF)
        measures |= {"chance_top1": 1 / clips, "chance_mrr": sum(1 / rank for rank in range(1, clips + 1)) / clips}
    return measures


def retrieval(modality_NE: Tensor, joint_NE: Tensor) -> dict[str, float]:
    """Returns how well a clip's joint vector is retrieved from all joint vectors by the modality's vector of the clip.

    A clip's rank is the number of joint vectors that are at least as near as its own, so that ties count against it.
    "top1" is the share of clips of rank 1, "mrr" the mean of 1 / rank. Both are in [0, 1]; chance is 1 / N and H_N / N,
    with the harmonic number H_N.
    """
    joint_NE = F.normalize(joint_NE, dim=1)
    ranks = []
    for start, rows_RE in _blocks(modality_NE):
        near_RN = rows_RE @ joint_NE.T
        match_R1 = near_RN.diagonal(start)[:, None]
        ranks.append((near_RN >= match_R1 - _TIE).sum(dim=1))
    rank_N = torch.cat(ranks).double()
    return {"top1": float((rank_N == 1).double().mean()), "mrr": float((1 / rank_N).mean())}


def mutual_neighbours(first_NE: Tensor, second_NF: Tensor, k: int) -> float:
    """Returns the share of a clip's k nearest clips that both kinds of vectors have in common, in the mean over clips.

    This is the mutual k-nearest-neighbour measure of Huh et al. (2024). It is in [0, 1]; chance is k / (N - 1).
    k: at most N - 1.
    """
    agreed = 0
    first_all, second_all = F.normalize(first_NE, dim=1), F.normalize(second_NF, dim=1)
    for (start, first_RE), (_, second_RF) in zip(_blocks(first_NE), _blocks(second_NF), strict=True):
        near = _nearest(first_RE @ first_all.T, start, k) & _nearest(second_RF @ second_all.T, start, k)
        agreed += int(near.sum())
    return agreed / (k * len(first_NE))


def _nearest(near_RN: Tensor, start: int, k: int) -> Tensor:
    """Marks the k largest of each row, (R, N) bool, without the clip itself, which is `start` places to the right."""
    near_RN.diagonal(start).fill_(-torch.inf)
    return torch.zeros_like(near_RN, dtype=torch.bool).scatter_(1, near_RN.topk(k, dim=1).indices, True)


def _blocks(vectors_NE: Tensor) -> Iterator[tuple[int, Tensor]]:
    """Yields blocks of rows, scaled to length 1, with the number of their first row."""
    for start in range(0, len(vectors_NE), _ROWS):
        yield start, F.normalize(vectors_NE[start : start + _ROWS], dim=1)
