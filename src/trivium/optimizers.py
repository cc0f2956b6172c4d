"""Makes optimisers with a parameter group for each role: the encoder of a modality, or the rest.

The first three functions are the `_target_` of YAMLs in configs/optimizer; their keywords are explained there.
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
    """Returns Adam (Kingma and Ba, 2015) with coupled L2: weight_decay is added to the gradient.

    Self-MM and MMIM train so.
    lr, weight_decay, exempt_bias_and_norm, groups: as in `parameter_groups`. betas: of the two running means.
    """
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
    """Returns AdamW, whose weight decay is decoupled from the gradient (Loshchilov and Hutter, 2019).

    Its keywords are those of `adam`.
    """
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
    """Returns stochastic gradient descent with momentum and coupled L2. Other keywords are those of `adam`."""
    return torch.optim.SGD(parameter_groups(method, lr, weight_decay, exempt_bias_and_norm, groups), momentum=momentum)


def parameter_groups(
    method: Method, lr: float, weight_decay: float, exempt_bias_and_norm: str, groups: Groups | None
) -> list[dict[str, Any]]:
    """Returns a parameter group for each role and weight decay. Frozen parameters are in none.

    A role is the name of a modality, for the parameters of its encoder, what Method.parameter_roles says, or "rest" for
    all others.

    lr, weight_decay: the common values. An encoder with a learning rate of its own (Encoder.lr) has that one.
    groups: role -> {"lr", "weight_decay"}, which take precedence over both; None leaves a value as it is.
    exempt_bias_and_norm: the roles whose biases and norms get no weight decay: "all", "text" (the text encoder alone,
    as in Self-MM's code) or "none".
    Raises ValueError for another exempt_bias_and_norm.
    """
    check_choice("optimizer.exempt_bias_and_norm", exempt_bias_and_norm, ("all", "text", "none"))
    members: dict[tuple[str, bool], list[nn.Parameter]] = {}
    for role, parameter in _roles(method):
        # Biases and the weights of norms are the parameters of a single dimension.
        exempt = parameter.ndim <= 1 and exempt_bias_and_norm in ("all", role)
        if parameter.requires_grad:
            members.setdefault((role, exempt), []).append(parameter)
    result = []
    for (role, exempt), parameters in members.items():
        settings = {key: value for key, value in (groups or {}).get(role, {}).items() if value is not None}
        encoder_lr = getattr(method.encoders[role], "lr", None) if role in method.encoders else None
        settings.setdefault("lr", lr if encoder_lr is None else encoder_lr)
        decay = 0.0 if exempt else settings.get("weight_decay", weight_decay)
        result.append({"params": parameters, "lr": settings["lr"], "weight_decay": decay, "role": role})
    return result


def _roles(method: Method) -> Iterator[tuple[str, nn.Parameter]]:
    """Yields each parameter with its role, which its name tells: encoders.MODALITY.REST is of an encoder."""
    # A model that is no Method has encoders alone.
    roles: Mapping[str, str] = getattr(method, "parameter_roles", {})
    for name, parameter in method.named_parameters():
        first, _, rest = name.partition(".")
        if first == "encoders":
            yield rest.partition(".")[0], parameter
        else:
            yield next((role for prefix, role in roles.items() if name.startswith(f"{prefix}.")), REST), parameter
