"""Trains MISA (Hazarika et al., ACM MM 2020): each modality in a subspace of its own and in one shared by all.

u_m = LN(ReLU(Linear_m(encoder_m(x_m))))
p_m = sigmoid(Linear_m(u_m)), s_m = sigmoid(Linear(u_m)), r_m = Linear_m(p_m + s_m)
L = task + w_diff difference(p, s) + w_sim similarity(s) + w_recon |r - u|^2
The fusion gets the vectors p_m and s_m of all modalities. docs/methods/misa.md has the equations and the readings.
An absent modality has no private vector; the mean of the shared vectors that are there stands for its own.
Legend: b clips on this rank, N of the global batch, M modalities, D common width, P pooled size of an encoder.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trivium.core.choices import check_choice
from trivium.core.precision import at_least_float32
from trivium.core.seeding import keyed
from trivium.data.batch import Batch, Stream
from trivium.encoders.base import Encoded
from trivium.encoders.pooling import check_least
from trivium.methods.accumulation import SummedAccumulation
from trivium.methods.base import Parts, Prediction
from trivium.methods.gradient_reversal import Reversal
from trivium.methods.heads import Head
from trivium.objectives.subspaces import central_moment_discrepancy, subspace_difference

CHOICES = {
    "similarity": ("cmd", "adversarial"),
    "absent_private": ("masked", "learned"),
    "absent_shared": ("mean", "masked"),
}


@dataclass
class Subspaces:
    """Holds the vectors of b clips, (b, M, D) each: projected u, private p and shared s."""

    projected: Tensor
    private: Tensor
    shared: Tensor


class MISA(SummedAccumulation):
    """Trains on the task and on the three losses of the subspaces; configs/method/misa.yaml explains the keywords.

    A term of weight 0 is neither built nor computed.
    Raises ValueError for unknown choices, sizes below 1, weights below 0, and text_lengths on data without text.
    """

    def __init__(
        self,
        parts: Parts,
        *,
        name: str = "misa",
        dim: int = 128,
        dropout: float = 0.2,
        difference_weight: float = 0.3,
        similarity_weight: float = 0.8,
        reconstruction_weight: float = 0.8,
        similarity: str = "cmd",
        reversal: float = 1.0,
        text_lengths: bool = False,
        absent_private: str = "masked",
        absent_shared: str = "mean",
        faithful: bool = False,
    ) -> None:
        super().__init__(parts)
        _check(similarity=similarity, absent_private=absent_private, absent_shared=absent_shared)
        check_least("method.dim", dim, 1)
        self.weights = {"difference": difference_weight, "similarity": similarity_weight}
        self.weights["reconstruction"] = reconstruction_weight
        _check_weights({**self.weights, "reversal": reversal})
        if text_lengths and "text" not in parts.encoders:
            raise ValueError("method.text_lengths: the data have no modality text whose lengths the others could take")
        self.name, self.reversal, self.faithful = name, reversal, faithful
        self.text_lengths, self.stands_for_shared = text_lengths, absent_shared == "mean"
        # Lists in the order of the modalities, because a ModuleDict refuses a modality named "keys".
        sizes = [encoder.dim for encoder in parts.encoders.values()]
        self.project = nn.ModuleList(
            nn.Sequential(nn.Linear(size, dim), nn.ReLU(), nn.LayerNorm(dim)) for size in sizes
        )
        self.private = nn.ModuleList(nn.Linear(dim, dim) for _ in sizes)
        self.shared = nn.Linear(dim, dim)
        # Half the joint vector, 3D of 6D with three modalities.
        hidden = max(1, parts.fusion.dim // 2)
        self.head = Head(parts.fusion.dim, parts.objective.outputs, hidden=[hidden], dropout=dropout)
        self.decode_subspaces, self.discriminator = nn.ModuleList(), None
        with keyed(parts.seed, "subspaces"):
            if reconstruction_weight:
                self.decode_subspaces.extend(nn.Linear(dim, dim) for _ in sizes)
            if similarity == "adversarial" and similarity_weight:
                self.discriminator = nn.Sequential(
                    nn.Linear(dim, dim), nn.ReLU(), nn.Dropout(dropout), nn.Linear(dim, len(sizes))
                )
        self.private_stand_ins = nn.ParameterList(torch.zeros(dim) for _ in sizes if absent_private == "learned")

    @classmethod
    def fusion_sizes(cls, settings: Mapping[str, Any], sizes: Mapping[str, int]) -> Mapping[str, int]:
        return dict.fromkeys(_names(sizes), int(settings.get("dim", 128)))

    # One step

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        space = self.to_subspaces(batch)
        outputs = self.head(self.fuse_subspaces(space, batch.present))
        terms = {"task": batch.mean(self.objective(outputs, batch.target))}
        terms |= self._subspace_terms(batch, space)
        weighted = [self.weights.get(name, 1.0) * value for name, value in terms.items()]
        return {**terms, "loss": torch.stack(weighted).sum()}

    def predict(self, batch: Batch) -> Prediction:
        joint = self.fuse_subspaces(self.to_subspaces(batch), batch.present)
        return self.decode(self.head(joint), joint)

    def encode(self, batch: Batch) -> dict[str, Encoded]:
        """Returns every modality encoded; with text_lengths, audio and vision only as far as the text is long."""
        return super().encode(_cut_to_text(batch) if self.text_lengths else batch)

    def to_subspaces(self, batch: Batch) -> Subspaces:
        """Returns the vectors of this rank's clips. Those of absent modalities hold nothing that may be used."""
        encoded = self.encode(batch).values()
        projected = [project(out.pooled) for project, out in zip(self.project, encoded, strict=True)]
        private = [layer(u_bD) for layer, u_bD in zip(self.private, projected, strict=True)]
        projected_bMD = torch.stack(projected, dim=1)
        return Subspaces(projected_bMD, torch.stack(private, dim=1).sigmoid(), self.shared(projected_bMD).sigmoid())

    def fuse_subspaces(self, space: Subspaces, present_bM: Tensor) -> Tensor:
        """Returns the joint vector. The fusion gets the private vectors of all modalities, then the shared ones."""
        has_private_bM, has_shared_bM, present_bM1 = present_bM, present_bM, present_bM[..., None]
        private_bMD = torch.where(present_bM1, space.private, 0.0)
        shared_bMD = torch.where(present_bM1, space.shared, 0.0)
        if self.private_stand_ins:
            stand_ins_MD = torch.stack(list(self.private_stand_ins))
            private_bMD = torch.where(present_bM1, space.private, stand_ins_MD)
            has_private_bM = torch.ones_like(present_bM)
        if self.stands_for_shared:
            # The similarity draws the shared vectors of all modalities to one distribution, and one layer makes them.
            mean_b1D = shared_bMD.sum(dim=1, keepdim=True) / present_bM1.sum(dim=1, keepdim=True).clamp(min=1)
            shared_bMD = torch.where(present_bM1, space.shared, mean_b1D)
            has_shared_bM = torch.ones_like(present_bM)
        vectors = torch.cat([private_bMD, shared_bMD], dim=1).unbind(dim=1)
        has = torch.cat([has_private_bM, has_shared_bM], dim=1)
        encoded = {
            name: Encoded(vector[:, None], has[:, column, None], vector)
            for column, (name, vector) in enumerate(zip(_names(self.encoders), vectors, strict=True))
        }
        joint: Tensor = self.fusion(encoded, has)
        return joint

    # The losses of the subspaces

    def _subspace_terms(self, batch: Batch, space: Subspaces) -> dict[str, Tensor]:
        """Returns the terms that have a weight, unweighted."""
        terms = {}
        compared = self.weights["difference"] or (self.weights["similarity"] and self.discriminator is None)
        if compared:
            # Both terms are functions of the whole batch, not means over its clips.
            private_NMD, shared_NMD = batch.gather(torch.stack([space.private, space.shared], dim=1)).unbind(dim=1)
            present_NM = batch.present_everywhere
        if self.weights["difference"]:
            terms["difference"] = _differences(private_NMD, shared_NMD, present_NM)
        if self.weights["similarity"]:
            discriminator = self.discriminator
            terms["similarity"] = (
                _discrepancies(shared_NMD, present_NM)
                if discriminator is None
                else self._adversarial(batch, discriminator, space.shared)
            )
        if self.weights["reconstruction"]:
            terms["reconstruction"] = self._reconstruction(batch, space)
        return terms

    def _adversarial(self, batch: Batch, discriminator: nn.Module, shared_bMD: Tensor) -> Tensor:
        """Returns the mean cross-entropy of the discriminator, which tells modalities apart, over all shared vectors.

        The gradient is reversed on its way into the shared layer, so that the discriminator learns to tell and the
        layer to hide.
        """
        logits_bMM = at_least_float32(discriminator(Reversal.apply(shared_bMD, self.reversal)))  # type: ignore[no-untyped-call]
        column_M = torch.arange(logits_bMM.shape[1], device=logits_bMM.device)
        loss_bM = F.cross_entropy(logits_bMM.mT, column_M.expand(len(logits_bMM), -1), reduction="none")
        vectors = batch.present_everywhere.sum().clamp(min=1).to(loss_bM.dtype)
        per_clip_b = torch.where(batch.present, loss_bM, 0.0).sum(dim=1)
        return batch.mean(per_clip_b * (batch.global_size / vectors))

    def _reconstruction(self, batch: Batch, space: Subspaces) -> Tensor:
        """Returns the mean over modalities of the mean square of r_m - u_m; u_m gets gradient too, as in the code."""
        sums_bMD = space.private + space.shared
        per_modality = []
        for m, decoder in enumerate(self.decode_subspaces):
            error_bD = at_least_float32(decoder(sums_bMD[:, m])) - at_least_float32(space.projected[:, m])
            per_modality.append(batch.mean(error_bD.square().mean(dim=1), batch.present_everywhere[:, m]))
        return torch.stack(per_modality).mean()


