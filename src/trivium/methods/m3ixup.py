"""Trains M3ixup (Lin and Hu, Information Fusion 105, 2024, 102216), in a reading: GMC with mixed clips and modalities.

No equation of the paper is public. docs/methods/m3ixup.md says what is known, explains the reading, which it calls R1,
and says what each switch changes. The loss has GMC's terms task and gmc, and three contrasts of mixed views with the
joint vectors z_M:
unimodal   z~_u, a modality's vector of mixed clips (inputs or encoders' vectors are mixed).
adapt      z~_u moved towards z_M, by a share after a gradient step that lowers the loss.
explore    The z~_u of all modalities mixed, by weights after a gradient step that raises the loss.
The gradient steps of adapting and exploring are in trivium.methods.mixed_views.
Legend: b clips on this rank, N of the global batch, M modalities, V views, E encoders' size, D common space.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from trivium.core.choices import check_choice
from trivium.data.batch import Batch
from trivium.data.mixing import Mixing, draw_mixing, mix_streams
from trivium.methods.base import Parts
from trivium.methods.gmc import GMC, CommonSpace
from trivium.methods.mixed_loss import mixed_loss
from trivium.methods.mixed_views import MixedViews, ViewSettings, make_views
from trivium.objectives.mixed_contrast import MixedContrast
from trivium.objectives.nt_xent import scaled_among

UNIMODAL = ("one", "series", "input", "manifold", "none")
STEPS = ("together", "two")
# Part of the loss that an optimiser step trains on -> the mixed terms in it. With steps=together a batch takes one step
# on "all"; with steps=two it takes one on "adapting" and then one on "exploring".
MIXED_TERMS = {
    "all": ("unimodal", "adapt", "explore", "task_mix"),
    "adapting": ("unimodal", "adapt", "task_mix"),
    "exploring": ("explore",),
}


class M3ixup(GMC):
    """Trains on GMC's loss and on contrasts of mixed views; configs/method/m3ixup.yaml explains the keywords.

    If the weights of unimodal, adapt, explore and task_mix are 0, it is GMC, bit for bit.
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
        mixup_alpha: float = 1.0,
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
    ) -> None:
        defaults = {"unimodal": 0.5, "adapt": 0.5, "explore": 0.5, "task_mix": 0.0}
        super().__init__(
            parts,
            name=name,
            joint=joint,
            common=common,
            temperature=temperature,
            weights={**defaults, **(weights or {})},
        )
        _check(parts, mixup_alpha, unimodal_mix, steps, self.weights)
        self.mixup_alpha, self.unimodal_mix, self.soft_targets, self.steps = (
            mixup_alpha,
            unimodal_mix,
            soft_targets,
            steps,
        )
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
        # Mixing has a parameter with adapt_members=learned alone: the modalities' weights before the softmax, which all
        # clips share, and which start equal.
        self.members = nn.Parameter(torch.zeros(len(parts.encoders))) if adapt_members == "learned" else None
        # The key of MIXED_TERMS that the current optimiser step trains on.
        self._step_trains = "all"
        # With steps=two, the terms of the batch's first optimiser step, without gradient.
        self._adapting_terms: dict[str, Tensor] = {}

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        space = self.to_common_space(batch)
        plain = {name: batch.mean(value_b) for name, value_b in self.contrast_and_task(space, batch).items()}
        mixed = {name: batch.mean(value_b) for name, value_b in self.mixed_terms(space, batch).items()}
        # DDP waits for a gradient of every parameter on every rank, so that an unused one enters with weight 0.
        unused = 0.0 if self.members is None else 0.0 * self.members.sum()
        if self._step_trains != "exploring":
            return {**plain, **mixed, "loss": self.weigh({**plain, **mixed}) + unused}
        # The gradient of this step is that of "explore" alone. The terms of the adapting step have no gradient, and are
        # there so that the batch is recorded whole. GMC's terms enter with weight 0, for DDP.
        adapting = self._adapting_terms
        loss = adapting["loss"] + self.weigh(mixed) + 0.0 * self.weigh(plain) + unused
        return {**adapting, **mixed, "loss": loss}

    # Mixing

    def mixed_terms(self, space: CommonSpace, batch: Batch) -> dict[str, Tensor]:
        """Returns the mixed terms that have a weight and belong to this optimiser step, (b,) each, unweighted.

        Clips that lack a modality have 0; the others are scaled so that the mean over all clips is the mean over them.
        """
        names = [name for name in MIXED_TERMS[self._step_trains] if self.weights[name]]
        if not names:
            return {}
        mixing, views, contrast = self.mixed_views(space, batch, names)
        losses = self._contrasted({name: views[name] for name in names if name != "task_mix"}, contrast, batch)
        if "task_mix" in names:
            losses["task_mix"] = self._task_of([views["unimodal"], views["explore"]], mixing, batch)
        complete_b = space.complete[space.rows]
        return {
            name: scaled_among(torch.where(complete_b, loss_b, 0.0), space.complete) for name, loss_b in losses.items()
        }

    def mixed_views(
        self, space: CommonSpace, batch: Batch, names: list[str]
    ) -> tuple[Mixing, dict[str, MixedViews], MixedContrast]:
        """Returns how clips are mixed, the views that the terms `names` need, and what they are contrasted with."""
        mixing, hidden_MbE = self.mix_unimodal(space, batch)
        mixed_MbD = self.to_space(hidden_MbE)
        *unimodal, joint_ND = space.unit.unbind(dim=1)
        targets = mixing if self.soft_targets else Mixing.none(len(joint_ND), joint_ND.device)
        target_NN = targets.matrix().to(joint_ND.dtype)
        contrast = MixedContrast(
            joint_ND, torch.stack(unimodal), target_NN, space.complete, space.rows, self.temperature
        )
        key = self.step_key("coefficients")
        views = make_views(names, mixed_MbD, mixing, contrast, self.settings, key=key, members=self.members)
        return mixing, views, contrast

    def mix_unimodal(self, space: CommonSpace, batch: Batch) -> tuple[Mixing, Tensor]:
        """Returns the mixing of clips, which all modalities share, and the vectors of mixed clips h~_u, (M, b, E)."""
        if self.unimodal_mix == "none":
            clips = len(space.hidden)
            return Mixing.none(clips, space.hidden.device), space.hidden[space.rows, :-1].transpose(0, 1)
        first = draw_mixing(self.step_key("mixing"), self.mixup_alpha, space.complete)
        layers = self._layers()
        inputs = mix_streams(batch, {name: first for name, layer in layers.items() if layer == "input"})
        adapters = dict(zip(self.encoders, self.adapt, strict=True))
        mixed = {name: adapters[name](self.encoders[name](stream).pooled) for name, stream in inputs.items()}
        if self.unimodal_mix == "series":
            second = draw_mixing(self.step_key("second mixing"), self.mixup_alpha, space.complete)
            hidden_NME = batch.gather(torch.stack(list(mixed.values()), dim=1))
            return first.then(second), second.mix(hidden_NME, space.rows).transpose(0, 1)
        for m, name in enumerate(layers):
            if name not in mixed:
                mixed[name] = first.mix(space.hidden[:, m], space.rows)
        return first, torch.stack([mixed[name] for name in layers])

    def _layers(self) -> dict[str, str]:
        """Returns modality -> the layer at which it is mixed in this step, "input" or "manifold"."""
        if self.unimodal_mix != "one":
            layer = "manifold" if self.unimodal_mix == "manifold" else "input"
            return dict.fromkeys(self.encoders, layer)
        coins = np.random.default_rng(self.step_key("layers")).integers(2, size=len(self.encoders))
        return {name: ("input", "manifold")[coin] for name, coin in zip(self.encoders, coins, strict=True)}

    def _contrasted(self, views: dict[str, MixedViews], contrast: MixedContrast, batch: Batch) -> dict[str, Tensor]:
        """Returns the contrast of each term's views with the joint vectors, summed over the views, (b,) each."""
        if not views:
            return {}
        # The views of all terms share one gather and one contrast.
        vectors_bVD = torch.cat([term.vectors for term in views.values()]).transpose(0, 1)
        vectors_VND = batch.gather(vectors_bVD).transpose(0, 1)
        loss_Vb = contrast.loss(vectors_VND, torch.cat([term.weights for term in views.values()]))
        parts = torch.split(loss_Vb, [len(term.vectors) for term in views.values()])
        return {name: part.sum(dim=0) for name, part in zip(views, parts, strict=True)}

    def _task_of(self, views: list[MixedViews], mixing: Mixing, batch: Batch) -> Tensor:
        """Returns the task loss of the views against the mixed labels, in the mean over the views, (b,)."""
        targets_N = batch.gather(batch.target)
        vectors_VbD = torch.cat([term.vectors for term in views])
        losses = [mixed_loss(self.objective, self.outputs(v), targets_N, mixing, batch.rows) for v in vectors_VbD]
        return torch.stack(losses).mean(dim=0)

    # Two optimiser steps a batch

    def on_fit_start(self) -> None:
        """Raises ValueError for settings of the trainer that steps=two does not go with."""
        super().on_fit_start()
        if self.steps == "two" and self.trainer.accumulate_grad_batches > 1:
            raise ValueError(
                "method.steps=two takes two optimiser steps a batch; expected trainer.accumulate_grad_batches=1, found "
                f"{self.trainer.accumulate_grad_batches}"
            )
        if self.steps == "two" and self.trainer.scaler is not None:
            raise ValueError("method.steps=two: not with trainer.precision=16-mixed; take bf16-mixed or 32-true")

    def training_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """Returns the loss of one optimiser step.

        A batch is recorded and checked once, in its last optimiser step, for which an adapting step stores its terms.
        """
        if self._step_trains != "adapting":
            return super().training_step(batch, batch_idx)
        self.begin_step(batch, batch_idx)
        terms = self.losses(self.lose(batch))
        self._adapting_terms = {name: value.detach() for name, value in terms.items()}
        return {"loss": terms["loss"]}

    def optimizer_step(self, epoch: int, batch_idx: int, optimizer: Any, optimizer_closure: Any = None) -> None:
        """Takes one optimiser step, or with steps=two an adapting and then an exploring one.

        optimizer_closure: runs training_step and the backward.
        """
        if self.steps == "together":
            super().optimizer_step(epoch, batch_idx, optimizer, optimizer_closure)
            return
        with self._training_on("adapting"):
            optimizer_closure()
            if self.trainer.gradient_clip_val is not None:
                self.clip_gradients(  # type: ignore[operator]  # Lightning's
                    optimizer.optimizer, self.trainer.gradient_clip_val, self.trainer.gradient_clip_algorithm
                )
            # The step of torch's optimiser: Lightning's would count as a step of training.
            optimizer.optimizer.step()
        with self._training_on("exploring"):
            super().optimizer_step(epoch, batch_idx, optimizer, optimizer_closure)

    @contextmanager
    def _training_on(self, terms: str) -> Iterator[None]:
        """Makes `losses` return what one of a batch's two optimiser steps trains on. terms: a key of MIXED_TERMS."""
        self._step_trains = terms
        yield
        self._step_trains = "all"


def _check(parts: Parts, mixup_alpha: float, unimodal_mix: str, steps: str, weights: Mapping[str, float]) -> None:
    """Raises ValueError, naming the key, for settings that are unknown, out of range or at odds with each other."""
    check_choice("method.unimodal_mix", unimodal_mix, UNIMODAL)
    check_choice("method.steps", steps, STEPS)
    if not mixup_alpha > 0:
        raise ValueError(f"method.mixup_alpha: expected a number above 0, found {mixup_alpha}")
    if steps == "two" and not weights["explore"]:
        raise ValueError(
            "method.steps=two takes its second step on the exploring term; weights.explore=0 wants together"
        )
    if weights["task_mix"] and not weights["task"]:
        raise ValueError("method.weights.task_mix: there is no predictor to train with weights.task=0; make it 0 too")
    token_readers = [name for name, encoder in parts.encoders.items() if encoder.reads == "tokens"]
    if token_readers and unimodal_mix in ("one", "series", "input"):
        raise ValueError(
            f"method.unimodal_mix={unimodal_mix}: {token_readers[0]!r} is read as token ids, which cannot be mixed; "
            "take method.unimodal_mix=manifold, or an encoder of features for it"
        )
