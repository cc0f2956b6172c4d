"""Supervised joint training: encoders -> fusion -> head -> objective. The baseline of everything.

An absent modality enters the fusion as a zero vector. With `balance`, gradients of the encoders are weighed so that no
modality trains at another's expense (trivium.methods.balance); with `mixup`, the head is asked for mixed labels of
mixed clips (trivium.methods.mixup). Legend: B clips, M modalities, E joint embedding.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

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
    unimodal_readings,
)
from trivium.methods.base import Method, Parts, Prediction
from trivium.methods.heads import Head
from trivium.methods.mixup import Mixup
from trivium.objectives.task import CrossEntropy
from trivium.precision import at_least_float32
from trivium.seeding import keyed


class Supervised(Method):
    """Any fusion; regression or classification, as the objective asks.

    head_hidden: sizes of the head's hidden layers. head_dropout: after each of them, 0 to 1.
    balance: "none", "ogm_ge" or "mmpareto", through epoch `balance_until`, the first being 0. ogm_alpha: above 0, how
    much OGM holds a stronger modality back. pareto_gamma: above 0, what MMPareto multiplies an encoder's gradient with.
    mixup, mixup_alpha, mixup_weight: trivium.methods.mixup.Mixup; at weight 1 nothing but mixed clips is computed.
    Raises ValueError as check_balance and Mixup do, and for balance with a learned stand-in or with mixup.
    """

    def __init__(
        self,
        parts: Parts,
        *,
        name: str = "supervised",
        head_hidden: Sequence[int] = (),
        head_dropout: float = 0.0,
        balance: str = "none",
        balance_until: int = 50,
        ogm_alpha: float = 0.8,
        pareto_gamma: float = 1.5,
        mixup: str = "none",
        mixup_alpha: float = 1.0,
        mixup_weight: float = 1.0,
        modality_dropout: float = 0.0,
        stand_in: str = "zero",
    ) -> None:
        super().__init__(parts, modality_dropout=modality_dropout, stand_in=stand_in)
        check_balance(parts, balance, until=balance_until, alpha=ogm_alpha, gamma=pareto_gamma)
        if balance != "none":
            _check_balanced(balance, stand_in=stand_in, mixup=mixup)
        self.name = name
        self.head = Head(parts.fusion.dim, parts.objective.outputs, hidden=head_hidden, dropout=head_dropout)
        self.balance, self.balance_until = balance, balance_until
        self.ogm_alpha, self.pareto_gamma = ogm_alpha, pareto_gamma
        self.mixup = Mixup(parts, mixup, alpha=mixup_alpha, weight=mixup_weight)
        self._window: list[Tensor] = []  # (M,) coefficients of the batches whose gradients are being accumulated
        self.unimodal_heads = nn.ModuleDict()
        if balance == "mmpareto":
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
        return batch.mean(self.objective(outputs_BK, batch.targets["multimodal"]))

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
        """Scales what flows back into each encoder; "coefficient_MODALITY" by how much."""
        coefficient_M = torch.ones(len(encoded), dtype=torch.float64, device=batch.present.device)
        if self._balances_now:
            coefficient_M = modulation(*self._true_class_means(batch, encoded), self.ogm_alpha)
            for one, coefficient in zip(encoded.values(), coefficient_M, strict=True):
                scale_gradient((one.tokens, one.pooled), coefficient)
            self._window.append(coefficient_M)
        return {f"coefficient_{m}": value for m, value in zip(encoded, coefficient_M, strict=True)}

    @torch.no_grad()
    def _true_class_means(self, batch: Batch, encoded: Mapping[str, Encoded]) -> tuple[Tensor, Tensor]:
        assert isinstance(self.objective, CrossEntropy)
        readings = unimodal_readings(self.fusion, self.head, encoded, batch.present)
        probability_BMC = torch.stack([at_least_float32(r) for r in readings.values()], dim=1).softmax(dim=-1)
        class_B = self.objective.classes(batch.targets["multimodal"])
        true_BM = probability_BMC[torch.arange(len(batch), device=class_B.device), :, class_B]
        return true_class_means(true_BM, batch.present & (batch.weight[:, None] > 0))

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Generalisation enhancement: gradients are complete and unscaled here, and not yet clipped."""
        if not self._window:
            return
        coefficient_M = torch.stack(self._window).mean(dim=0)
        self._window = []
        for (modality, encoder), coefficient in zip(self.encoders.items(), coefficient_M, strict=True):
            add_noise(encoder.parameters(), coefficient, self.step_key("gradient noise", modality))

    # MMPareto

    def _with_unimodal_losses(self, batch: Batch, encoded: dict[str, Encoded]) -> dict[str, Tensor]:
        """Joint and unimodal losses, each encoder's two gradients weighed against each other, heads' as they are.

        A modality's own loss is the mean over the clips that have it.
        """
        # One view of the encoders for the joint loss and one for their own: each is scaled by a weight of its own.
        shared = {m: Encoded(_view(one.tokens), one.mask, _view(one.pooled)) for m, one in encoded.items()}
        own = {m: _view(one.pooled) for m, one in encoded.items()}
        joint = self._joint_loss(batch, shared)
        unimodal = {
            m: batch.mean(
                self.objective(head(own[m]), batch.targets["multimodal"]), batch.present_everywhere[:, column]
            )
            for column, (m, head) in enumerate(self.unimodal_heads.items())
        }
        weights = {m: joint.new_ones(2) for m in encoded}
        if self._balances_now:
            # An encoder has a part in its own unimodal loss alone, so one backward through their sum serves all.
            both = encoder_gradients([joint, torch.stack(list(unimodal.values())).sum()], self.encoders.values())
            for m, joint_P, own_P in zip(encoded, *both, strict=True):
                weights[m] = pareto_weights(joint_P, own_P, self.pareto_gamma)
                scale_gradient((shared[m].tokens, shared[m].pooled), weights[m][0])
                scale_gradient((own[m],), weights[m][1])
        return {
            "joint": joint,
            **{f"unimodal_{m}": value for m, value in unimodal.items()},
            **{f"coefficient_{m}": weight[0] for m, weight in weights.items()},
            **{f"coefficient_unimodal_{m}": weight[1] for m, weight in weights.items()},
            "loss": torch.stack([joint, *unimodal.values()]).sum(),
        }


def _check_balanced(balance: str, *, stand_in: str, mixup: str) -> None:
    if stand_in != "zero":
        raise ValueError(
            f"method.stand_in={stand_in} does not go with method.balance={balance}, which reads a modality with "
            "the others left out; take method.stand_in=zero"
        )
    if mixup != "none":
        raise ValueError(
            f"method.mixup={mixup} does not go with method.balance={balance}, which compares modalities by the class "
            "of a clip, and a mixed clip has several; take method.mixup=none or method.balance=none"
        )


def _view(tensor: Tensor) -> Tensor:
    return tensor.view_as(tensor)