def _differences(private_NMD: Tensor, shared_NMD: Tensor, present_NM: Tensor) -> Tensor:
    """Returns the sum of the differences of p_m and s_m, and of the private vectors of each two modalities.

    Each is over the clips that have the modalities concerned.
    """
    private, shared, present = private_NMD.unbind(dim=1), shared_NMD.unbind(dim=1), present_NM.unbind(dim=1)
    values = [
        subspace_difference(p_ND, s_ND, has_N) for p_ND, s_ND, has_N in zip(private, shared, present, strict=True)
    ]
    values += [subspace_difference(private[m], private[n], present[m] & present[n]) for m, n in _pairs(len(private))]
    return torch.stack(values).sum()


def _discrepancies(shared_NMD: Tensor, present_NM: Tensor) -> Tensor:
    """Returns the mean over pairs of modalities of the CMD of their shared vectors, each over the clips that have it.

    That of a modality that fewer than two clips have is 0: a single vector has no moments to compare.
    """
    shared, present = shared_NMD.unbind(dim=1), present_NM.unbind(dim=1)
    several_M = present_NM.sum(dim=0) >= 2
    values = [
        torch.where(
            several_M[m] & several_M[n],
            central_moment_discrepancy(shared[m], shared[n], present[m], present[n]),
            0.0,
        )
        for m, n in _pairs(len(shared))
    ]
    return torch.stack(values).mean() if values else at_least_float32(shared_NMD).sum() * 0.0


