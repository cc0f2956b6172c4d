"""SupCon (Khosla et al., 2020): embeddings of one class are drawn together, those of others pushed apart.

Legend: b clips on this rank, N clips of the whole global batch, D features.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from trivium.objectives.cpc import unit_rows


def supcon(
    first_ND: Tensor,
    second_ND: Tensor,
    classes_N: Tensor,
    *,
    temperature: float = 0.07,
    rows: slice | None = None,
) -> Tensor:
    """Returns the mean of a clip's two anchors, (b,): -mean over its positives of log softmax among all but itself.

    The 2N anchors are both views of all clips, on the unit sphere; an anchor's positives are its other view and all
    views of its class, itself excluded (Khosla et al., 2020, eq. 2). The mean over all N is their loss / 2N, without
    the factor temperature / base_temperature of their code (1 at its defaults). Chance is log(2N - 1).

    Embeddings and classes hold the global batch, embeddings gathered with gradient by the caller; they need not be
    normalised. classes_N: int64. rows: this rank's clips (all, if None). temperature: above 0.
    float32 at least whatever the autocast.

    >>> import torch
    >>> from trivium.objectives import supcon
    >>> first, second = torch.eye(4), torch.eye(4)
    >>> supcon(first, second, torch.tensor([0, 0, 1, 1]), temperature=0.5).mean()
    tensor(1.9278)
    """
    assert first_ND.shape == second_ND.shape, (first_ND.shape, second_ND.shape)
    assert classes_N.shape == first_ND.shape[:1], (classes_N.shape, first_ND.shape)
    rows = slice(None) if rows is None else rows
    with torch.autocast(first_ND.device.type, enabled=False):
        first_ND, second_ND = unit_rows(first_ND), unit_rows(second_ND)
        candidates = torch.cat([first_ND, second_ND])
        anchors = torch.cat([first_ND[rows], second_ND[rows]])
        scores = anchors @ candidates.T / temperature  # (2b, 2N)
    classes = torch.cat([classes_N, classes_N])
    position = torch.arange(len(classes), device=scores.device)
    anchor = torch.cat([position[: len(first_ND)][rows], position[len(first_ND) :][rows]])
    itself = position == anchor[:, None]
    # Never empty, as a clip's other view is of its class.
    positive = (classes == classes[anchor][:, None]) & ~itself
    others = scores.masked_fill(itself, -math.inf).logsumexp(dim=1)
    mean_positive = (scores * positive).sum(dim=1) / positive.sum(dim=1)
    return (others - mean_positive).view(2, -1).mean(dim=0)
