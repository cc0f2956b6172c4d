"""The mixed views of M3ixup's reading R1, and the gradient steps that set how they are mixed (docs/methods/m3ixup.md).

The steps look at detached vectors and B x B tables alone: no second-order gradient, no second pass of an encoder.
Legend: b clips on this rank, N of the global batch, M modalities, V views, D common space.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from trivium.objectives.mixed_contrast import MixedContrast
from trivium.objectives.mixing_weights import descend_share, move_vectors, move_weights, toward, weighted

CHOICES = {
    "adapt_members": ("joint", "modalities", "learned"),
    "explore_labels": ("initial", "perturbed"),
    "update": ("coefficients", "features"),
    "interpolation": ("linear", "slerp"),
}


@dataclass(frozen=True)
class ViewSettings:
    """See configs/method/m3ixup.yaml. Raises ValueError for unknown choices and numbers out of range."""

    adapt_members: str
    adapt_alpha: float
    adapt_rate: float
    adapt_max: float
    explore_alpha: float
    explore_rate: float
    explore_labels: str
    update: str
    interpolation: str

    def __post_init__(self) -> None:
        for key, choices in CHOICES.items():
            if getattr(self, key) not in choices:
                raise ValueError(f"method.{key}: {getattr(self, key)!r}; expected one of {', '.join(choices)}")
        for key in ("adapt_alpha", "explore_alpha"):
            if not getattr(self, key) > 0:
                raise ValueError(f"method.{key}: expected a number above 0, found {getattr(self, key)}")
        for key in ("adapt_rate", "explore_rate"):
            if not getattr(self, key) >= 0:
                raise ValueError(f"method.{key}: expected a number from 0, found {getattr(self, key)}")
        if not 0 <= self.adapt_max <= 1:
            raise ValueError(f"method.adapt_max: expected a share in [0, 1], found {self.adapt_max}")


@dataclass
class Views:
    """vectors: (V, b, D), unit, with gradient. weights: (V, b, M), whose negatives a view meets; each of sum 1."""

    vectors: Tensor
    weights: Tensor


@dataclass
class Start:
    """What was drawn for this rank's clips. share: (M, b), of the joint vector. adapt, explore: (b, M), simplex."""

    share: Tensor
    adapt: Tensor
    explore: Tensor


def draw_start(settings: ViewSettings, key: int, clips: int, modalities: int, rows: slice, like: Tensor) -> Start:
    """key: alike on all ranks. clips: N. The values have the dtype and device of `like`."""
    random = np.random.default_rng(key)
    share_MN = random.beta(settings.adapt_alpha, settings.adapt_alpha, (modalities, clips))
    adapt_NM = random.dirichlet(np.full(modalities, settings.adapt_alpha), clips)
    explore_NM = random.dirichlet(np.full(modalities, settings.explore_alpha), clips)
    share_Mb = np.minimum(share_MN, 1 - share_MN)[:, rows]
    return Start(
        *(torch.from_numpy(x).to(like, non_blocking=True) for x in (share_Mb, adapt_NM[rows], explore_NM[rows]))
    )


def unimodal_views(unimodal_MbD: Tensor) -> Views:
    """Each modality's mixed clips, against its own negatives."""
    return Views(unimodal_MbD, _own_negatives(unimodal_MbD))


def adapt_to_joint(
    unimodal_MbD: Tensor, joint_bD: Tensor, contrast: MixedContrast, share_Mb: Tensor, settings: ViewSettings
) -> Views:
    """v_u = N((1 - a_u) z~_u + a_u (A z_M)), one a modality, a moved down the gradient of its loss at `share_Mb`.

    joint_bD: A z_M, which gets no gradient.
    """
    joint_bD, still, weights = joint_bD.detach(), unimodal_MbD.detach(), _own_negatives(unimodal_MbD)

    def at(vectors_MbD: Tensor, share: Tensor) -> Tensor:
        return toward(vectors_MbD, joint_bD, share, settings.interpolation)

    if settings.update == "features":
        share_Mb = share_Mb.clamp(max=settings.adapt_max)
        gradient = _gradient(lambda view: _toward_joint(contrast, view, weights), at(still, share_Mb))
        return Views(move_vectors(at(unimodal_MbD, share_Mb), gradient, -settings.adapt_rate), weights)
    gradient = _gradient(lambda share: _toward_joint(contrast, at(still, share), weights), share_Mb)
    return Views(at(unimodal_MbD, descend_share(share_Mb, gradient, settings.adapt_rate, settings.adapt_max)), weights)


