"""Computes SupCon (Khosla et al., 2020): embeddings of the same class attract each other, others repel.

Legend: b clips on this rank, N clips of the whole global batch, D features.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from trivium.objectives.nt_xent import similarities


def supcon(
    first_ND: Tensor,
    second_ND: Tensor,
    classes_N: Tensor,
    *,
    temperature: float = 0.07,
    rows: slice | None = None,
) -> Tensor:
    """Returns of each clip the mean loss of its two anchors, (b,).

    The loss of an anchor is the mean over its positives of -log softmax among all embeddings but itself. The 2N anchors
    are both embeddings of all clips, on the unit sphere. An anchor's positives are all embeddings of its class, its
    partner among them, but not itself (Khosla et al., 2020, eq. 2). The mean over all N clips is the paper's loss / 2N,
    without the factor temperature / base_temperature of its code (1 at its defaults). Chance is log(2N - 1).

    first_ND, second_ND: embeddings of the global batch, of any length; the caller has gathered them with gradient.
    classes_N: int64, of the global batch. temperature: above 0. rows: this rank's clips; None takes all.
    float32 at least, whatever the autocast.

    >>> import torch
    >>> from trivium.objectives import supcon
    >>> first, second = torch.eye(4), torch.eye(4)
    >>> supcon(first, second, torch.tensor([0, 0, 1, 1]), temperature=0.5).mean()
    tensor(1.9278)
    """
    assert classes_N.shape == first_ND.shape[:1], (classes_N.shape, first_ND.shape)
    scores, anchor = similarities(first_ND, second_ND, temperature, rows)
    classes = torch.cat([classes_N, classes_N])
    itself = torch.arange(len(classes), device=scores.device) == anchor[:, None]
    # Never empty, because an anchor's partner is of the same class.
    positive = (classes == classes[anchor][:, None]) & ~itself
    others = scores.masked_fill(itself, -math.inf).logsumexp(dim=1)
    mean_positive = (scores * positive).sum(dim=1) / positive.sum(dim=1)
    return (others - mean_positive).view(2, -1).mean(dim=0)
