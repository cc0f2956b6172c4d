"""Trains supervised and jointly, which is the baseline of all methods: encoders -> fusion -> head -> objective.

An absent modality enters the fusion as a zero vector. With `balance`, gradients of the encoders are weighed so that no
modality trains at another's expense (trivium.methods.balance). With `mixup`, the head learns mixed labels of mixed
clips (trivium.methods.mixup).
Legend: B clips, M modalities, E joint embedding.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from trivium.core.precision import at_least_float32
from trivium.core.seeding import keyed
from trivium.data.batch import Batch
from trivium.encoders.base import Encoded
from trivium.methods.balance import (
    add_noise,
    check_balance,
    encoder_gradients,
    modulation,
    pareto_weights,
    scale_gradient,
    true_class_means,
    unimodal_outputs,
)
from trivium.methods.base import Method, Parts, Prediction
from trivium.methods.heads import Head
from trivium.methods.mixup import Mixup
from trivium.objectives.task import CrossEntropy


class Supervised(Method):
    """Trains one head on any fusion, for regression or classification as the objective has it.

    head_hidden: sizes of the head's hidden layers. head_dropout: after each of them, 0 to 1.
    With mixup_weight=1 only mixed clips are computed.
    Raises ValueError as check_balance and Mixup do.
    """

    shared_options = ("modality_dropout", "stand_in", "mixup", "balance")

    def __init__(
        self,
        parts: Parts,
        *,
        name: str = "supervised",
        head_hidden: Sequence[int] = (),
        head_dropout: float = 0.0,
    ) -> None:
        super().__init__(parts)
        options = parts.options
        check_balance(parts)
        self.name = name
        self.head = Head(parts.fusion.dim, parts.objective.outputs, hidden=head_hidden, dropout=head_dropout)
        self.balance, self.balance_until = options.balance, options.balance_until
        self.ogm_alpha, self.pareto_gamma = options.ogm_alpha, options.pareto_gamma
        self.mixup = Mixup(parts)
        # Coefficients of OGM, (M,), of each batch since the last optimiser step.
        self._window: list[Tensor] = []
        self.unimodal_heads = nn.ModuleDict()
        if self.balance == "mmpareto":
            with keyed(parts.seed, "unimodal heads"):
                for modality, encoder in parts.encoders.items():
                    self.unimodal_heads[modality] = nn.Linear(encoder.dim, parts.objective.outputs)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        if self.mixup.weight == 1:
            return {"loss": self.mixup.loss(self, self.head, batch)}
        encoded = self.encode(batch)
        if self.mixup.weight:
            return self._with_mixed_loss(batch, encoded)
        if self.balance == "mmpareto":
            return self._with_unimodal_losses(batch, encoded)
        terms = {"loss": self._joint_loss(batch, encoded)}
        return {**self._modulate(batch, encoded), **terms} if self.balance == "ogm_ge" else terms

    def predict(self, batch: Batch) -> Prediction:
        joint_BE = self.fuse(self.encode(batch), batch.present)
        return self.decode(self.head(joint_BE), joint_BE)

    def _joint_loss(self, batch: Batch, encoded: dict[str, Encoded]) -> Tensor:
        outputs_BK = self.head(self.fuse(encoded, batch.present))
        return batch.mean(self.objective(outputs_BK, batch.target))

    def _with_mixed_loss(self, batch: Batch, encoded: dict[str, Encoded]) -> dict[str, Tensor]:
        joint, weight = self._joint_loss(batch, encoded), self.mixup.weight
        mixed = self.mixup.loss(self, self.head, batch, encoded)
        return {"joint": joint, "mixed": mixed, "loss": (1 - weight) * joint + weight * mixed}

    @property
    def _balances_now(self) -> bool:
        epoch, _ = self.position
        return epoch <= self.balance_until

    # OGM-GE

    def _modulate(self, batch: Batch, encoded: dict[str, Encoded]) -> dict[str, Tensor]:
        """Scales the gradients that will flow into each encoder, and returns the factors, "coefficient_MODALITY"."""
        coefficient_M = torch.ones(len(encoded), dtype=torch.float64, device=batch.present.device)
        if self._balances_now:
            coefficient_M = modulation(*self._true_class_means(batch, encoded), self.ogm_alpha)
            for output, coefficient in zip(encoded.values(), coefficient_M, strict=True):
                scale_gradient((output.tokens, output.pooled), coefficient)
            self._window.append(coefficient_M)
        return {f"coefficient_{m}": value for m, value in zip(encoded, coefficient_M, strict=True)}

    @torch.no_grad()
    def _true_class_means(self, batch: Batch, encoded: Mapping[str, Encoded]) -> tuple[Tensor, Tensor]:
        """Returns `true_class_means` of the head's outputs for each modality alone."""
        assert isinstance(self.objective, CrossEntropy)
        outputs = unimodal_outputs(self.fusion, self.head, encoded, batch.present)
        outputs_BMC = torch.stack([at_least_float32(outputs_BC) for outputs_BC in outputs.values()], dim=1)
        probability_BMC = outputs_BMC.softmax(dim=-1)
        class_B = self.objective.classes(batch.target)
        true_BM = probability_BMC[torch.arange(len(batch), device=class_B.device), :, class_B]
        return true_class_means(true_BM, batch.present & (batch.weight[:, None] > 0))

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Adds OGM-GE's noise to the gradients, which are complete here, without a loss scale, and not yet clipped."""
        if not self._window:
            return
        coefficient_M = torch.stack(self._window).mean(dim=0)
        self._window = []
        for (modality, encoder), coefficient in zip(self.encoders.items(), coefficient_M, strict=True):
            add_noise(encoder.parameters(), coefficient, self.step_key("gradient noise", modality))

    # MMPareto

    def _with_unimodal_losses(self, batch: Batch, encoded: dict[str, Encoded]) -> dict[str, Tensor]:
        """Returns the joint and the unimodal losses, and scales the gradients that will flow into each encoder.

        The heads get their gradients unscaled. A modality's unimodal loss is the mean over the clips that have it.
        """
        # The two losses read two views of an encoder's outputs, because their gradients are scaled differently.
        for_joint = {m: Encoded(_view(out.tokens), out.mask, _view(out.pooled)) for m, out in encoded.items()}
        for_unimodal = {m: _view(out.pooled) for m, out in encoded.items()}
        joint = self._joint_loss(batch, for_joint)
        unimodal = {}
        for column, (m, head) in enumerate(self.unimodal_heads.items()):
            loss_B = self.objective(head(for_unimodal[m]), batch.target)
            unimodal[m] = batch.mean(loss_B, batch.present_everywhere[:, column])
        weights = {m: joint.new_ones(2) for m in encoded}
        if self._balances_now:
            # An encoder has a part in one unimodal loss only, so that one backward of their sum serves all encoders.
            gradients = encoder_gradients([joint, torch.stack(list(unimodal.values())).sum()], self.encoders.values())
            for m, joint_P, unimodal_P in zip(encoded, *gradients, strict=True):
                weights[m] = pareto_weights(joint_P, unimodal_P, self.pareto_gamma)
                scale_gradient((for_joint[m].tokens, for_joint[m].pooled), weights[m][0])
                scale_gradient((for_unimodal[m],), weights[m][1])
        return {
            "joint": joint,
            **{f"unimodal_{m}": value for m, value in unimodal.items()},
            **{f"coefficient_{m}": weight[0] for m, weight in weights.items()},
            **{f"coefficient_unimodal_{m}": weight[1] for m, weight in weights.items()},
            "loss": torch.stack([joint, *unimodal.values()]).sum(),
        }


def _view(tensor: Tensor) -> Tensor:
    # A node of its own in the graph, with the same values, on which a hook can scale gradients.
    return tensor.view_as(tensor)