def _pairs(modalities: int) -> Iterable[tuple[int, int]]:
    return itertools.combinations(range(modalities), 2)


def _names(modalities: Iterable[str]) -> list[str]:
    """Returns the names under which the fusion gets the vectors."""
    modalities = list(modalities)
    return [f"{name}_{space}" for space in ("private", "shared") for name in modalities]


def _cut_to_text(batch: Batch) -> Batch:
    """Returns the batch with all numeric modalities cut to as many steps as the clip's text has, as MMSA's code does.

    Where the text is absent nothing is cut.
    """
    text = batch.streams["text"]
    steps_b = text.mask.sum(dim=1)
    has_text_b1 = batch.present[:, list(batch.streams).index("text"), None]
    streams = {}
    for name, stream in batch.streams.items():
        step_T = torch.arange(stream.mask.shape[1], device=stream.mask.device)
        mask_bT = stream.mask & ((step_T < steps_b[:, None]) | ~has_text_b1)
        values = stream.values
        if values.is_floating_point():
            values = values.masked_fill(~mask_bT[..., None], 0.0)
        streams[name] = stream if name == "text" else Stream(values, mask_bT, mask_bT.sum(dim=1))
    return replace(batch, streams=streams)


def _check(**choices: str) -> None:
    for key, value in choices.items():
        check_choice(f"method.{key}", value, CHOICES[key])


def _check_weights(weights: Mapping[str, float]) -> None:
    """Raises ValueError, naming the key, for a weight that is no finite number from 0."""
    for name, weight in weights.items():
        if not 0.0 <= weight < float("inf"):
            key = name if name == "reversal" else f"{name}_weight"
            raise ValueError(f"method.{key}: expected a number from 0, found {weight}")
