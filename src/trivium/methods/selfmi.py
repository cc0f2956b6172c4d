"""Trains Self-MI (Nguyen et al., 2023, arXiv 2311.03785), in a reading: Self-MM with mutual information as in MMIM.

Backbone and label generation are Self-MM's. docs/methods/selfmi.md says what is published and which reading was taken.

L = L_m + sum_s L_s + cpc_weight * sum_s CPC(joint, s) + pair_weight * sum_pairs MI(x, y)
With both weights 0 this is Self-MM (Yu et al., 2021).
L_m and L_s are the task losses of the joint head and of modality s (`_task_terms`).
With `mixup`, a share of L_m is that of mixed clips (trivium.methods.mixup); all other terms are of unmixed clips.
An absent modality enters the fusion as a zero vector. Only the joint head predicts.
Legend: B clips on this rank, N of the global batch, s a modality, E joint embedding, P pooled size of an encoder.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from trivium.core.choices import check_choice
from trivium.core.seeding import keyed
from trivium.data.batch import Batch
from trivium.data.datamodule import DataModule
from trivium.encoders.base import Encoded
from trivium.methods.accumulation import SummedAccumulation
from trivium.methods.base import Parts, Prediction
from trivium.methods.heads import Head
from trivium.methods.label_bank import LabelBank
from trivium.methods.mixup import Mixup
from trivium.methods.mutual_information import FusionCPC, PairMI, known_pairs, warn_of_no_pairs
from trivium.objectives.cpc import Direction

CHOICES = {
    "features": ("encoder", "projected"),
    "joint": ("fusion", "hidden"),
    "unimodal_targets": ("generated", "annotated"),
}


class SelfMI(SummedAccumulation):
    """Trains a joint head, a head for each modality on generated labels, and bounds on mutual information.

    configs/method/selfmi.yaml explains the keywords. pairs: pairs of modalities whose mutual information is maximised;
    those with a modality that the data lack are left out. label_limit: generated labels are clamped to it, and
    not to the largest label of the data.
    Raises ValueError for a classification objective (labels are generated as scores), for unknown choices, and as
    trivium.methods.mixup.Mixup does.
    """

    shared_options = ("modality_dropout", "stand_in", "mixup")

    def __init__(
        self,
        parts: Parts,
        *,
        name: str = "selfmi",
        cpc_weight: float = 0.1,
        pair_weight: float = 0.1,
        pair_estimator: str = "cpc",
        pairs: Sequence[Sequence[str]] = (("text", "vision"), ("text", "audio")),
        direction: Direction = "paper",
        features: str = "encoder",
        joint: str = "fusion",
        cpc_layers: int = 1,
        ba_optimisation: str = "joint",
        ba_normalised: bool = True,
        ba_standardised: bool = True,
        exclude_zero: bool = True,
        label_rule: str = "ratio",
        update_from_epoch: int = 2,
        unimodal_targets: str = "generated",
        post_dims: Mapping[str, int] | None = None,
        post_dropout: Mapping[str, float] | None = None,
        label_limit: float | None = None,
        faithful: bool = False,
    ) -> None:
        super().__init__(parts)
        _check(parts, features=features, joint=joint, unimodal_targets=unimodal_targets)
        self.name, self.cpc_weight, self.pair_weight = name, cpc_weight, pair_weight
        self.features, self.joint_layer, self.faithful = features, joint, faithful
        self.annotated = unimodal_targets == "annotated"
        self.mixup = Mixup(parts)
        dims = {s: _for_modality(post_dims, s, 32) for s in parts.encoders}
        width = parts.fusion.dim
        self._make_heads(parts, dims, post_dropout)
        self.bank = LabelBank(
            parts.train_clips,
            {"joint": width, **dims},
            high=parts.high if label_limit is None else label_limit,
            exclude_zero=exclude_zero,
            rule=label_rule,
            first_epoch=update_from_epoch,
        )
        sizes = dims if features == "projected" else {s: parts.encoders[s].dim for s in dims}
        present_pairs = known_pairs(pairs, sizes)
        if pair_weight and not present_pairs:
            warn_of_no_pairs(pairs, sizes)
        # A term of weight 0 is neither built nor computed. Initial weights of these modules have a key of their own, so
        # that the backbone is the same, bit for bit, with and without them.
        self.fusion_mi, self.pair_mi = None, None
        with keyed(parts.seed, "mutual information"):
            if cpc_weight:
                self.fusion_mi = FusionCPC(width, sizes, layers=cpc_layers, direction=direction)
            if pair_weight and present_pairs:
                self.pair_mi = PairMI(
                    present_pairs,
                    sizes,
                    pair_estimator,
                    cpc_layers,
                    direction,
                    separate=ba_optimisation == "separate",
                    normalised=ba_normalised,
                    standardised=ba_standardised,
                )

    def _make_heads(self, parts: Parts, dims: Mapping[str, int], post_dropout: Mapping[str, float] | None) -> None:
        """Makes the heads of Self-MM (Yu et al., 2021): the joint one, and a projection and a head for each modality.

        dims: modality -> size of its projection. The order of these lines is that of the draws of initial weights.
        """
        width = parts.fusion.dim
        self.joint_head = Head(width, 1, hidden=[width])
        sizes = {s: parts.fusion.unimodal_dim or encoder.dim for s, encoder in parts.encoders.items()}
        self.project = nn.ModuleDict({s: nn.Linear(sizes[s], d) for s, d in dims.items()})
        self.post_dropout = nn.ModuleDict({s: nn.Dropout(_for_modality(post_dropout, s, 0.0)) for s in dims})
        self.heads = nn.ModuleDict({s: Head(d, 1, hidden=[d]) for s, d in dims.items()})

    def on_fit_start(self) -> None:
        """Fills the label bank with the human labels of the train split. Raises ValueError if annotated ones lack."""
        super().on_fit_start()
        data: DataModule = self.trainer.datamodule
        clips = data.clips("train")
        targets = clips.targets
        missing = [s for s in self.heads if s not in targets] if self.annotated else []
        if missing:
            raise ValueError(f"method.unimodal_targets=annotated: the store has no unimodal labels of {missing}")
        labels_N = targets["multimodal"]
        if not self.annotated and not labels_N.min() < 0 < labels_N.max():
            warnings.warn(
                f"{self.name}: train labels lie in [{labels_N.min():g}, {labels_N.max():g}], all on one side of 0, and "
                "unimodal labels are generated from the centres of clips above and below 0: one of the two is missing, "
                "so they mean little. Shift the labels so that 0 is neutral, or take method=supervised",
                stacklevel=2,
            )
        lengths = {s: clips.read(s, data.reads[s]).lengths for s in self.heads}
        present = {s: torch.from_numpy(lengths_N > 0).to(self.device) for s, lengths_N in lengths.items()}
        self.bank.start(torch.from_numpy(labels_N).to(self.device), present)

    def finish_epoch(self) -> dict[str, float]:
        """Returns the means of the terms, and how far generated labels have moved. Every rank has the whole bank."""
        return super().finish_epoch() | ({} if self.annotated else self.bank.shifts())

    # One step

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        encoded = self.encode(batch)
        joint_BE = self.fuse(encoded, batch.present)
        projected = self._project(encoded)
        terms = self._task_terms(batch, joint_BE, projected)
        total = torch.stack(list(terms.values())).sum()
        if self.mixup.weight:
            # (1 - w) clean + w mixed replaces the clean joint loss, which is in `total` already.
            terms["mixed"] = self.mixup.loss(self, self.joint_head, batch, encoded)
            total = total + self.mixup.weight * (terms["mixed"] - terms["joint"])
        for name, (weight, value) in self._mi_terms(batch, encoded, joint_BE, projected).items():
            terms[name] = value
            total = total + weight * value
        self._update_bank(batch, joint_BE, projected)
        return {**terms, "loss": total}

    def predict(self, batch: Batch) -> Prediction:
        joint_BE = self.fuse(self.encode(batch), batch.present)
        return self.decode(self.joint_head(joint_BE), joint_BE)

    def _project(self, encoded: Mapping[str, Encoded]) -> dict[str, Tensor]:
        """Returns modality -> F_s* = ReLU(Linear(dropout(F_s))), (B, d), from which labels are generated.

        F_s is the pooled vector (Yu et al., 2021), or what the fusion makes of the modality alone (fusion=tetfn).
        """
        vectors = self.fusion.unimodal(encoded)
        return {s: self.project[s](self.post_dropout[s](vectors[s])).relu() for s in self.heads}

    def _task_terms(self, batch: Batch, joint_BE: Tensor, projected: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Returns L_m as "joint" and L_s under each modality's name, as in Self-MM (Yu et al., 2021).

        L_m = mean |y^_m - y_m|. L_s = mean of tanh|y_s - y_m| * |y^_s - y_s| over the clips that have s, where the tanh
        gets no gradient. With annotated labels its place is taken by 1.
        """
        target = batch.target
        terms = {"joint": batch.mean(self.objective(self.joint_head(joint_BE), target))}
        present = self._present(batch)
        for s, head in self.heads.items():
            if self.annotated:
                label_B, weight = batch.targets[s], torch.ones_like(target)
            else:
                label_B = self.bank.labels(s)[batch.index]
                # Clips whose generated label differs from the human one count more, because there the modality tells
                # something that the others do not.
                weight = torch.tanh((label_B - target).abs())
            terms[s] = batch.mean(weight * self.objective(head(projected[s]), label_B), among_N=present[s])
        return terms

    def _mi_terms(
        self, batch: Batch, encoded: Mapping[str, Encoded], joint_BE: Tensor, projected: Mapping[str, Tensor]
    ) -> dict[str, tuple[float, Tensor]]:
        """Returns name -> (weight, Batch.mean) for each term of mutual information that has a weight."""
        if self.fusion_mi is None and self.pair_mi is None:
            return {}
        vectors = {s: projected[s] if self.features == "projected" else encoded[s].pooled for s in self.heads}
        gathered = {s: batch.gather(v) for s, v in vectors.items()}
        present = self._present(batch)
        terms: dict[str, tuple[float, Tensor]] = {}
        if self.fusion_mi is not None:
            z_BE = joint_BE if self.joint_layer == "fusion" else self.joint_head.features(joint_BE)
            per_modality = self.fusion_mi(batch.gather(z_BE), gathered, present, batch.rows)
            terms |= {
                f"cpc_{s}": (self.cpc_weight, batch.mean(loss_B, present[s])) for s, loss_B in per_modality.items()
            }
        if self.pair_mi is not None:
            labels_N = batch.gather(batch.target)
            pairs = self.pair_mi(vectors, gathered, present, labels_N, batch.rows)
            for (x, y), (loss_B, both_N, whole) in pairs.items():
                value = batch.mean(loss_B, both_N)
                terms[f"mi_{x}_{y}"] = (self.pair_weight, value if whole is None else value + whole)
        return terms

    def _present(self, batch: Batch) -> dict[str, Tensor]:
        """Returns modality -> the clips of the global batch that have it, (N,) bool."""
        present_NM = batch.present_everywhere
        return {s: present_NM[:, column] for column, s in enumerate(self.heads)}

    def _update_bank(self, batch: Batch, joint_BE: Tensor, projected: Mapping[str, Tensor]) -> None:
        """Updates the label bank by the global batch, on every rank alike."""
        if not self.training:
            return
        rows = {"joint": joint_BE, **projected}
        features = {name: batch.gather(value.detach()) for name, value in rows.items()}
        index = batch.gather(batch.index)
        self.bank.update(index, features, self._present(batch), self.current_epoch + 1)

    # Checkpointed state beyond the weights

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_save_checkpoint(checkpoint)
        checkpoint["trivium"]["bank"] = self.bank.state()
        checkpoint["trivium"]["pair_memory"] = {} if self.pair_mi is None else self.pair_mi.state()

    def on_load_checkpoint(self, checkpoint: Mapping[str, Any]) -> None:
        super().on_load_checkpoint(checkpoint)
        self.bank.load_state(checkpoint["trivium"]["bank"])
        if self.pair_mi is not None:
            self.pair_mi.load_state(checkpoint["trivium"]["pair_memory"])


def _for_modality(values: Mapping[str, Any] | None, name: str, default: Any) -> Any:
    """Returns the value of a modality, of "default" if it has none, or else `default`."""
    values = values or {}
    return values.get(name, values.get("default", default))


def _check(parts: Parts, **choices: str) -> None:
    """Raises ValueError for a choice that there is not, and for an objective that is no regression."""
    for key, value in choices.items():
        check_choice(f"method.{key}", value, CHOICES[key])
    if parts.objective.outputs != 1:
        raise ValueError("method=selfmi generates unimodal labels as scores; choose objective=l1 or objective=mse")
