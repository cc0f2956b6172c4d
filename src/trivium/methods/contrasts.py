"""Computes the contrasts of CoMM (Dufumier et al., ICLR 2025) and its baselines between the views of a clip.

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
    """Holds the embeddings of the two augmentations of the global batch, gathered with gradient.

    first, second: (K, N, D), one embedding for each mask that the terms need. Masks of a single modality come first, in
    the order of `modalities`, and last that of all modalities.
    present: (N, M) bool. classes: (N,) int64, which only supcon needs.
    """

    modalities: list[str]
    first: Tensor
    second: Tensor
    present: Tensor
    classes: Tensor | None = None


def term_names(terms: str, modalities: Sequence[str]) -> list[str]:
    """Returns the names of the terms that `contrasts` returns."""
    pairs = [f"{first}_{second}" for first, second in itertools.combinations(modalities, 2)]
    named = {"comm": [*modalities, "joint"], "cross": pairs, "self": [*modalities], "supcon": ["supcon"]}
    return [*pairs, *modalities] if terms == "cross_self" else named[terms]


def contrasts(
    terms: str, views: AugmentedViews, *, temperature: float, rows: slice
) -> tuple[dict[str, Tensor], Tensor]:
    """Returns named terms, (b,) each, and a matching accuracy in [0, 1], which is the same on every rank.

    terms:
      comm: each modality alone against all modalities of the other augmentation; and, as "joint", all of the one
      augmentation against all of the other. The accuracy is that of "joint".
      cross: pairs of modalities within each augmentation, as in CLIP. The accuracy is that of the first augmentation.
      self: the two augmentations of each modality, as in SimCLR.
      cross_self: the terms of cross and of self. The accuracy is that of cross.
      supcon: all modalities of the two augmentations, by class. The accuracy is that of "joint" in comm.
    temperature: above 0. rows: this rank's clips.
    A clip that lacks a modality of a term has 0 there. The other clips are scaled by N / (clips that have it), so that
    the mean over all N clips is the mean over those.
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
    """Returns (NT(first_i, second_joint) + NT(second_i, first_joint)) / 2 of each modality i, and NT of the joint ones.

    NT is NT-Xent (trivium.objectives.nt_xent).
    """
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

    A term is the mean over the two augmentations.
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
