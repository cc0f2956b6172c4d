"""Contrastive predictive coding (van den Oord et al., 2018): one vector picks its clip's other vector out of a batch.

Legend: B anchors on this rank, N candidates (the whole global batch), D and E features.
"""

from __future__ import annotations

import math
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from trivium.core.precision import at_least_float32

Direction = Literal["paper", "code", "symmetric"]


def info_nce(
    anchor_BD: Tensor,
    candidates_ND: Tensor,
    positive_B: Tensor,
    *,
    scale: float = 1.0,
    allowed_N: Tensor | None = None,
) -> Tensor:
    """Returns -log softmax of scale * cosine over the candidates, at each anchor's positive: (B,), float32 at least.

    That is InfoNCE (van den Oord et al., 2018, eq. 4), computed in float32 at least whatever the autocast.

    positive_B: int64, which candidate belongs to each anchor; it is in the denominator. scale: inverse temperature.
    allowed_N: bool, which candidates may serve as negatives (all, if None).
    Chance is log N; with scale s no value is below
    log(1 + (N - 1) e^(-2s)), and orthogonal negatives give log(1 + (N - 1) e^(-s)).

    >>> import torch
    >>> from trivium.objectives import info_nce
    >>> info_nce(torch.eye(3)[:2], torch.eye(3), torch.tensor([0, 1]), scale=2.0)
    tensor([0.2395, 0.2395])
    """
    with torch.autocast(anchor_BD.device.type, enabled=False):
        scores_BN = scale * unit_rows(anchor_BD) @ unit_rows(candidates_ND).T
    if allowed_N is not None:
        position_N = torch.arange(len(candidates_ND), device=positive_B.device)
        forbidden_BN = ~allowed_N & (position_N != positive_B[:, None])
        scores_BN = scores_BN.masked_fill(forbidden_BN, -math.inf)
    return _nce(scores_BN, positive_B)


def cpc_loss(
    predicted_ND: Tensor,
    modality_ND: Tensor,
    direction: Direction = "paper",
    *,
    rows: slice | None = None,
    scale: float = 1.0,
    present_N: Tensor | None = None,
) -> Tensor:
    """Returns CPC between a prediction and the modality's vector that it predicts: (B,), one value an anchor.

    predicted_ND: G_m(Z), the prediction from the fused vector (or from another modality). modality_ND: h_m.
    Both hold the whole global batch, gathered with gradient by the caller.
    direction: "paper" keeps the prediction and contrasts modality vectors (MMIM's paper, InfoNCE as stated); "code"
    keeps the modality vector and contrasts predictions (MMIM's public code); "symmetric" is the mean of the two.
    rows: the anchors of this rank (all, if None); may be empty. scale: inverse temperature, 1 in MMIM.
    present_N: bool, clips that have the modality: the others are no negatives, and as anchors have loss 0.
    float32 at least. Raises ValueError for an unknown direction.

    >>> import torch
    >>> from trivium.objectives import CPCPredictor, cpc_loss
    >>> joint, audio = torch.eye(4), torch.eye(4)
    >>> cpc_loss(joint, audio, "symmetric").mean()
    tensor(0.7437)
    >>> cpc_loss(CPCPredictor(4, 6)(joint), torch.rand(4, 6)).shape
    torch.Size([4])
    """
    if direction not in get_args(Direction):
        raise ValueError(f"CPC direction: expected one of {list(get_args(Direction))}, found {direction!r}")
    assert predicted_ND.shape == modality_ND.shape, (predicted_ND.shape, modality_ND.shape)
    rows = slice(None) if rows is None else rows
    positive_B = torch.arange(len(predicted_ND), device=predicted_ND.device)[rows]
    pairs = {"paper": (predicted_ND, modality_ND), "code": (modality_ND, predicted_ND)}
    chosen = pairs if direction == "symmetric" else {direction: pairs[direction]}
    losses = [
        info_nce(anchors[rows], candidates, positive_B, scale=scale, allowed_N=present_N)
        for anchors, candidates in chosen.values()
    ]
    loss_B = torch.stack(losses).mean(dim=0)
    return loss_B if present_N is None else torch.where(present_N[rows], loss_B, 0.0)


class CPCPredictor(nn.Sequential):
    """Predicts a modality's vector from the fused one: G_m of MMIM, (B, in_dim) -> (B, out_dim).

    One Linear; with layers > 1, Linear, Tanh and then Linear layers, of width out_dim throughout, as the public code
    has them (no Tanh between the later ones). Raises ValueError if layers < 1.
    """

    def __init__(self, in_dim: int, out_dim: int, layers: int = 1) -> None:
        if layers < 1:
            raise ValueError(f"layers of a CPC predictor: expected at least 1, found {layers}")
        later = [nn.Linear(out_dim, out_dim) for _ in range(layers - 1)]
        super().__init__(nn.Linear(in_dim, out_dim), *([nn.Tanh(), *later] if later else []))


def _nce(scores_BN: Tensor, positive_B: Tensor) -> Tensor:
    positive_score_B = scores_BN.gather(1, positive_B[:, None]).squeeze(1)
    return scores_BN.logsumexp(dim=1) - positive_score_B


def unit_rows(rows_ND: Tensor, eps: float = 1e-8) -> Tensor:
    """Returns rows of length 1, float32 at least.

    A row shorter than eps (all of a ReLU's outputs off) has no direction: it becomes 0 and gets no gradient, where
    dividing by eps would multiply its gradient by 1e8. NaN stays NaN.
    """
    rows_ND = at_least_float32(rows_ND)
    norm_N1 = torch.linalg.vector_norm(rows_ND, dim=-1, keepdim=True)
    return torch.where(norm_N1 <= eps, 0.0, rows_ND / norm_N1.clamp_min(eps))
