"""Balancing modalities that train together: OGM-GE (Peng et al., CVPR 2022) and MMPareto (Wei and Hu, ICML 2024).

Both weigh the gradients that reach a modality's encoder and leave those of fusion and heads as they are. The weights
are set on what the encoder gives (its pooled vector and tokens): whatever flows back through it is scaled by the same
number, and so is every parameter's gradient. docs/methods/supervised.md says which readings were taken.
Legend: b clips on this rank, M modalities, C classes, P parameters of an encoder.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trivium.distributed import sum_over_ranks, world
from trivium.encoders.base import Encoded
from trivium.fusions.base import Fusion
from trivium.keyed_random import normal
from trivium.methods.base import Parts
from trivium.methods.heads import Head
from trivium.objectives.task import CrossEntropy
from trivium.precision import at_least_float32
from trivium.seeding import derive

BALANCES = ("none", "ogm_ge", "mmpareto")
SMALLEST = 1e-6  # of OGM's coefficients: the noise is sized by the gradient that is left, so some has to be
CANCELLED = 1e-6  # of |g_1|^2 + |g_2|^2: what a float32 sum of the two still resolves when they point apart


def check_balance(parts: Parts, balance: str, *, until: int, alpha: float, gamma: float) -> None:
    """Raises ValueError naming the key, also for an objective without classes and for a single modality."""
    if balance not in BALANCES:
        raise ValueError(f"method.balance: {balance!r}; expected one of {', '.join(BALANCES)}")
    if until < 0:
        raise ValueError(f"method.balance_until: expected an epoch from 0, found {until}")
    for key, value in (("ogm_alpha", alpha), ("pareto_gamma", gamma)):
        if not value > 0:
            raise ValueError(f"method.{key}: expected a number above 0, found {value}")
    if balance == "none":
        return
    if not isinstance(parts.objective, CrossEntropy):
        raise ValueError(
            f"method.balance={balance} needs objective=cross_entropy, as it compares modalities by their class "
            f"probabilities; found {type(parts.objective).__name__}. Choose that objective, or method.balance=none"
        )
    if len(parts.encoders) < 2:
        raise ValueError(
            f"method.balance={balance} weighs modalities against each other; found {list(parts.encoders)} alone. Give "
            "data.modalities two or more, or choose method.balance=none"
        )


def scale_gradient(tensors: Iterable[Tensor], factor: Tensor) -> None:
    """From now on, what flows back through `tensors` (none of them a leaf) is multiplied with `factor`, ()."""
    for tensor in tensors:
        if tensor.requires_grad:  # an encoder may be frozen, or have no parameters
            tensor.register_hook(lambda gradient: gradient * factor)  # type: ignore[no-untyped-call]


# OGM-GE


def unimodal_readings(
    fusion: Fusion, head: Head, encoded: Mapping[str, Encoded], present_bM: Tensor
) -> dict[str, Tensor]:
    """modality -> (b, C): the head's outputs with every other modality absent.

    Where the outputs are a sum of one share a modality, that share with 1/M of the head's bias, as the public code
    reads its concat head.
    """
    if fusion.additive and not head.hidden:
        parts, present = fusion.separate(encoded, present_bM), dict(zip(encoded, present_bM.unbind(1), strict=True))
        return {
            name: F.linear(fusion.combine((name,), {name: parts[name]}, {name: present[name]}), head.out.weight)
            + head.out.bias / len(encoded)
            for name in encoded
        }
    readings = {}
    for column, name in enumerate(encoded):
        alone = {other: one if other == name else _nothing(one) for other, one in encoded.items()}
        only_M = torch.arange(len(encoded), device=present_bM.device) == column
        readings[name] = head(fusion(alone, present_bM & only_M))
    return readings


def _nothing(encoded: Encoded) -> Encoded:
    return Encoded(*map(torch.zeros_like, (encoded.tokens, encoded.mask, encoded.pooled)))


def true_class_means(probability_bM: Tensor, here_bM: Tensor) -> tuple[Tensor, Tensor]:
    """(M,) means over the global batch of each modality's probability of the true class, and (M,) bool, those that are
    known at all. here_bM: bool, whether a clip counts for a modality; elsewhere a probability may be NaN. float64.
    """
    counted_bM = torch.where(here_bM, probability_bM, 0.0).double()
    sums_2M = torch.stack([counted_bM.sum(dim=0), here_bM.double().sum(dim=0)])
    total_M, clips_M = sum_over_ranks(sums_2M).unbind()
    return total_M / clips_M.clamp_min(1), clips_M > 0


def modulation(mean_M: Tensor, known_M: Tensor, alpha: float) -> Tensor:
    """(M,) in (0, 1], what OGM multiplies the encoders' gradients with (Peng et al., 2022, eq. 10).

    1 - tanh(alpha r_m) where r_m > 1, else 1; r_m is a modality's mean probability of the true class over the mean of
    the others' (for two modalities the published ratio). Modalities that no clip has (known_M) are left out.
    """
    other_MM = known_M & ~torch.eye(len(mean_M), dtype=torch.bool, device=mean_M.device)
    others_M = (mean_M * other_MM).sum(dim=1) / other_MM.sum(dim=1).clamp_min(1)
    stronger_M = known_M & other_MM.any(dim=1) & (mean_M > others_M)
    ratio_M = mean_M / others_M.clamp_min(torch.finfo(mean_M.dtype).tiny)
    weakened_M = 2 * torch.sigmoid(-2 * alpha * ratio_M)  # 1 - tanh(x), to full precision where tanh(x) is almost 1
    return torch.where(stronger_M, weakened_M.clamp_min(SMALLEST), 1.0)


def add_noise(parameters: Iterable[nn.Parameter], coefficient: Tensor, key: int) -> None:
    """Generalisation enhancement: adds N(0, std(g)^2) to the gradient of each parameter of two or more dimensions.

    g is the gradient before it was scaled by `coefficient`, (). Draws are a function of `key` and of the entry's place,
    the same on every rank and device.
    """
    for number, parameter in enumerate(parameters):
        gradient = parameter.grad
        if gradient is None or gradient.ndim < 2 or gradient.numel() < 2:
            continue
        wide = at_least_float32(gradient)
        places = torch.arange(gradient.numel(), device=gradient.device)
        draws = normal(derive(key, number), places, dtype=wide.dtype).view_as(wide)
        gradient.add_(draws * (wide.std() / coefficient))


# MMPareto


def encoder_gradients(losses: Sequence[Tensor], encoders: Iterable[nn.Module]) -> list[list[Tensor]]:
    """For each loss, for each encoder: (P,), the gradient over the global batch of the encoder's trained parameters.

    losses: Batch.mean values. Their graphs are kept, and no parameter's .grad is touched. All ranks call this.
    """
    groups = [[p for p in encoder.parameters() if p.requires_grad] for encoder in encoders]
    sizes = [sum(p.numel() for p in group) for group in groups]
    flat = torch.stack([_flat_gradient(loss, [p for group in groups for p in group]) for loss in losses])
    return [list(row.split(sizes)) for row in sum_over_ranks(flat) / world()]


def _flat_gradient(loss: Tensor, parameters: list[nn.Parameter]) -> Tensor:
    if not parameters:
        return loss.new_zeros(0)
    with torch.autocast(loss.device.type, enabled=False):
        gradients = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True, materialize_grads=True)
    return torch.cat([at_least_float32(gradient).flatten() for gradient in gradients])


def pareto_weights(joint_P: Tensor, own_P: Tensor, gamma: float) -> Tensor:
    """(2,) weights w of the joint and the unimodal loss's gradient of one encoder; w_1 g_1 + w_2 g_2 is trained on.

    Where the two do not conflict (g_1 . g_2 >= 0), gamma each. Else 2 gamma a and 2 gamma (1 - a), a in [0, 1] being
    what makes a g_1 + (1 - a) g_2 shortest (it then descends on both losses), enlarged to the length gamma |g_1 + g_2|.
    Where the shortest is next to nothing, the enlargement is bounded by 1 / sqrt(CANCELLED).
    """
    joint, own, both = joint_P @ joint_P, own_P @ own_P, joint_P @ own_P
    conflict = both < 0
    share = torch.where(conflict, (own - both) / torch.where(conflict, joint + own - 2 * both, 1.0), 0.5)
    share_2 = torch.stack([share, 1 - share])
    shortest = 4 * (share**2 * joint + (1 - share) ** 2 * own + 2 * share * (1 - share) * both)
    least = (CANCELLED * (joint + own)).clamp_min(torch.finfo(joint.dtype).tiny)
    enlargement = ((joint + own + 2 * both) / shortest.maximum(least)).clamp_min(1.0).sqrt()
    return 2 * gamma * torch.where(conflict, enlargement, 1.0) * share_2
