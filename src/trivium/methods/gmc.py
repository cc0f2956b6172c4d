"""Trains GMC (Poklukar et al., ICML 2022), which draws each modality's vector to the joint one, in a common space.

Modality encoders f_u and a joint encoder g_M (the fusion, on the features themselves) -> one shared head -> unit
vectors z_u, z_M. docs/methods/m3ixup.md has the equations, and what is M3ixup's reading on top of it.
A clip that has every modality is represented by z_M, any other clip by the mean of the z_u that it has.
Legend: b clips on this rank, N of the global batch, M modalities, E encoders' size, D common space, K outputs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from trivium.core.choices import check_choice, suggest
from trivium.data.batch import Batch
from trivium.encoders.base import Encoded
from trivium.encoders.old_names import accept_old_names
from trivium.encoders.pooling import check_least
from trivium.methods.base import Method, Parts, Prediction
from trivium.methods.readout import Readout
from trivium.objectives.cpc import unit_rows
from trivium.objectives.nt_xent import nt_xent, scaled_among

JOINTS = ("inputs", "encoded")


@dataclass
class CommonSpace:
    """Holds the global batch in the common space, gathered with gradient.

    hidden: (N, M + 1, E), the encoders' vectors, the joint one last. unit: (N, M + 1, D), the same in the common space.
    present: (N, M) bool. rows: this rank's clips.
    """

    hidden: Tensor
    unit: Tensor
    present: Tensor
    rows: slice

    @property
    def complete(self) -> Tensor:
        """Returns the clips that have every modality, (N,) bool."""
        return self.present.all(dim=1)

    @property
    def local(self) -> tuple[Tensor, Tensor]:
        """Returns `unit` and `present` of this rank's clips."""
        return self.unit[self.rows], self.present[self.rows]


class TaskHead(nn.Module):
    """Maps (b, D) to outputs (b, K): Linear(z + W2 relu(W1 z)), GMC's predictor."""

    def __init__(self, dim: int, outputs: int) -> None:
        super().__init__()
        self.linear1, self.linear2, self.out = nn.Linear(dim, dim), nn.Linear(dim, dim), nn.Linear(dim, outputs)
        accept_old_names(self, {"widen.": "linear1.", "narrow.": "linear2."})

    def forward(self, z_bD: Tensor) -> Tensor:
        outputs: Tensor = self.out(z_bD + self.linear2(self.linear1(z_bD).relu()))
        return outputs


