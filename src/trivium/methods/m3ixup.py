"""M3ixup (Lin and Hu, Information Fusion 105, 2024, 102216), reading R1: mixup of clips and modalities on top of GMC.

No equation of the paper is public; docs/methods/m3ixup.md says what is known, which reading this is, and what each
switch changes. L = task + gmc of GMC, and contrasts of mixed views with the joint vectors z_M:
unimodal   z~_u, a modality's vector of mixed clips (inputs or encoders' vectors are mixed)
adapt      z~_u moved towards z_M, by a share that a gradient step has lowered the loss with
explore    z~_u of all modalities mixed, by weights that a gradient step has raised the loss with
Legend: b clips on this rank, N of the global batch, M modalities, V views, E encoders' size, D common space.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from trivium.data.batch import Batch
from trivium.data.mixing import Mixing, draw_mixing, mix_streams
from trivium.methods.base import Parts
from trivium.methods.gmc import GMC, Seen
from trivium.methods.mixed_loss import mixed_loss
from trivium.methods.mixed_views import (
    Views,
    ViewSettings,
    adapt_modalities,
    adapt_to_joint,
    draw_start,
    explore,
    unimodal_views,
)
from trivium.objectives.mixed_contrast import MixedContrast
from trivium.objectives.mixing_weights import weighted
from trivium.objectives.nt_xent import scaled_among

UNIMODAL = ("one", "series", "input", "manifold", "none")
STEPS = ("together", "two")


class M3ixup(GMC):
    """Keywords are explained in configs/method/m3ixup.yaml. With the weights of unimodal, adapt, explore and task_mix
    at 0 it is GMC, bit for bit.

    Raises ValueError as GMC does, for unknown choices and numbers out of range, for mixed inputs that are token ids,
    and for steps=two with accumulated gradients or with trainer.precision=16-mixed.
    """

    terms = ("task", "gmc", "unimodal", "adapt", "explore", "task_mix")

    def __init__(
        self,
        parts: Parts,
        *,
        name: str = "m3ixup",
        joint: str = "inputs",
        common: int = 60,
        temperature: float = 0.3,
        weights: Mapping[str, float] | None = None,
        alpha: float = 1.0,
        unimodal_mix: str = "one",
        soft_targets: bool = True,
        adapt_members: str = "joint",
        adapt_alpha: float = 1.0,
        adapt_rate: float = 0.1,
        adapt_max: float = 0.5,
        explore_alpha: float = 1.0,
        explore_rate: float = 0.1,
        explore_labels: str = "initial",
        update: str = "coefficients",
        interpolation: str = "linear",
        steps: str = "together",
        modality_dropout: float = 0.0,
    ) -> None:
        defaults = {"unimodal": 0.5, "adapt": 0.5, "explore": 0.5, "task_mix": 0.0}
        super().__init__(
            parts,
            name=name,
            joint=joint,
            common=common,
            temperature=temperature,
            weights={**defaults, **(weights or {})},
            modality_dropout=modality_dropout,
        )
        _check(parts, alpha, unimodal_mix, steps, self.weights)
        self.alpha, self.unimodal_mix, self.soft_targets, self.steps = alpha, unimodal_mix, soft_targets, steps
        self.settings = ViewSettings(
            adapt_members=adapt_members,
            adapt_alpha=adapt_alpha,
            adapt_rate=adapt_rate,
            adapt_max=adapt_max,
            explore_alpha=explore_alpha,
            explore_rate=explore_rate,
            explore_labels=explore_labels,
            update=update,
            interpolation=interpolation,
        )
        # the one parameter that mixing may have: weights of the modalities, the same for all clips and equal at first
        self.members = nn.Parameter(torch.zeros(len(parts.encoders))) if adapt_members == "learned" else None
        self._stage = "both"  # or "adapt", "explore": which of two optimiser steps a batch is in
        self._adapted: dict[str, Tensor] = {}  # the terms of the first of them

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        seen = self.see(batch)
        plain = {name: batch.mean(value_b) for name, value_b in self.contrast_and_task(seen, batch).items()}
        mixed = {name: batch.mean(value_b) for name, value_b in self.mixed_terms(seen, batch).items()}
        # a parameter without a gradient on some rank would stop DDP
        idle = 0.0 if self.members is None else 0.0 * self.members.sum()
        if self._stage != "explore":
            return {**plain, **mixed, "loss": self.weigh({**plain, **mixed}) + idle}
        # Down "explore" alone; the first step's terms are there to be logged, and the others' graph with weight 0.
        first = self._adapted
        return {**first, **mixed, "loss": first["loss"] + self.weigh(mixed) + 0.0 * self.weigh(plain) + idle}

    # Mixing

    def mixed_terms(self, seen: Seen, batch: Batch) -> dict[str, Tensor]:
        """The mixed terms that have a weight (and belong to this optimiser step), (b,) each, before weighing."""
        wanted = self._wanted()
        if not wanted:
            return {}
        mixing, hidden_MbE = self.mix_unimodal(seen, batch)
        unimodal_MbD = self.to_space(hidden_MbE)
        contrast = self._contrast(seen, mixing)
        views = self._views(wanted, unimodal_MbD, mixing, contrast)
        found = self._contrasted({name: views[name] for name in wanted if name != "task_mix"}, contrast, batch)
        if "task_mix" in wanted:
            found["task_mix"] = self._task_of([views["unimodal"], views["explore"]], mixing, batch)
        here_b = seen.complete[seen.rows]
        return {name: scaled_among(torch.where(here_b, value_b, 0.0), seen.complete) for name, value_b in found.items()}

    def mix_unimodal(self, seen: Seen, batch: Batch) -> tuple[Mixing, Tensor]:
        """The sample mixing, the same for all modalities, and h~_u (M, b, E): each one's inputs or vectors mixed."""
        clips = len(seen.hidden)
        if self.unimodal_mix == "none":
            return Mixing.none(clips, seen.hidden.device), seen.hidden[seen.rows, :-1].transpose(0, 1)
        first = draw_mixing(self.step_key("mixing"), self.alpha, seen.complete)
        layers = self._layers()
        inputs = mix_streams(batch, {name: first for name, layer in layers.items() if layer == "input"})
        adapters = dict(zip(self.encoders, self.adapt, strict=True))
        mixed = {name: adapters[name](self.encoders[name](stream).pooled) for name, stream in inputs.items()}
        if self.unimodal_mix == "series":
            second = draw_mixing(self.step_key("second mixing"), self.alpha, seen.complete)
            hidden_NME = batch.gather(torch.stack(list(mixed.values()), dim=1))
            return first.then(second), second.mix(hidden_NME, seen.rows).transpose(0, 1)
        for m, name in enumerate(layers):
            if name not in mixed:
                mixed[name] = first.mix(seen.hidden[:, m], seen.rows)
        return first, torch.stack([mixed[name] for name in layers])

    def _layers(self) -> dict[str, str]:
        """modality -> where it is mixed in this step: "input" or "manifold"."""
        if self.unimodal_mix != "one":
            where = "manifold" if self.unimodal_mix == "manifold" else "input"
            return dict.fromkeys(self.encoders, where)
        coins = np.random.default_rng(self.step_key("layers")).integers(2, size=len(self.encoders))
        return {name: ("input", "manifold")[coin] for name, coin in zip(self.encoders, coins, strict=True)}

    def _contrast(self, seen: Seen, mixing: Mixing) -> MixedContrast:
        *own, joint_ND = seen.unit.unbind(dim=1)
        made_of = mixing if self.soft_targets else Mixing.none(len(joint_ND), joint_ND.device)
        target_NN = made_of.matrix().to(joint_ND.dtype)
        return MixedContrast(joint_ND, torch.stack(own), target_NN, seen.complete, seen.rows, self.temperature)

    def _views(
        self, wanted: list[str], unimodal_MbD: Tensor, mixing: Mixing, contrast: MixedContrast
    ) -> dict[str, Views]:
        """The views of the wanted terms, and those that they stand on."""
        still, rows, settings = contrast.detached(), contrast.rows, self.settings
        clips, modalities = len(contrast.joint), len(unimodal_MbD)
        start = draw_start(settings, self.step_key("coefficients"), clips, modalities, rows, unimodal_MbD)
        views, weight_bM = {"unimodal": unimodal_views(unimodal_MbD)}, start.explore
        if self.members is not None:
            learned_bM = self.members.softmax(dim=0).to(unimodal_MbD.dtype).expand_as(start.adapt)
            vectors = weighted(unimodal_MbD, learned_bM, settings.interpolation)[None]
            weight_bM = learned_bM.detach()
            views["adapt"] = Views(vectors, weight_bM[None])
        elif settings.adapt_members == "modalities":
            views["adapt"], weight_bM = adapt_modalities(unimodal_MbD, still, start.adapt, settings)
        elif "adapt" in wanted:
            joint_bD = mixing.mix(still.joint, rows)
            views["adapt"] = adapt_to_joint(unimodal_MbD, joint_bD, still, start.share, settings)
        if "explore" in wanted or "task_mix" in wanted:
            views["explore"] = explore(unimodal_MbD, still, weight_bM, settings)
        return views

    def _contrasted(self, views: dict[str, Views], contrast: MixedContrast, batch: Batch) -> dict[str, Tensor]:
        """Each term's views contrasted with the joint vectors, summed over its views: (b,) each."""
        if not views:
            return {}
        vectors_bVD = torch.cat([one.vectors for one in views.values()]).transpose(0, 1)
        every_VND = batch.gather(vectors_bVD).transpose(0, 1)
        loss_Vb = contrast.loss(every_VND, torch.cat([one.weights for one in views.values()]))
        parts = torch.split(loss_Vb, [len(one.vectors) for one in views.values()])
        return {name: part.sum(dim=0) for name, part in zip(views, parts, strict=True)}

    def _task_of(self, views: list[Views], mixing: Mixing, batch: Batch) -> Tensor:
        """(b,), the mean over views of the task loss against the mixed labels."""
        targets_N = batch.gather(batch.targets["multimodal"])
        vectors_VbD = torch.cat([one.vectors for one in views])
        losses = [mixed_loss(self.objective, self.outputs(v), targets_N, mixing, batch.rows) for v in vectors_VbD]
        return torch.stack(losses).mean(dim=0)

    # Two optimiser steps a batch

    def _wanted(self) -> list[str]:
        now = {"both": self.terms[2:], "adapt": ("unimodal", "adapt", "task_mix"), "explore": ("explore",)}
        return [name for name in now[self._stage] if self.weights[name]]

    def on_fit_start(self) -> None:
        super().on_fit_start()
        if self.steps == "two" and self.trainer.accumulate_grad_batches > 1:
            raise ValueError(
                "method.steps=two takes two optimiser steps a batch; expected trainer.accumulate_grad_batches=1, found "
                f"{self.trainer.accumulate_grad_batches}"
            )
        if self.steps == "two" and self.trainer.scaler is not None:
            raise ValueError("method.steps=two: not with trainer.precision=16-mixed; take bf16-mixed or 32-true")

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        if self._stage != "adapt":
            return super().training_step(batch, batch_idx)
        self.begin_step(batch, batch_idx)
        terms = self.losses(self.drop_modalities(batch))
        self._adapted = {name: value.detach() for name, value in terms.items()}
        return terms["loss"]

    def optimizer_step(self, epoch: int, batch_idx: int, optimizer: Any, optimizer_closure: Any = None) -> None:
        if self.steps == "two":
            self._stage = "adapt"
            optimizer_closure()
            self._clip(optimizer.optimizer)
            optimizer.optimizer.step()  # not Lightning's own step, which would count it
            self._stage = "explore"
        super().optimizer_step(epoch, batch_idx, optimizer, optimizer_closure)
        self._stage = "both"

    def _clip(self, optimizer: torch.optim.Optimizer) -> None:
        most = self.trainer.gradient_clip_val
        if most is not None:
            self.clip_gradients(optimizer, most, self.trainer.gradient_clip_algorithm)


def _check(parts: Parts, alpha: float, unimodal_mix: str, steps: str, weights: Mapping[str, float]) -> None:
    for key, value, choices in (("unimodal_mix", unimodal_mix, UNIMODAL), ("steps", steps, STEPS)):
        if value not in choices:
            raise ValueError(f"method.{key}: {value!r}; expected one of {', '.join(choices)}")
    if not alpha > 0:
        raise ValueError(f"method.alpha: expected a number above 0, found {alpha}")
    if steps == "two" and not weights["explore"]:
        raise ValueError(
            "method.steps=two takes its second step on the exploring term; weights.explore=0 wants together"
        )
    if weights["task_mix"] and not weights["task"]:
        raise ValueError("method.weights.task_mix: there is no predictor to train with weights.task=0; make it 0 too")
    ids = [name for name, encoder in parts.encoders.items() if encoder.reads == "tokens"]
    if ids and unimodal_mix in ("one", "series", "input"):
        raise ValueError(
            f"method.unimodal_mix={unimodal_mix}: {ids[0]!r} is read as token ids, which cannot be mixed; take "
            "method.unimodal_mix=manifold, or an encoder of features for it"
        )
