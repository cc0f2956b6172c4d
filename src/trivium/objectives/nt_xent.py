"""Computes NT-Xent (Chen et al., 2020): an embedding of a clip picks the clip's other one out of all of a batch.

Legend: b anchors on this rank, N clips of the whole global batch, D features.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from trivium.objectives.cpc import unit_rows


def nt_xent(
    first_ND: Tensor,
    second_ND: Tensor,
    *,
    temperature: float = 0.1,
    rows: slice | None = None,
    present_N: Tensor | None = None,
) -> Tensor:
    """Returns of each clip the mean over its two anchors of -log softmax of the partner among the 2N - 1 others, (b,).

    With s = [first; second] on the unit sphere and G = s s^T / temperature, the value of anchor r is the logsumexp of
    G_rq over q != r, minus G at r's partner. A clip's value is that of its anchors i and N + i, in the mean; the mean
    over all N clips is the loss of Chen et al. (2020), eq. 1. Chance (embeddings all orthogonal or all equal, or a
    large temperature) is log(2N - 1).

    first_ND, second_ND: embeddings of the global batch, of any length; the caller has gathered them with gradient.
    temperature: above 0. rows: this rank's clips; None takes all.
    present_N: bool, the clips that have both embeddings. The others are no candidates, and their own value is 0.
    float32 at least, whatever the autocast.

    >>> import torch
    >>> from trivium.objectives import nt_xent
    >>> text, audio = torch.eye(4), torch.eye(4)
    >>> nt_xent(text, audio, temperature=0.5).mean()
    tensor(0.5944)
    """
    scores, anchor = similarities(first_ND, second_ND, temperature, rows)
    count = len(first_ND)
    partner = (anchor + count) % (2 * count)
    position = torch.arange(2 * count, device=scores.device)
    forbidden = position == anchor[:, None]
    if present_N is not None:
        # The partner always stays a candidate, because the log-sum-exp of an empty row is -inf. The values of absent
        # clips are replaced below.
        forbidden = forbidden | (~torch.cat([present_N, present_N]) & (position != partner[:, None]))
    positive = scores.gather(1, partner[:, None]).squeeze(1)
    loss = scores.masked_fill(forbidden, -math.inf).logsumexp(dim=1) - positive
    loss_b = loss.view(2, -1).mean(dim=0)
    return loss_b if present_N is None else torch.where(present_N[slice(None) if rows is None else rows], loss_b, 0.0)


def similarities(first_ND: Tensor, second_ND: Tensor, temperature: float, rows: slice | None) -> tuple[Tensor, Tensor]:
    """Returns cosines over the temperature between anchors and candidates, (2b, 2N), and the anchors' places, (2b,).

    Candidates are the first embeddings of all clips, then the second ones. Anchors are those of the clips `rows`, in
    the same order; a place is an anchor's number among the candidates, int64. float32 at least, whatever the autocast.
    """
    assert first_ND.shape == second_ND.shape, (first_ND.shape, second_ND.shape)
    rows = slice(None) if rows is None else rows
    with torch.autocast(first_ND.device.type, enabled=False):
        first_ND, second_ND = unit_rows(first_ND), unit_rows(second_ND)
        anchors = torch.cat([first_ND[rows], second_ND[rows]])
        scores = anchors @ torch.cat([first_ND, second_ND]).T / temperature
    place_b = torch.arange(len(first_ND), device=scores.device)[rows]
    return scores, torch.cat([place_b, place_b + len(first_ND)])


def scaled_among(loss_b: Tensor, present_N: Tensor) -> Tensor:
    """Returns the losses times N / (number of present clips), (b,).

    If the losses of absent clips are 0, the mean over all N is then the mean over the present clips.
    """
    return loss_b * (len(present_N) / present_N.sum().clamp(min=1).to(loss_b.dtype))


def matching_accuracy(first_ND: Tensor, second_ND: Tensor) -> Tensor:
    """Returns the share of clips, in [0, 1], whose first embedding is closest to the second one of the same clip.

    Closeness is the cosine. Chance is 1 / N. No gradient.

    >>> import torch
    >>> from trivium.objectives import matching_accuracy
    >>> matching_accuracy(torch.eye(4), torch.eye(4)[[0, 1, 3, 2]])
    tensor(0.5000)
    """
    with torch.no_grad(), torch.autocast(first_ND.device.type, enabled=False):
        closest_N = (unit_rows(first_ND) @ unit_rows(second_ND).T).argmax(dim=1)
    return (closest_N == torch.arange(len(closest_N), device=closest_N.device)).float().mean()
