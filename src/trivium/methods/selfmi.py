"""Trains Self-MI (Nguyen et al., 2023, arXiv 2311.03785), in a reading: Self-MM with mutual information as in MMIM.

Backbone and label generation are Self-MM's. docs/methods/selfmi.md says what is published and which reading was taken.

L = L_m + sum_s L_s + cpc_weight * sum_s CPC(joint, s) + pair_weight * sum_pairs MI(x, y)
With both weights 0 this is Self-MM (Yu et al., 2021).
L_m and L_s are the task losses of the joint head and of modality s (`_task_terms`).
With `mixup`, a share of L_m is that of mixed clips (trivium.methods.mixup); all other terms are of unmixed clips.
An absent modality enters the fusion as a zero vector. Only the joint head predicts.
Labels are generated as scores, so that this is a method of one score. With annotated unimodal labels, or without L_s
(unimodal_targets=none), it takes any target, and the heads have the objective's outputs.
Legend: B clips on this rank, N of the global batch, s a modality, E joint embedding, P pooled size of an encoder.
"""

from __future__ import annotations

import warnings
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from trivium.core.choices import check_choice
from trivium.core.seeding import keyed
from trivium.core.wording import undefined
from trivium.data.batch import Batch
from trivium.data.datamodule import DataModule
from trivium.encoders.base import Encoded
from trivium.methods.accumulation import SummedAccumulation
from trivium.methods.base import Parts, Prediction
from trivium.methods.heads import Head
from trivium.methods.label_bank import LabelBank
from trivium.methods.mixup import Mixup
from trivium.methods.mutual_information import (
    FusionCPC,
    PairMI,
    entropy_classes,
    entropy_labels,
    known_pairs,
    warn_of_no_pairs,
)
from trivium.objectives.cpc import Direction

CHOICES = {
    "features": ("encoder", "projected"),
    "joint": ("fusion", "hidden"),
    "unimodal_targets": ("generated", "annotated", "none"),
}