def adapt_modalities(
    unimodal_MbD: Tensor, contrast: MixedContrast, weight_bM: Tensor, settings: ViewSettings
) -> tuple[Views, Tensor]:
    """v = N(sum over u of c_u z~_u), c moved down the gradient at `weight_bM`; and c, from which exploring starts."""
    still, labels = unimodal_MbD.detach(), weight_bM[None]

    def at(vectors_MbD: Tensor, weight: Tensor) -> Tensor:
        return weighted(vectors_MbD, weight, settings.interpolation)[None]

    if settings.update == "features":
        gradient = _gradient(lambda view: _toward_joint(contrast, view, labels), at(still, weight_bM))
        return Views(move_vectors(at(unimodal_MbD, weight_bM), gradient, -settings.adapt_rate), labels), weight_bM
    gradient = _gradient(lambda weight: _toward_joint(contrast, at(still, weight), labels), weight_bM)
    moved_bM = move_weights(weight_bM, gradient, -settings.adapt_rate)
    return Views(at(unimodal_MbD, moved_bM), labels), moved_bM


def explore(unimodal_MbD: Tensor, contrast: MixedContrast, weight_bM: Tensor, settings: ViewSettings) -> Views:
    """v = N(sum over u of w_u z~_u), w moved up the gradient at `weight_bM` where that does not lower a clip's loss."""
    still, labels = unimodal_MbD.detach(), weight_bM[None]

    def at(vectors_MbD: Tensor, weight: Tensor) -> Tensor:
        return weighted(vectors_MbD, weight, settings.interpolation)[None]

    def loss(view_1bD: Tensor) -> Tensor:
        return _toward_joint(contrast, view_1bD, labels)[0]

    before_b = loss(at(still, weight_bM))
    if settings.update == "features":
        gradient = _gradient(lambda view: loss(view), at(still, weight_bM))
        start = at(unimodal_MbD, weight_bM)
        moved = move_vectors(start, gradient, settings.explore_rate)
        kept_b = loss(moved.detach()) >= before_b
        return Views(torch.where(kept_b[:, None], moved, start), labels)
    gradient = _gradient(lambda weight: loss(at(still, weight)), weight_bM)
    moved_bM = move_weights(weight_bM, gradient, settings.explore_rate)
    kept_b = loss(at(still, moved_bM)) >= before_b
    moved_bM = torch.where(kept_b[:, None], moved_bM, weight_bM)
    labels = moved_bM[None] if settings.explore_labels == "perturbed" else labels
    return Views(at(unimodal_MbD, moved_bM), labels)


def _own_negatives(unimodal_MbD: Tensor) -> Tensor:
    """(M, b, M): each modality's view has weight 1 on that modality."""
    modalities, clips = unimodal_MbD.shape[:2]
    one_hot = torch.eye(modalities, dtype=unimodal_MbD.dtype, device=unimodal_MbD.device)
    return one_hot[:, None].expand(-1, clips, -1)


def _toward_joint(contrast: MixedContrast, view_VbD: Tensor, weight_VbM: Tensor) -> Tensor:
    """(V, b), the inner steps' loss: sum over u of W_u l1_u."""
    return (weight_VbM.transpose(1, 2) * contrast.toward_joint(view_VbD)).sum(dim=1)


def _gradient(loss: Callable[[Tensor], Tensor], at: Tensor) -> Tensor:
    """Of the sum of each clip's own loss, so an entry is the gradient of its clip's."""
    with torch.enable_grad():
        at = at.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(loss(at).sum(), at)
    return gradient