class GMC(Method):
    """Trains on the task and on GMC's contrast; configs/method/gmc.yaml explains the keywords.

    GMC's joint encoder is fusion=mult. Only clips that have every modality are contrasted; incomplete ones take part in
    the task loss. With weights.task=0 training needs no labels, and the score is a linear probe of the representation.
    Raises ValueError for unknown names of weights, weights below 0 or all 0, and a temperature of 0 or less.
    """

    terms: tuple[str, ...] = ("task", "gmc")
    validation_losses = ("loss", "total")

    def __init__(
        self,
        parts: Parts,
        *,
        name: str = "gmc",
        joint: str = "inputs",
        common: int = 60,
        temperature: float = 0.3,
        weights: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__(parts)
        self.weights = {"task": 1.0, "gmc": 1.0, **(weights or {})}
        _check(self.weights, self.terms, joint, temperature, common)
        self.name, self.joint, self.temperature = name, joint, temperature
        width, outputs = parts.fusion.dim, parts.objective.outputs
        sizes = [encoder.dim for encoder in parts.encoders.values()]
        # A list in the order of the modalities, because a ModuleDict refuses a modality named "keys".
        self.adapt = nn.ModuleList(nn.Identity() if size == width else nn.Linear(size, width) for size in sizes)
        self.head = nn.Linear(width, common)
        self.probed = not self.weights["task"]
        self.learns_labels = not self.probed
        if self.probed:
            self.readout = Readout(common, outputs)
        else:
            self.predictor = TaskHead(common, outputs)

    @classmethod
    def fuses_inputs(cls, settings: Mapping[str, Any]) -> bool:
        return bool(settings.get("joint", "inputs") == "inputs")

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        per_clip = self.contrast_and_task(self.to_common_space(batch), batch)
        terms = {name: batch.mean(loss_b) for name, loss_b in per_clip.items()}
        return {**terms, "loss": self.weigh(terms)}

    def predict(self, batch: Batch) -> Prediction:
        return self._decoded(self.represent(self.to_space(self.hidden(batch)), batch.present))

    def vectors(self, batch: Batch) -> dict[str, Tensor]:
        unit_bMD = self.to_space(self.hidden(batch))
        *unimodal, _ = unit_bMD.unbind(dim=1)
        return {"joint": self.represent(unit_bMD, batch.present), **dict(zip(self.encoders, unimodal, strict=True))}

    def validation_step(self, batch: Batch, batch_idx: int) -> dict[str, Any]:
        """Returns the task's loss as "loss", and the weighted sum of task and contrast as "total".

        M3ixup validates by the same two, without mixing. Without a task both are the contrast. If that has weight 0 too
        (M3ixup on its mixed terms alone), it counts unweighted, so that there is a loss to select the epoch by.
        """
        space = self.to_common_space(batch)
        terms = self.contrast_and_task(space, batch)
        total_b = self.weigh(terms) if self.weights["task"] or self.weights["gmc"] else terms["gmc"]
        if self.probed:
            return {"prediction": None, "loss": total_b, "total": total_b}
        return {"prediction": self._decoded(self.represent(*space.local)), "loss": terms["task"], "total": total_b}

    # Parts of a step

    def hidden(self, batch: Batch) -> Tensor:
        """Returns the vectors of all encoders, (b, M + 1, E): f_u of each modality, then g_M."""
        encoded = self.encode(batch)
        unimodal = [adapt(vectors.pooled) for adapt, vectors in zip(self.adapt, encoded.values(), strict=True)]
        return torch.stack([*unimodal, self.fuse(self._joint_reads(batch, encoded), batch.present)], dim=1)

    def to_space(self, hidden: Tensor) -> Tensor:
        """Maps (..., E) to unit vectors (..., D), float32 at least."""
        return unit_rows(self.head(hidden))

    def represent(self, unit_bMD: Tensor, present_bM: Tensor) -> Tensor:
        """Returns the representation, (b, D): z_M of complete clips, of others the mean of z_u over those present.

        The mean is not scaled to length 1 again.
        """
        unimodal_bMD, joint_bD = unit_bMD[:, :-1], unit_bMD[:, -1]
        present_bM1 = present_bM[..., None]
        count_b1 = present_bM1.sum(dim=1).clamp(min=1)
        mean_bD = torch.where(present_bM1, unimodal_bMD, 0.0).sum(dim=1) / count_b1
        return torch.where(present_bM.all(dim=1)[:, None], joint_bD, mean_bD)

    def outputs(self, features_bD: Tensor) -> Tensor:
        """Returns the outputs of the task's head, (b, K); without a task, those of the probe."""
        outputs_bK: Tensor = self.readout(features_bD) if self.probed else self.predictor(features_bD)
        return outputs_bK

    def _decoded(self, features_bD: Tensor) -> Prediction:
        return self.decode(self.outputs(features_bD), features_bD)

    def to_common_space(self, batch: Batch) -> CommonSpace:
        """Returns the global batch in the common space: this rank's clips encoded, and gathered with gradient."""
        # The head runs on all N clips on every rank, which costs less than a second gather.
        hidden_NME = batch.gather(self.hidden(batch))
        present_NM = batch.present_everywhere
        return CommonSpace(hidden_NME, self.to_space(hidden_NME), present_NM, batch.rows)

    def contrast_and_task(self, space: CommonSpace, batch: Batch) -> dict[str, Tensor]:
        """Returns "task" (if it has a weight) and "gmc", (b,) each, unweighted.

        "gmc" is the sum over modalities u of NT-Xent(z_M, z_u) (docs/methods/m3ixup.md).
        """
        terms = {}
        if not self.probed:
            outputs_bK = self.outputs(self.represent(*space.local))
            terms["task"] = self.objective(outputs_bK, batch.target)
        *unimodal, joint_ND = space.unit.unbind(dim=1)
        contrasts_b = [
            nt_xent(joint_ND, modality_ND, temperature=self.temperature, rows=space.rows, present_N=space.complete)
            for modality_ND in unimodal
        ]
        return {**terms, "gmc": scaled_among(torch.stack(contrasts_b).sum(dim=0), space.complete)}

    def weigh(self, terms: Mapping[str, Tensor]) -> Tensor:
        """Returns the weighted sum of the terms, in their shape."""
        return torch.stack([self.weights[name] * value for name, value in terms.items()]).sum(dim=0)

    def _joint_reads(self, batch: Batch, encoded: dict[str, Encoded]) -> dict[str, Encoded]:
        """Returns what g_M reads: with joint=inputs and a fusion of tokens the numeric features, else f_u's outputs."""
        if self.joint == "encoded" or self.fusion.reads != "tokens":
            return encoded
        reads = {}
        for m, (name, stream) in enumerate(batch.streams.items()):
            real_bT = stream.mask & batch.present[:, m, None]
            numbers = stream.values.is_floating_point()
            tokens = torch.where(real_bT[..., None], stream.values, 0.0) if numbers else encoded[name].tokens
            reads[name] = Encoded(tokens, real_bT if numbers else encoded[name].mask, encoded[name].pooled)
        return reads


def _check(weights: Mapping[str, float], terms: tuple[str, ...], joint: str, temperature: float, common: int) -> None:
    """Raises ValueError, naming the key, for settings that are unknown or out of range."""
    for name, weight in weights.items():
        if name not in terms:
            raise ValueError(
                f"method.weights.{name}: no such term{suggest(name, terms)}; the terms are {', '.join(terms)}"
            )
        if not 0.0 <= weight < float("inf"):
            raise ValueError(f"method.weights.{name}: expected a number from 0, found {weight}")
    if not any(weights.values()):
        raise ValueError("method.weights: all are 0, so there is nothing to train; give task or gmc a weight")
    check_choice("method.joint", joint, JOINTS)
    if not temperature > 0:
        raise ValueError(f"method.temperature: expected a number above 0, found {temperature}")
    check_least("method.common", common, 1)
