"""The contrasts of CoMM (Dufumier et al., ICLR 2025) and its baselines: which views of a clip meet which.

Legend: b clips on this rank, N clips of the global batch, M modalities, K masks, D features.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from trivium.objectives.cpc import cpc_loss
from trivium.objectives.nt_xent import matching_accuracy, nt_xent, scaled_among
from trivium.objectives.supcon import supcon

TERMS = ("comm", "cross", "cross_self", "self", "supcon")


@dataclass
class AugmentedViews:
    """Holds the embeddings of the global batch's two augmentations, gathered with gradient.

    first, second: (K, N, D), through each mask. Modalities alone come first, in the order of `modalities`, then all of
    them; a step has the masks that its terms need. present: (N, M) bool. classes: (N,) int64, for supcon alone.
    """

    modalities: list[str]
    first: Tensor
    second: Tensor
    present: Tensor
    classes: Tensor | None = None


def term_names(terms: str, modalities: Sequence[str]) -> list[str]:
    """Returns the names of the terms that `contrasts` gives."""
    pairs = [f"{first}_{second}" for first, second in itertools.combinations(modalities, 2)]
    named = {"comm": [*modalities, "joint"], "cross": pairs, "self": [*modalities], "supcon": ["supcon"]}
    return [*pairs, *modalities] if terms == "cross_self" else named[terms]


def contrasts(
    terms: str, views: AugmentedViews, *, temperature: float, rows: slice
) -> tuple[dict[str, Tensor], Tensor]:
    """Returns named terms, (b,) each, and a matching accuracy in [0, 1], which is the same on every rank.

    A clip that lacks what a term looks at has 0 there, and the others are scaled by N / (clips that have it), so that
    the mean over all N is the mean over those that have it. rows: this rank's clips. temperature: above 0.
    comm: each modality alone against all of them in the other augmentation, and all against all ("joint"); accuracy of
    the latter. cross: pairs of modalities, as CLIP, within each augmentation; accuracy of the first augmentation's
    pairs. self: each modality's two augmentations, as SimCLR; their accuracy. cross_self: both; the pairs' accuracy.
    supcon: all modalities' two augmentations, by class; accuracy as for comm.
    """
    makers = {
        "comm": (_comm,),
        "cross": (_cross,),
        "cross_self": (_cross, _self),
        "self": (_self,),
        "supcon": (_supcon,),
    }
    losses: dict[str, Tensor] = {}
    accuracies = []
    for make in makers[terms]:
        more, accuracy = make(views, temperature, rows)
        losses |= more
        accuracies.append(accuracy)
    return losses, accuracies[0]


def _comm(views: AugmentedViews, temperature: float, rows: slice) -> tuple[dict[str, Tensor], Tensor]:
    """Returns (NT(first_i, second_joint) + NT(second_i, first_joint)) / 2 of each i, and NT of the joint vectors."""
    joint = (views.first[-1], views.second[-1])
    terms = {}
    for m, name in enumerate(views.modalities):
        present_N = views.present[:, m]
        halves = [
            nt_xent(alone, whole, temperature=temperature, rows=rows, present_N=present_N)
            for alone, whole in ((views.first[m], joint[1]), (views.second[m], joint[0]))
        ]
        terms[name] = scaled_among(torch.stack(halves).mean(dim=0), present_N)
    any_present_N = views.present.any(dim=1)
    loss_b = nt_xent(*joint, temperature=temperature, rows=rows, present_N=any_present_N)
    return {**terms, "joint": scaled_among(loss_b, any_present_N)}, matching_accuracy(*joint)


def _cross(views: AugmentedViews, temperature: float, rows: slice) -> tuple[dict[str, Tensor], Tensor]:
    """Returns InfoNCE of x from y and of y from x for each pair of modalities (CLIP, Radford et al., 2021).

    Each is the mean of the two augmentations.
    """
    terms, accuracies = {}, []
    for (x, first), (y, second) in itertools.combinations(enumerate(views.modalities), 2):
        both_N = views.present[:, x] & views.present[:, y]
        loss_2b = torch.stack(
            [
                cpc_loss(view[x], view[y], "symmetric", rows=rows, scale=1 / temperature, present_N=both_N)
                for view in (views.first, views.second)
            ]
        )
        terms[f"{first}_{second}"] = scaled_among(loss_2b.mean(dim=0), both_N)
        accuracies.append(matching_accuracy(views.first[x], views.first[y]))
    return terms, torch.stack(accuracies).mean()


def _self(views: AugmentedViews, temperature: float, rows: slice) -> tuple[dict[str, Tensor], Tensor]:
    """Returns NT(first_i, second_i) of each modality (SimCLR, Chen et al., 2020)."""
    terms, accuracies = {}, []
    for m, name in enumerate(views.modalities):
        present_N = views.present[:, m]
        loss_b = nt_xent(views.first[m], views.second[m], temperature=temperature, rows=rows, present_N=present_N)
        terms[name] = scaled_among(loss_b, present_N)
        accuracies.append(matching_accuracy(views.first[m], views.second[m]))
    return terms, torch.stack(accuracies).mean()


def _supcon(views: AugmentedViews, temperature: float, rows: slice) -> tuple[dict[str, Tensor], Tensor]:
    """Returns SupCon of the joint vectors (Khosla et al., 2020)."""
    assert views.classes is not None
    joint = (views.first[-1], views.second[-1])
    loss_b = supcon(*joint, views.classes, temperature=temperature, rows=rows)
    return {"supcon": loss_b}, matching_accuracy(*joint)