class SelfMI(SummedAccumulation):
    """Trains a joint head, a head for each modality on generated labels, and bounds on mutual information.

    configs/method/selfmi.yaml explains the keywords. pairs: pairs of modalities whose mutual information is maximised;
    those with a modality that the data lack are left out. unimodal_weights: modality -> factor of its own loss, from 0;
    1 unless given. label_limit: generated labels are clamped to it, and not to the largest label of the data.
    bank: None where no labels are generated.
    Raises ValueError where labels are generated and the target is no score or the objective no regression, for unknown
    choices and negative weights, and as trivium.methods.mixup.Mixup does.
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
        unimodal_weights: Mapping[str, float] | None = None,
        post_dims: Mapping[str, int] | None = None,
        post_dropout: Mapping[str, float] | None = None,
        label_limit: float | None = None,
        faithful: bool = False,
    ) -> None:
        super().__init__(parts)
        _check(parts, name, features=features, joint=joint, unimodal_targets=unimodal_targets)
        self.name, self.cpc_weight, self.pair_weight = name, cpc_weight, pair_weight
        self.features, self.joint_layer, self.faithful = features, joint, faithful
        self.modalities = list(parts.encoders)
        if label_limit is not None and not (isinstance(label_limit, int | float) and label_limit > 0):
            raise ValueError(f"method.label_limit: expected a number above 0, or null, found {label_limit!r}")
        self.annotated = unimodal_targets == "annotated"
        self.unimodal_weights = _weights(unimodal_weights, list(parts.encoders))
        self.mixup = Mixup(parts)
        dims = {s: _for_modality(post_dims, s, 32) for s in parts.encoders}
        width = parts.fusion.dim
        sizes = dims if features == "projected" else {s: parts.encoders[s].dim for s in dims}
        present_pairs = known_pairs(pairs, sizes)
        headed: Collection[str] = dims
        projected: Collection[str] = dims
        if unimodal_targets == "none":
            # Projections are then there for the mutual information alone. DDP waits for a gradient of every one.
            paired = {s for pair in present_pairs for s in pair} if pair_weight else set()
            headed, projected = (), dims if cpc_weight else [s for s in dims if s in paired]
            projected = projected if features == "projected" else ()
        self._make_heads(parts, dims, post_dropout, headed, projected)
        self.bank: LabelBank | None = None
        if unimodal_targets == "generated":
            self.bank = LabelBank(
                parts.train_clips,
                {"joint": width, **dims},
                high=parts.high if label_limit is None else label_limit,
                exclude_zero=exclude_zero,
                rule=label_rule,
                first_epoch=update_from_epoch,
            )
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
                    classes=0 if pair_estimator == "cpc" else self._entropy_classes(),
                )

    def _make_heads(
        self,
        parts: Parts,
        dims: Mapping[str, int],
        post_dropout: Mapping[str, float] | None,
        headed: Collection[str],
        projected: Collection[str],
    ) -> None:
        """Makes the heads of Self-MM (Yu et al., 2021): the joint one, and a projection and a head for each modality.

        dims: modality -> size of its projection. headed, projected: the modalities that have a head and a projection.
        The order of these lines is that of the draws of initial weights.
        """
        width, outputs = parts.fusion.dim, parts.objective.outputs
        self.joint_head = Head(width, outputs, hidden=[width])
        sizes = {s: parts.fusion.unimodal_dim or encoder.dim for s, encoder in parts.encoders.items()}
        self.project = nn.ModuleDict({s: nn.Linear(sizes[s], dims[s]) for s in projected})
        self.post_dropout = nn.ModuleDict({s: nn.Dropout(_for_modality(post_dropout, s, 0.0)) for s in projected})
        self.heads = nn.ModuleDict({s: Head(dims[s], outputs, hidden=[dims[s]]) for s in headed})

    def _entropy_classes(self) -> int:
        instead = "take method.pair_estimator=cpc, or method.pair_weight=0"
        return entropy_classes(self.objective.target, "method.pair_estimator=ba", instead)

    def on_fit_start(self) -> None:
        """Fills the label bank with the human labels of the train split.

        Raises ValueError if annotated labels of a modality lack, or are of another kind than the target.
        """
        super().on_fit_start()
        data: DataModule = self.trainer.datamodule
        if self.annotated:
            self._refuse_other_annotations(data)
        if self.bank is None:
            return
        clips = data.clips("train")
        labels_N = clips.targets["multimodal"]
        if not labels_N.min() < 0 < labels_N.max():
            warnings.warn(
                f"{self.name}: train labels lie in [{labels_N.min():g}, {labels_N.max():g}], all on one side of 0, and "
                "unimodal labels are generated from the centres of clips above and below 0: one of the two is missing, "
                "so they mean little. Shift the labels so that 0 is neutral, or take method=supervised",
                stacklevel=2,
            )
        lengths = {s: clips.read(s, data.reads[s]).lengths for s in self.modalities}
        present = {s: torch.from_numpy(lengths_N > 0).to(self.device) for s, lengths_N in lengths.items()}
        self.bank.start(torch.from_numpy(labels_N).to(self.device), present)

    def _refuse_other_annotations(self, data: DataModule) -> None:
        missing = [s for s in self.modalities if data.described(s) is None]
        if missing:
            raise ValueError(
                f"method.unimodal_targets=annotated: the store has no unimodal labels of {missing} that belong to the "
                f"target {data.target_name!r}; take method.unimodal_targets=none, or generated for one score"
            )
        for s in self.modalities:
            described = data.described(s)
            if described is not None and (described.task, described.names) != (data.target.task, data.target.names):
                raise ValueError(
                    f"method.unimodal_targets=annotated: the target {data.target_name!r} is {data.target.words}, and "
                    f"the store's labels of {s} are {described.words}; take method.unimodal_targets=none"
                )

    def finish_epoch(self) -> dict[str, float]:
        """Returns the means of the terms, and how far generated labels have moved. Every rank has the whole bank."""
        return super().finish_epoch() | ({} if self.bank is None else self.bank.shifts())

    # One step

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        encoded = self.encode(batch)
        joint_BE = self.fuse(encoded, batch.present)
        projected = self._project(encoded)
        terms = self._task_terms(batch, joint_BE, projected)
        total = torch.stack([self.unimodal_weights.get(s, 1.0) * term for s, term in terms.items()]).sum()
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
        vectors = self.fusion.unimodal(encoded) if len(self.project) else {}
        return {s: self.project[s](self.post_dropout[s](vectors[s])).relu() for s in self.project}

    def _task_terms(self, batch: Batch, joint_BE: Tensor, projected: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Returns L_m as "joint" and L_s under each modality's name, as in Self-MM (Yu et al., 2021).

        L_m = mean |y^_m - y_m|. L_s = mean of tanh|y_s - y_m| * |y^_s - y_s| over the clips that have s, where the tanh
        gets no gradient. With annotated labels its place is taken by 1. Without unimodal labels there is no L_s.
        """
        target = batch.target
        terms = {"joint": batch.mean(self.objective(self.joint_head(joint_BE), target))}
        present = self._present(batch)
        for s, head in self.heads.items():
            if self.bank is None:
                loss_B = self.objective(head(projected[s]), batch.targets[s])
            else:
                label_B = self.bank.labels(s)[batch.index]
                # Clips whose generated label differs from the human one count more, because there the modality tells
                # something that the others do not.
                loss_B = torch.tanh((label_B - target).abs()) * self.objective(head(projected[s]), label_B)
            terms[s] = batch.mean(loss_B, among_N=present[s])
        return terms

    def _mi_terms(
        self, batch: Batch, encoded: Mapping[str, Encoded], joint_BE: Tensor, projected: Mapping[str, Tensor]
    ) -> dict[str, tuple[float, Tensor]]:
        """Returns name -> (weight, Batch.mean) for each term of mutual information that has a weight."""
        if self.fusion_mi is None and self.pair_mi is None:
            return {}
        vectors = projected if self.features == "projected" else {s: encoded[s].pooled for s in self.modalities}
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
            labels_N = entropy_labels(self.objective.target, batch.gather(batch.target))
            pairs = self.pair_mi(vectors, gathered, present, labels_N, batch.rows)
            for (x, y), (loss_B, both_N, whole) in pairs.items():
                value = batch.mean(loss_B, both_N)
                terms[f"mi_{x}_{y}"] = (self.pair_weight, value if whole is None else value + whole)
        return terms

    def _present(self, batch: Batch) -> dict[str, Tensor]:
        """Returns modality -> the clips of the global batch that have it, (N,) bool."""
        present_NM = batch.present_everywhere
        return {s: present_NM[:, column] for column, s in enumerate(self.modalities)}

    def _update_bank(self, batch: Batch, joint_BE: Tensor, projected: Mapping[str, Tensor]) -> None:
        """Updates the label bank, if there is one, by the global batch, on every rank alike."""
        if not self.training or self.bank is None:
            return
        rows = {"joint": joint_BE, **projected}
        features = {name: batch.gather(value.detach()) for name, value in rows.items()}
        index = batch.gather(batch.index)
        self.bank.update(index, features, self._present(batch), self.current_epoch + 1)

    # Checkpointed state beyond the weights

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_save_checkpoint(checkpoint)
        checkpoint["trivium"]["bank"] = {} if self.bank is None else self.bank.state()
        checkpoint["trivium"]["pair_memory"] = {} if self.pair_mi is None else self.pair_mi.state()

    def on_load_checkpoint(self, checkpoint: Mapping[str, Any]) -> None:
        super().on_load_checkpoint(checkpoint)
        if self.bank is not None:
            self.bank.load_state(checkpoint["trivium"]["bank"])
        if self.pair_mi is not None:
            self.pair_mi.load_state(checkpoint["trivium"]["pair_memory"])


