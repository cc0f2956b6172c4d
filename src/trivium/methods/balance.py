"""Balances modalities that train together: OGM-GE (Peng et al., CVPR 2022) and MMPareto (Wei and Hu, ICML 2024).

Both weigh the gradients that reach a modality's encoder and leave those of fusion and heads as they are. The weight is
set on the encoder's outputs (pooled vector and tokens): every gradient that flows back through them is multiplied by
it, and so is the gradient of every parameter of the encoder. docs/methods/supervised.md says which readings were taken.
Legend: b clips on this rank, M modalities, C classes, P parameters of an encoder.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NoReturn

import torch
from torch import Tensor, nn

from trivium.core.choices import check_choice
from trivium.core.distributed import sum_over_ranks, world
from trivium.core.keyed_random import normal
from trivium.core.precision import at_least_float32
from trivium.core.seeding import derive
from trivium.core.wording import undefined
from trivium.encoders.base import Encoded
from trivium.fusions.base import Fusion
from trivium.methods.base import Parts
from trivium.methods.heads import Head, unimodal_share
from trivium.objectives.task import CrossEntropy, TaskObjective

BALANCES = ("none", "ogm_ge", "mmpareto")
# The least coefficient of OGM. The noise is sized by the gradient before the coefficient, which is recovered by
# dividing by it, so that it must not be 0.
SMALLEST = 1e-6
# The least squared length of a sum of two opposed gradients that float32 still resolves, as a share of
# |g_1|^2 + |g_2|^2.
CANCELLED = 1e-6


def check_balance(parts: Parts) -> None:
    """Raises ValueError, naming the key, for balance options that are out of range or do not go with the parts.

    OGM-GE needs an objective with classes, whose probabilities it compares; MMPareto takes any, as it compares
    gradients. Both need at least two modalities, and go neither with learned stand-ins nor with mixup.
    """
    options, balance = parts.options, parts.options.balance
    check_choice("method.balance", balance, BALANCES)
    if options.balance_until < 0:
        raise ValueError(f"method.balance_until: expected an epoch from 0, found {options.balance_until}")
    for key in ("ogm_alpha", "pareto_gamma"):
        if not getattr(options, key) > 0:
            raise ValueError(f"method.{key}: expected a number above 0, found {getattr(options, key)}")
    if balance == "none":
        return
    if balance == "ogm_ge" and not isinstance(parts.objective, CrossEntropy):
        _refuse_without_classes(parts.objective)
    if len(parts.encoders) < 2:
        raise ValueError(
            f"method.balance={balance} weighs modalities against each other; found {list(parts.encoders)} alone. Give "
            "data.modalities two or more, or choose method.balance=none"
        )
    if options.stand_in != "zero":
        raise ValueError(
            f"method.stand_in={options.stand_in} does not go with method.balance={balance}, which reads a modality "
            "with the others left out; take method.stand_in=zero"
        )
    if options.mixup != "none":
        raise ValueError(
            f"method.mixup={options.mixup} does not go with method.balance={balance}, which compares modalities on "
            "the clips as they are; take method.mixup=none or method.balance=none"
        )


def _refuse_without_classes(objective: TaskObjective) -> NoReturn:
    """Raises ValueError, as OGM-GE compares modalities by the probability of a clip's class."""
    target = objective.target
    if target.is_score:
        raise ValueError(
            "method.balance=ogm_ge needs objective=cross_entropy, as it compares modalities by their class "
            f"probabilities; found {type(objective).__name__}. Choose that objective, or method.balance=none"
        )
    reason = "it compares modalities by the probability of the one class that a clip is of"
    raise ValueError(
        undefined("method.balance=ogm_ge", target.words, reason, "take method.balance=mmpareto, or method.balance=none")
    )


def scale_gradient(tensors: Iterable[Tensor], factor: Tensor) -> None:
    """Multiplies every gradient that will flow back through `tensors` with the scalar `factor`.

    The tensors must not be leaves of the graph.
    """
    for tensor in tensors:
        # An encoder may be frozen, or have no parameters; its outputs then take no gradient.
        if tensor.requires_grad:
            tensor.register_hook(lambda gradient: gradient * factor)  # type: ignore[no-untyped-call]


# OGM-GE


def unimodal_outputs(
    fusion: Fusion, head: Head, encoded: Mapping[str, Encoded], present_bM: Tensor
) -> dict[str, Tensor]:
    """Returns modality -> the head's outputs with every other modality absent, (b, C).

    If the outputs are a sum of one share a modality, it is the modality's share (trivium.methods.heads.unimodal_share),
    as in the public code of OGM-GE.
    """
    if fusion.additive and not head.hidden:
        parts, present = fusion.separate(encoded, present_bM), dict(zip(encoded, present_bM.unbind(1), strict=True))
        weight, bias = head.out.weight, head.out.bias
        return {name: unimodal_share(fusion, name, parts[name], present[name], weight, bias) for name in encoded}
    outputs = {}
    for column, name in enumerate(encoded):
        alone = {
            other: out if other == name else Encoded(*map(torch.zeros_like, (out.tokens, out.mask, out.pooled)))
            for other, out in encoded.items()
        }
        only_M = torch.arange(len(encoded), device=present_bM.device) == column
        outputs[name] = head(fusion(alone, present_bM & only_M))
    return outputs


