"""Computes contrastive predictive coding (van den Oord et al., 2018): a vector picks its partner out of a batch.

Legend: B anchors on this rank, N candidates (the whole global batch), D and E features.
"""

from __future__ import annotations

import math
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from trivium.core.choices import check_choice
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
    """Returns -log softmax over the candidates of scale * cosine, at each anchor's positive, (B,).

    That is InfoNCE (van den Oord et al., 2018, eq. 4), in nats. Chance is log N. With scale s no value is below
    log(1 + (N - 1) e^(-2s)), and orthogonal negatives give log(1 + (N - 1) e^(-s)).

    positive_B: int64, the candidate that belongs to each anchor; it is in the denominator too.
    scale: inverse temperature. allowed_N: bool, the candidates that may be negatives; None allows all.
    float32 at least, whatever the autocast.

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
    positive_score_B = scores_BN.gather(1, positive_B[:, None]).squeeze(1)
    return scores_BN.logsumexp(dim=1) - positive_score_B


def cpc_loss(
    predicted_ND: Tensor,
    modality_ND: Tensor,
    direction: Direction = "paper",
    *,
    rows: slice | None = None,
    scale: float = 1.0,
    present_N: Tensor | None = None,
) -> Tensor:
    """Returns the CPC loss between predictions and the modality's vectors that they predict, (B,), one value an anchor.

    predicted_ND: G_m(Z), the predictions from the fused vector (or from another modality). modality_ND: h_m. Both hold
    the global batch; the caller has gathered them with gradient.
    direction: which of the two is the anchor.
      "paper": the prediction, among modality vectors (InfoNCE as MMIM's paper states it).
      "code": the modality vector, among predictions (MMIM's public code).
      "symmetric": the mean of both.
    rows: the anchors of this rank, which may be none; None takes all. scale: inverse temperature, 1 in MMIM.
    present_N: bool, the clips that have the modality. The others are no negatives, and their own loss is 0.
    float32 at least. Raises ValueError for an unknown direction.

    >>> import torch
    >>> from trivium.objectives import CPCPredictor, cpc_loss
    >>> joint, audio = torch.eye(4), torch.eye(4)
    >>> cpc_loss(joint, audio, "symmetric").mean()
    tensor(0.7437)
    >>> cpc_loss(CPCPredictor(4, 6)(joint), torch.rand(4, 6)).shape
    torch.Size([4])
    """
    check_choice("CPC direction", direction, get_args(Direction))
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

    layers: 1 is a Linear; more are Linear, Tanh, and then Linear layers without anything between them, all of width
    out_dim, as in MMIM's public code.
    Raises ValueError if layers < 1.
    """

    def __init__(self, in_dim: int, out_dim: int, layers: int = 1) -> None:
        if layers < 1:
            raise ValueError(f"layers of a CPC predictor: expected at least 1, found {layers}")
        later = [nn.Linear(out_dim, out_dim) for _ in range(layers - 1)]
        super().__init__(nn.Linear(in_dim, out_dim), *([nn.Tanh(), *later] if later else []))


def unit_rows(rows_ND: Tensor, eps: float = 1e-8) -> Tensor:
    """Returns rows of length 1, float32 at least.

    A row shorter than eps (the outputs of ReLUs that are all off) has no direction. It becomes 0 and gets no gradient;
    divided by eps, its gradient would be multiplied by 1e8. NaN stays NaN.
    """
    rows_ND = at_least_float32(rows_ND)
    norm_N1 = torch.linalg.vector_norm(rows_ND, dim=-1, keepdim=True)
    return torch.where(norm_N1 <= eps, 0.0, rows_ND / norm_N1.clamp_min(eps))
