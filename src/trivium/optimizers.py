"""Makes optimisers whose parameters are grouped by role: each modality's encoder, and the rest.

Each function here is the `_target_` of a YAML in configs/optimizer and takes the method.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from trivium.core.choices import check_choice

if TYPE_CHECKING:
    from trivium.methods.base import Method

Groups = Mapping[str, Mapping[str, float | None]]
REST = "rest"


def adam(
    method: Method,
    *,
    lr: float,
    weight_decay: float,
    betas: Sequence[float] = (0.9, 0.999),
    exempt_bias_and_norm: str = "all",
    groups: Groups | None = None,
) -> torch.optim.Optimizer:
    """Returns Adam with coupled L2 (weight_decay is added to the gradient), as Self-MM and MMIM train."""
    split = parameter_groups(method, lr, weight_decay, exempt_bias_and_norm, groups)
    return torch.optim.Adam(split, betas=(betas[0], betas[1]))


def adamw(
    method: Method,
    *,
    lr: float,
    weight_decay: float,
    betas: Sequence[float] = (0.9, 0.999),
    exempt_bias_and_norm: str = "all",
    groups: Groups | None = None,
) -> torch.optim.Optimizer:
    """Returns AdamW: decay is decoupled from the gradient (Loshchilov and Hutter, 2019)."""
    split = parameter_groups(method, lr, weight_decay, exempt_bias_and_norm, groups)
    return torch.optim.AdamW(split, betas=(betas[0], betas[1]))


def sgd(
    method: Method,
    *,
    lr: float,
    weight_decay: float,
    momentum: float = 0.9,
    exempt_bias_and_norm: str = "all",
    groups: Groups | None = None,
) -> torch.optim.Optimizer:
    """Returns stochastic gradient descent with momentum, and coupled L2."""
    return torch.optim.SGD(parameter_groups(method, lr, weight_decay, exempt_bias_and_norm, groups), momentum=momentum)


def parameter_groups(
    method: Method, lr: float, weight_decay: float, exempt_bias_and_norm: str, groups: Groups | None
) -> list[dict[str, Any]]:
    """Returns one parameter group for each role and decay; frozen parameters are left out.

    A role is a modality, for its encoder's parameters, or "rest".
    groups: modality -> {"lr", "weight_decay"}; None means the common value, or the encoder's own rate (Encoder.lr).
    exempt_bias_and_norm: which biases and norms get no decay: "all", "text" (the text encoder's alone, as in Self-MM's
    code) or "none".
    Raises ValueError for any other word.
    """
    check_choice("optimizer.exempt_bias_and_norm", exempt_bias_and_norm, ("all", "text", "none"))
    members: dict[tuple[str, bool], list[nn.Parameter]] = {}
    for role, parameter in _roles(method):
        exempt = parameter.ndim <= 1 and exempt_bias_and_norm in ("all", role)
        if parameter.requires_grad:
            members.setdefault((role, exempt), []).append(parameter)
    result = []
    for (role, exempt), parameters in members.items():
        settings = {key: value for key, value in (groups or {}).get(role, {}).items() if value is not None}
        encoder_lr = getattr(method.encoders[role], "lr", None) if role != REST else None
        settings.setdefault("lr", lr if encoder_lr is None else encoder_lr)
        decay = 0.0 if exempt else settings.get("weight_decay", weight_decay)
        result.append({"params": parameters, "lr": settings["lr"], "weight_decay": decay, "role": role})
    return result


def _roles(method: Method) -> Iterator[tuple[str, nn.Parameter]]:
    """Yields each parameter with its role, read off its name: encoders.MODALITY.... or anything else."""
    for name, parameter in method.named_parameters():
        first, _, rest = name.partition(".")
        yield (rest.partition(".")[0] if first == "encoders" else REST), parameter
