"""Makes the mixed views of M3ixup's reading R1, by gradient steps on their coefficients (docs/methods/m3ixup.md).

There are three kinds of views: of mixed clips ("unimodal"), adapting ones, whose coefficients have gone a step down the
gradient of their loss, and exploring ones, whose coefficients have gone a step up. The gradient steps work on detached
vectors and b x N tables, so that they need no second-order gradient and no second pass of an encoder.
Legend: b clips on this rank, N of the global batch, M modalities, V views, D common space.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from trivium.core.choices import check_choice
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
    """Holds the keys of configs/method/m3ixup.yaml that concern adapting and exploring, which are explained there.

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
            check_choice(f"method.{key}", getattr(self, key), choices)
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

    vectors: (V, b, D), of length 1, with gradient.
    weights: (V, b, M), of sum 1, by which a view is contrasted with each modality's vectors.
    """

    vectors: Tensor
    weights: Tensor


@dataclass
class Coefficients:
    """Holds the coefficients at which the gradient steps start, drawn for this rank's clips.

    share: (M, b), in [0, 1/2], the part of the joint vector in each modality's view. adapt, explore: (b, M), of sum 1,
    the part of each modality in an adapting and in an exploring view.
    """

    share: Tensor
    adapt: Tensor
    explore: Tensor


def draw_coefficients(
    settings: ViewSettings, key: int, clips: int, modalities: int, rows: slice, like: Tensor
) -> Coefficients:
    """Draws the coefficients of a global batch of N `clips` from `key`, and returns those of this rank's `rows`.

    The values have the dtype and device of `like`.
    """
    # Every rank draws for all clips, so that a clip's coefficients do not depend on how clips are spread over ranks.
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
    """Returns the views of the terms `names`, and the views that they build on.

    unimodal_MbD: z~_u, unit vectors of mixed clips. mixing: how the clips were mixed.
    key: of the draws, the same on all ranks.
    members: (M,), with adapt_members=learned the learned weights before the softmax; else None.
    """
    detached, rows = contrast.detached(), contrast.rows
    drawn = draw_coefficients(settings, key, len(contrast.joint), len(unimodal_MbD), rows, unimodal_MbD)
    views = {"unimodal": MixedViews(unimodal_MbD, _single_modality_weights(unimodal_MbD))}
    explore_from_bM = drawn.explore
    if members is not None:
        learned_bM = members.softmax(dim=0).to(unimodal_MbD.dtype).expand_as(drawn.adapt)
        vectors = weighted(unimodal_MbD, learned_bM, settings.interpolation)[None]
        explore_from_bM = learned_bM.detach()
        views["adapt"] = MixedViews(vectors, explore_from_bM[None])
    elif settings.adapt_members == "modalities":
        views["adapt"], explore_from_bM = adapt_modalities(unimodal_MbD, detached, drawn.adapt, settings)
    elif "adapt" in names:
        joint_bD = mixing.mix(detached.joint, rows)
        views["adapt"] = adapt_to_joint(unimodal_MbD, joint_bD, detached, drawn.share, settings)
    if "explore" in names or "task_mix" in names:
        views["explore"] = explore(unimodal_MbD, detached, explore_from_bM, settings)
    return views


def adapt_to_joint(
    unimodal_MbD: Tensor, joint_bD: Tensor, contrast: MixedContrast, share_Mb: Tensor, settings: ViewSettings
) -> MixedViews:
    """Returns one view a modality, v_u = N((1 - a_u) z~_u + a_u (A z_M)), where N scales to length 1.

    The share a is `share_Mb` after a step down the gradient of the view's loss there. With update=features the view
    itself takes the step. joint_bD: A z_M, the joint vectors of the clips in the mixture, which get no gradient.
    """
    joint_bD, fixed_MbD = joint_bD.detach(), unimodal_MbD.detach()
    weights = _single_modality_weights(unimodal_MbD)

    def views_at(vectors_MbD: Tensor, share: Tensor) -> Tensor:
        return toward(vectors_MbD, joint_bD, share, settings.interpolation)

    if settings.update == "features":
        share_Mb = share_Mb.clamp(max=settings.adapt_max)
        gradient = _gradient(lambda view: _toward_joint(contrast, view, weights), views_at(fixed_MbD, share_Mb))
        return MixedViews(move_vectors(views_at(unimodal_MbD, share_Mb), gradient, -settings.adapt_rate), weights)
    gradient = _gradient(lambda share: _toward_joint(contrast, views_at(fixed_MbD, share), weights), share_Mb)
    # Towards the joint vector the loss always falls. Without the cap adapt_max a view would become a copy of it.
    moved_Mb = descend_share(share_Mb, gradient, settings.adapt_rate, settings.adapt_max)
    return MixedViews(views_at(unimodal_MbD, moved_Mb), weights)


def adapt_modalities(
    unimodal_MbD: Tensor, contrast: MixedContrast, weight_bM: Tensor, settings: ViewSettings
) -> tuple[MixedViews, Tensor]:
    """Returns the view v = N(sum over u of c_u z~_u), and c, (b, M), at which exploring starts.

    c is `weight_bM` after a step down the gradient of the view's loss there. With update=features the view itself takes
    the step, and c stays.
    """
    fixed_MbD, labels = unimodal_MbD.detach(), weight_bM[None]

    def view_at(vectors_MbD: Tensor, weight: Tensor) -> Tensor:
        return weighted(vectors_MbD, weight, settings.interpolation)[None]

    if settings.update == "features":
        gradient = _gradient(lambda view: _toward_joint(contrast, view, labels), view_at(fixed_MbD, weight_bM))
        moved = move_vectors(view_at(unimodal_MbD, weight_bM), gradient, -settings.adapt_rate)
        return MixedViews(moved, labels), weight_bM
    gradient = _gradient(lambda weight: _toward_joint(contrast, view_at(fixed_MbD, weight), labels), weight_bM)
    moved_bM = move_weights(weight_bM, gradient, -settings.adapt_rate)
    return MixedViews(view_at(unimodal_MbD, moved_bM), labels), moved_bM


def explore(unimodal_MbD: Tensor, contrast: MixedContrast, weight_bM: Tensor, settings: ViewSettings) -> MixedViews:
    """Returns the view v = N(sum over u of w_u z~_u), after M3ixup's exploring step.

    w is `weight_bM` after a step up the gradient of the view's loss there. With update=features the view itself takes
    the step. With explore_labels=perturbed the loss of the view is weighted by w too, else by `weight_bM`.
    """
    fixed_MbD, labels = unimodal_MbD.detach(), weight_bM[None]

    def view_at(vectors_MbD: Tensor, weight: Tensor) -> Tensor:
        return weighted(vectors_MbD, weight, settings.interpolation)[None]

    def loss(view_1bD: Tensor) -> Tensor:
        return _toward_joint(contrast, view_1bD, labels)[0]

    # A long step may overshoot and lower the loss. Clips for which it does stay where they were.
    before_b = loss(view_at(fixed_MbD, weight_bM))
    if settings.update == "features":
        gradient = _gradient(loss, view_at(fixed_MbD, weight_bM))
        start = view_at(unimodal_MbD, weight_bM)
        moved = move_vectors(start, gradient, settings.explore_rate)
        raised_b = loss(moved.detach()) >= before_b
        return MixedViews(torch.where(raised_b[:, None], moved, start), labels)
    gradient = _gradient(lambda weight: loss(view_at(fixed_MbD, weight)), weight_bM)
    moved_bM = move_weights(weight_bM, gradient, settings.explore_rate)
    raised_b = loss(view_at(fixed_MbD, moved_bM)) >= before_b
    moved_bM = torch.where(raised_b[:, None], moved_bM, weight_bM)
    labels = moved_bM[None] if settings.explore_labels == "perturbed" else labels
    return MixedViews(view_at(unimodal_MbD, moved_bM), labels)


def _single_modality_weights(unimodal_MbD: Tensor) -> Tensor:
    """Returns the weights of views of one modality each, (M, b, M): 1 for that modality and 0 for the others."""
    modalities, clips = unimodal_MbD.shape[:2]
    one_hot = torch.eye(modalities, dtype=unimodal_MbD.dtype, device=unimodal_MbD.device)
    return one_hot[:, None].expand(-1, clips, -1)


def _toward_joint(contrast: MixedContrast, view_VbD: Tensor, weight_VbM: Tensor) -> Tensor:
    """Returns the loss on which the gradient steps work, (V, b): the sum over modalities u of W_u l1_u."""
    return (weight_VbM.transpose(1, 2) * contrast.toward_joint(view_VbD)).sum(dim=1)


def _gradient(loss: Callable[[Tensor], Tensor], at: Tensor) -> Tensor:
    """Returns the gradient of each clip's loss at the coefficients or vectors `at`, in their shape."""
    # No clip's loss depends on another's coefficients, so that the gradient of the sum is that of each clip.
    with torch.enable_grad():
        at = at.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(loss(at).sum(), at)
    return gradient
