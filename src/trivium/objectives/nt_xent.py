"""NT-Xent (Chen et al., 2020): each of two embeddings of a clip picks the other out of all embeddings of a batch.

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
    """Returns the mean of a clip's two rows: -log softmax of its other embedding among the 2N - 1 others: (b,).

    With s = [first; second] on the unit sphere and G = s s^T / temperature, row r is logsumexp of G_rq over q != r,
    less G at r's partner. A clip's value is (row i + row N + i) / 2, and its mean over all N is the loss of Chen et al.
    (2020), eq. 1. Chance (embeddings all orthogonal or all equal, or a large temperature) is log(2N - 1).

    Both tensors hold the global batch, gathered with gradient by the caller; they need not be normalised.
    rows: this rank's anchors (all, if None). present_N: bool, clips that have both embeddings: the others are no
    candidates, and their own value is 0. temperature: above 0.
    float32 at least whatever the autocast.

    >>> import torch
    >>> from trivium.objectives import nt_xent
    >>> text, audio = torch.eye(4), torch.eye(4)
    >>> nt_xent(text, audio, temperature=0.5).mean()
    tensor(0.5944)
    """
    assert first_ND.shape == second_ND.shape, (first_ND.shape, second_ND.shape)
    rows = slice(None) if rows is None else rows
    with torch.autocast(first_ND.device.type, enabled=False):
        first_ND, second_ND = unit_rows(first_ND), unit_rows(second_ND)
        candidates = torch.cat([first_ND, second_ND])
        anchors = torch.cat([first_ND[rows], second_ND[rows]])
        scores = anchors @ candidates.T / temperature  # (2b, 2N)
    count = len(first_ND)
    # The anchors' places among the 2N candidates, and those of their partners.
    place_b = torch.arange(count, device=scores.device)[rows]
    itself, partner = torch.cat([place_b, place_b + count]), torch.cat([place_b + count, place_b])
    position = torch.arange(2 * count, device=scores.device)
    forbidden = position == itself[:, None]
    if present_N is not None:
        # A partner stays, so that no row is empty; the values of absent clips are replaced below.
        forbidden = forbidden | (~torch.cat([present_N, present_N]) & (position != partner[:, None]))
    positive = scores.gather(1, partner[:, None]).squeeze(1)
    loss = scores.masked_fill(forbidden, -math.inf).logsumexp(dim=1) - positive
    loss_b = loss.view(2, -1).mean(dim=0)
    return loss_b if present_N is None else torch.where(present_N[rows], loss_b, 0.0)


def scaled_among(loss_b: Tensor, present_N: Tensor) -> Tensor:
    """Returns the losses times N / (present clips): with 0 for the others, their mean is over the present ones."""
    return loss_b * (len(present_N) / present_N.sum().clamp(min=1).to(loss_b.dtype))


def matching_accuracy(first_ND: Tensor, second_ND: Tensor) -> Tensor:
    """Returns the share of clips whose first embedding is closest (cosine) to their own second one; chance is 1 / N.

    >>> import torch
    >>> from trivium.objectives import matching_accuracy
    >>> matching_accuracy(torch.eye(4), torch.eye(4)[[0, 1, 3, 2]])
    tensor(0.5000)
    """
    with torch.no_grad(), torch.autocast(first_ND.device.type, enabled=False):
        closest_N = (unit_rows(first_ND) @ unit_rows(second_ND).T).argmax(dim=1)
    return (closest_N == torch.arange(len(closest_N), device=closest_N.device)).float().mean()
