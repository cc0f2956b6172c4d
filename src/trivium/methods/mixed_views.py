"""The mixed views of M3ixup's reading R1, and the gradient steps that set how they are mixed (docs/methods/m3ixup.md).

Three kinds of views: of mixed clips ("unimodal"), adapting ones, whose coefficients have gone a step down the gradient
of their loss, and exploring ones, whose coefficients have gone a step up. The steps see detached vectors and B x B
tables alone: they need no second-order gradient and no second pass of an encoder.
Legend: b clips on this rank, N of the global batch, M modalities, V views, D common space.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from trivium.data.mixing import Mixing
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
    """Holds the keys of configs/method/m3ixup.yaml that concern adapting and exploring, explained there.

    Raises ValueError for unknown choices and numbers out of range.
    """

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
class MixedViews:
    """Holds the views of one term.

    vectors: (V, b, D), unit, with gradient. weights: (V, b, M), of sum 1: whose negatives a view meets.
    """

    vectors: Tensor
    weights: Tensor


@dataclass
class Coefficients:
    """Holds the coefficients that the gradient steps start from, drawn for this rank's clips.

    share: (M, b), in [0, 1/2], of the joint vector. adapt, explore: (b, M), of each modality, of sum 1.
    """

    share: Tensor
    adapt: Tensor
    explore: Tensor


def draw_coefficients(
    settings: ViewSettings, key: int, clips: int, modalities: int, rows: slice, like: Tensor
) -> Coefficients:
    """Draws for the whole global batch of N `clips`, so that `key` gives the same on all ranks, and slices.

    The values have the dtype and device of `like`.
    """
    random = np.random.default_rng(key)
    share_MN = random.beta(settings.adapt_alpha, settings.adapt_alpha, (modalities, clips))
    adapt_NM = random.dirichlet(np.full(modalities, settings.adapt_alpha), clips)
    explore_NM = random.dirichlet(np.full(modalities, settings.explore_alpha), clips)
    share_Mb = np.minimum(share_MN, 1 - share_MN)[:, rows]
    return Coefficients(
        *(torch.from_numpy(x).to(like, non_blocking=True) for x in (share_Mb, adapt_NM[rows], explore_NM[rows]))
    )


def make_views(
    names: Collection[str],
    unimodal_MbD: Tensor,
    mixing: Mixing,
    contrast: MixedContrast,
    settings: ViewSettings,
    *,
    key: int,
    members: Tensor | None,
) -> dict[str, MixedViews]:
    """Returns the views of the terms `names`, and those that they build on.

    unimodal_MbD: z~_u, unit vectors of mixed clips. mixing: how those were mixed. key: of the draws, alike on all
    ranks. members: (M,), the learned weights of adapt_members=learned before the softmax; else None.
    """
    still, rows = contrast.detached(), contrast.rows
    drawn = draw_coefficients(settings, key, len(contrast.joint), len(unimodal_MbD), rows, unimodal_MbD)
    views = {"unimodal": MixedViews(unimodal_MbD, _one_modality_each(unimodal_MbD))}
    explore_from_bM = drawn.explore
    if members is not None:
        learned_bM = members.softmax(dim=0).to(unimodal_MbD.dtype).expand_as(drawn.adapt)
        vectors = weighted(unimodal_MbD, learned_bM, settings.interpolation)[None]
        explore_from_bM = learned_bM.detach()
        views["adapt"] = MixedViews(vectors, explore_from_bM[None])
    elif settings.adapt_members == "modalities":
        views["adapt"], explore_from_bM = adapt_modalities(unimodal_MbD, still, drawn.adapt, settings)
    elif "adapt" in names:
        joint_bD = mixing.mix(still.joint, rows)
        views["adapt"] = adapt_to_joint(unimodal_MbD, joint_bD, still, drawn.share, settings)
    if "explore" in names or "task_mix" in names:
        views["explore"] = explore(unimodal_MbD, still, explore_from_bM, settings)
    return views


def adapt_to_joint(
    unimodal_MbD: Tensor, joint_bD: Tensor, contrast: MixedContrast, share_Mb: Tensor, settings: ViewSettings
) -> MixedViews:
    """Returns one view a modality, v_u = N((1 - a_u) z~_u + a_u (A z_M)).

    The share a has gone a step down the gradient of the view's loss at `share_Mb`. joint_bD: A z_M, which gets no
    gradient.
    """
    joint_bD, still, weights = joint_bD.detach(), unimodal_MbD.detach(), _one_modality_each(unimodal_MbD)

    def at(vectors_MbD: Tensor, share: Tensor) -> Tensor:
        return toward(vectors_MbD, joint_bD, share, settings.interpolation)

    if settings.update == "features":
        share_Mb = share_Mb.clamp(max=settings.adapt_max)
        gradient = _gradient(lambda view: _toward_joint(contrast, view, weights), at(still, share_Mb))
        return MixedViews(move_vectors(at(unimodal_MbD, share_Mb), gradient, -settings.adapt_rate), weights)
    gradient = _gradient(lambda share: _toward_joint(contrast, at(still, share), weights), share_Mb)
    return MixedViews(
        at(unimodal_MbD, descend_share(share_Mb, gradient, settings.adapt_rate, settings.adapt_max)), weights
    )


def adapt_modalities(
    unimodal_MbD: Tensor, contrast: MixedContrast, weight_bM: Tensor, settings: ViewSettings
) -> tuple[MixedViews, Tensor]:
    """Returns the view v = N(sum over u of c_u z~_u), and c, which exploring starts from.

    c has gone a step down the gradient of the view's loss at `weight_bM`.
    """
    still, labels = unimodal_MbD.detach(), weight_bM[None]

    def at(vectors_MbD: Tensor, weight: Tensor) -> Tensor:
        return weighted(vectors_MbD, weight, settings.interpolation)[None]

    if settings.update == "features":
        gradient = _gradient(lambda view: _toward_joint(contrast, view, labels), at(still, weight_bM))
        return MixedViews(move_vectors(at(unimodal_MbD, weight_bM), gradient, -settings.adapt_rate), labels), weight_bM
    gradient = _gradient(lambda weight: _toward_joint(contrast, at(still, weight), labels), weight_bM)
    moved_bM = move_weights(weight_bM, gradient, -settings.adapt_rate)
    return MixedViews(at(unimodal_MbD, moved_bM), labels), moved_bM


def explore(unimodal_MbD: Tensor, contrast: MixedContrast, weight_bM: Tensor, settings: ViewSettings) -> MixedViews:
    """Returns the view v = N(sum over u of w_u z~_u), M3ixup's exploring step.

    w has gone a step up the gradient of the view's loss at `weight_bM`. A clip whose loss that would lower (a long step
    may overshoot) stays at `weight_bM`. With explore_labels=perturbed the weights of the loss are w too.
    """
    still, labels = unimodal_MbD.detach(), weight_bM[None]

    def at(vectors_MbD: Tensor, weight: Tensor) -> Tensor:
        return weighted(vectors_MbD, weight, settings.interpolation)[None]

    def loss(view_1bD: Tensor) -> Tensor:
        return _toward_joint(contrast, view_1bD, labels)[0]

    before_b = loss(at(still, weight_bM))
    if settings.update == "features":
        gradient = _gradient(loss, at(still, weight_bM))
        start = at(unimodal_MbD, weight_bM)
        moved = move_vectors(start, gradient, settings.explore_rate)
        raised_b = loss(moved.detach()) >= before_b
        return MixedViews(torch.where(raised_b[:, None], moved, start), labels)
    gradient = _gradient(lambda weight: loss(at(still, weight)), weight_bM)
    moved_bM = move_weights(weight_bM, gradient, settings.explore_rate)
    raised_b = loss(at(still, moved_bM)) >= before_b
    moved_bM = torch.where(raised_b[:, None], moved_bM, weight_bM)
    labels = moved_bM[None] if settings.explore_labels == "perturbed" else labels
    return MixedViews(at(unimodal_MbD, moved_bM), labels)


def _one_modality_each(unimodal_MbD: Tensor) -> Tensor:
    """Returns weights (M, b, M): the view of each modality has weight 1 on that modality's negatives."""
    modalities, clips = unimodal_MbD.shape[:2]
    one_hot = torch.eye(modalities, dtype=unimodal_MbD.dtype, device=unimodal_MbD.device)
    return one_hot[:, None].expand(-1, clips, -1)


def _toward_joint(contrast: MixedContrast, view_VbD: Tensor, weight_VbM: Tensor) -> Tensor:
    """Returns the loss of the gradient steps, (V, b): sum over u of W_u l1_u."""
    return (weight_VbM.transpose(1, 2) * contrast.toward_joint(view_VbD)).sum(dim=1)


def _gradient(loss: Callable[[Tensor], Tensor], at: Tensor) -> Tensor:
    """Returns the gradient of each clip's loss; no clip's loss depends on another's coefficients."""
    with torch.enable_grad():
        at = at.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(loss(at).sum(), at)
    return gradient