def true_class_means(probability_bM: Tensor, counted_bM: Tensor) -> tuple[Tensor, Tensor]:
    """Returns each modality's mean probability of the true class over the global batch, (M,) float64.

    Also returns the modalities that some clip has, (M,) bool. counted_bM: bool, True if the clip counts for the
    modality; elsewhere the probability may be NaN.
    """
    # A mean over the global batch is the quotient of two sums over ranks. Both go in one collective operation.
    sum_M = torch.where(counted_bM, probability_bM, 0.0).double().sum(dim=0)
    sums_2M = torch.stack([sum_M, counted_bM.double().sum(dim=0)])
    total_M, clips_M = sum_over_ranks(sums_2M).unbind()
    return total_M / clips_M.clamp_min(1), clips_M > 0


def modulation(mean_M: Tensor, known_M: Tensor, alpha: float) -> Tensor:
    """Returns OGM's factor on each encoder's gradient, (M,) in (0, 1] (Peng et al., 2022, eq. 10).

    It is 1 - tanh(alpha r_m) where r_m > 1, else 1. r_m is the modality's mean probability of the true class divided by
    the mean of the others', which for two modalities is the published ratio.

    mean_M: `true_class_means`. known_M: bool, the modalities that some clip has; the others are left out.
    alpha: above 0; a larger one weakens a stronger modality more.
    """
    other_MM = known_M & ~torch.eye(len(mean_M), dtype=torch.bool, device=mean_M.device)
    others_M = (mean_M * other_MM).sum(dim=1) / other_MM.sum(dim=1).clamp_min(1)
    stronger_M = known_M & other_MM.any(dim=1) & (mean_M > others_M)
    ratio_M = mean_M / others_M.clamp_min(torch.finfo(mean_M.dtype).tiny)
    # 1 - tanh(x) = 2 sigmoid(-2x). The left side loses all digits where tanh(x) is almost 1.
    weakened_M = 2 * torch.sigmoid(-2 * alpha * ratio_M)
    return torch.where(stronger_M, weakened_M.clamp_min(SMALLEST), 1.0)


def add_noise(parameters: Iterable[nn.Parameter], coefficient: Tensor, key: int) -> None:
    """Adds N(0, std(g)^2) to the gradient of each parameter of two or more dimensions: generalisation enhancement (GE).

    g is the gradient before it was scaled by `coefficient`, a scalar (Peng et al., 2022).
    The draws are a function of `key` and of an entry's place, and so the same on every rank and device.
    """
    for number, parameter in enumerate(parameters):
        gradient = parameter.grad
        if gradient is None or gradient.ndim < 2 or gradient.numel() < 2:
            continue
        precise = at_least_float32(gradient)
        places = torch.arange(gradient.numel(), device=gradient.device)
        draws = normal(derive(key, number), places, dtype=precise.dtype).view_as(precise)
        gradient.add_(draws * (precise.std() / coefficient))


# MMPareto


def encoder_gradients(losses: Sequence[Tensor], encoders: Iterable[nn.Module]) -> list[list[Tensor]]:
    """Returns for each loss, for each encoder, the gradient of its trained parameters over the global batch, (P,).

    losses: Batch.mean values. Their graphs are kept, and no parameter's .grad changes. All ranks must call this.
    """
    groups = [[p for p in encoder.parameters() if p.requires_grad] for encoder in encoders]
    sizes = [sum(p.numel() for p in group) for group in groups]
    flat = torch.stack([_flat_gradient(loss, [p for group in groups for p in group]) for loss in losses])
    return [list(row.split(sizes)) for row in sum_over_ranks(flat) / world()]


def _flat_gradient(loss: Tensor, parameters: list[nn.Parameter]) -> Tensor:
    """Returns the gradient of this rank's loss, end to end, float32 at least; 0 for parameters without one."""
    if not parameters:
        return loss.new_zeros(0)
    with torch.autocast(loss.device.type, enabled=False):
        gradients = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True, materialize_grads=True)
    return torch.cat([at_least_float32(gradient).flatten() for gradient in gradients])


def pareto_weights(joint_P: Tensor, unimodal_P: Tensor, gamma: float) -> Tensor:
    """Returns the weights w of the joint and the unimodal gradient of one encoder, (2,) (MMPareto; Wei and Hu, 2024).

    The encoder trains on w_1 g_1 + w_2 g_2, with g_1 the joint and g_2 the unimodal loss's gradient.
    If the two do not conflict (g_1 . g_2 >= 0), each weight is gamma. If they do, the weights are 2 gamma a and
    2 gamma (1 - a), where a in [0, 1] makes a g_1 + (1 - a) g_2 shortest, which is a direction that descends on both
    losses. The weighted sum is then enlarged to the length gamma |g_1 + g_2|. If the shortest is almost zero, the
    enlargement is at most 1 / sqrt(CANCELLED).
    """
    # Squared lengths and the inner product determine all that follows.
    joint, unimodal, inner = joint_P @ joint_P, unimodal_P @ unimodal_P, joint_P @ unimodal_P
    conflict = inner < 0
    # The minimum of |a g_1 + (1 - a) g_2|^2 over a, in closed form. With a conflict it lies between 0 and 1.
    share = torch.where(conflict, (unimodal - inner) / torch.where(conflict, joint + unimodal - 2 * inner, 1.0), 0.5)
    share_2 = torch.stack([share, 1 - share])
    shortest = 4 * (share**2 * joint + (1 - share) ** 2 * unimodal + 2 * share * (1 - share) * inner)
    least = (CANCELLED * (joint + unimodal)).clamp_min(torch.finfo(joint.dtype).tiny)
    enlargement = ((joint + unimodal + 2 * inner) / shortest.maximum(least)).clamp_min(1.0).sqrt()
    return 2 * gamma * torch.where(conflict, enlargement, 1.0) * share_2