def _for_modality(values: Mapping[str, Any] | None, name: str, default: Any) -> Any:
    """Returns the value of a modality, of "default" if it has none, or else `default`."""
    values = values or {}
    return values.get(name, values.get("default", default))


def _weights(weights: Mapping[str, float] | None, modalities: Sequence[str]) -> dict[str, float]:
    """Returns the factor of each modality's own loss. Raises ValueError for a negative one."""
    for key, weight in (weights or {}).items():
        if not weight >= 0:
            raise ValueError(f"method.unimodal_weights.{key}: expected a number from 0, found {weight}")
    return {s: float(_for_modality(weights, s, 1.0)) for s in modalities}


def _check(parts: Parts, name: str, **choices: str) -> None:
    """Raises ValueError for a choice that there is not, and where labels cannot be generated."""
    for key, value in choices.items():
        check_choice(f"method.{key}", value, CHOICES[key])
    if choices["unimodal_targets"] != "generated":
        return
    target = parts.objective.target
    if not target.is_score:
        reason = "it generates unimodal labels, each as one score"
        instead = "take method.unimodal_targets=none, which leaves its other terms, or method=supervised"
        raise ValueError(undefined(f"method={name}", target.words, reason, instead))
    if parts.objective.outputs != 1:
        raise ValueError(
            f"method={name} generates unimodal labels as scores; choose objective=l1 or objective=mse, or "
            "method.unimodal_targets=none"
        )
