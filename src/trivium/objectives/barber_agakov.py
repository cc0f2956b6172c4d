"""Estimates Barber and Agakov's lower bound, I(X; Y) >= E[log q(y|x)] + H(Y), as MMIM does between two modalities.

The parts are those of MMIM (Han et al., 2021). trivium.methods.mutual_information puts them together in a way that can
train encoders.
Legend: B clips, N clips of the global batch, M remembered clips, D features of y, P projected features.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.func import functional_call

from trivium.core.precision import at_least_float32


def conditional_log_likelihood(mu_BD: Tensor, logvar_BD: Tensor, y_BD: Tensor, *, normalised: bool = True) -> Tensor:
    """Returns log N(y; mu, diag exp(logvar)) of each clip, (B,), in nats, summed over D, float32 at least.

    normalised: False gives the value of MMIM's public code, which is -(mu - y)^2 / (2 exp(logvar)) alone. It is at most
    0, and logvar -> inf reaches 0 whatever mu is. So it bounds nothing, and is only safe where q is trained in a stage
    of its own, with few steps.
    """
    mu_BD, logvar_BD, y_BD = at_least_float32(mu_BD), at_least_float32(logvar_BD), at_least_float32(y_BD)
    log_density_BD = -0.5 * (mu_BD - y_BD).square() * torch.exp(-logvar_BD)
    if normalised:
        log_density_BD = log_density_BD - 0.5 * (logvar_BD + math.log(2 * math.pi))
    return log_density_BD.sum(dim=-1)


def barber_agakov_bound(mu_BD: Tensor, logvar_BD: Tensor, y_BD: Tensor, entropy: Tensor | float = 0.0) -> Tensor:
    """Returns Barber and Agakov's lower bound on I(X; Y), a scalar in nats: mean log q(y|x) + H(Y).

    mu_BD, logvar_BD: of q(y|x), a diagonal Gaussian that x gives (`Conditional` is a network for it). entropy: H(Y),
    in nats; with 0 the bound is on I(X; Y) - H(Y), which serves to fit q. Its negative is a loss. It trains q safely;
    an encoder of y is trained by it only on standardised y (`standardise`).

    >>> import math, torch
    >>> from trivium.objectives import Conditional, barber_agakov_bound
    >>> x, y = torch.randn(8, 3), torch.randn(8, 2)
    >>> entropy = 2 * 0.5 * math.log(2 * math.pi * math.e)
    >>> bound = barber_agakov_bound(*Conditional(3, 2)(x), y, entropy)
    >>> print(f"{barber_agakov_bound(y, torch.zeros(8, 2), y, entropy):.3f}")
    1.000
    """
    return conditional_log_likelihood(mu_BD, logvar_BD, y_BD).mean() + entropy


def standardise(rows_NP: Tensor, counted_N: Tensor, eps: float = 1e-6) -> Tensor:
    """Returns rows of mean 0 and standard deviation 1 in each feature over the counted clips, (N, P), with gradient.

    The log-likelihood of y rises without bound as y is scaled down, so an encoder that is trained by it would shrink y
    to a constant. Standardised, the scale of y makes no difference.

    counted_N: bool, the clips that mean and deviation are taken over; the others are shifted and scaled alike.
    eps: a feature whose deviation is below it (a ReLU that is off for all clips) is 0 and gets no gradient.
    float32 at least.

    >>> import torch
    >>> from trivium.objectives import standardise
    >>> standardise(torch.tensor([[1.0], [3.0], [9.0]]), torch.tensor([True, True, False])).flatten()
    tensor([-1.,  1.,  7.])
    """
    rows_NP = at_least_float32(rows_NP)
    weight_N1 = counted_N.to(rows_NP)[:, None]
    count = weight_N1.sum().clamp_min(1)
    deviation_NP = rows_NP - (weight_N1 * rows_NP).sum(dim=0) / count
    variance_P = (weight_N1 * deviation_NP.square()).sum(dim=0) / count
    return torch.where(variance_P > eps**2, deviation_NP / variance_P.clamp_min(eps**2).sqrt(), 0.0)


def class_entropy(
    projected_NP: Tensor, labels_N: Tensor, memory: tuple[Tensor, Tensor] | None, eps: float = 1e-4, classes: int = 0
) -> Tensor:
    """Returns MMIM's H(Y), a scalar in nats: 0.25 (log det Sigma_pos + log det Sigma_neg).

    It is the entropy of a Gaussian for the clips of positive labels and one for those of negative labels, without the
    constants. The covariances divide by the number of rows, not by one less.
    With `classes` C the same is taken over nominal classes: the sum over classes of log det Sigma_c, over 2 C.

    projected_NP: rows of the global batch, with gradient. labels_N: their signs choose the class, or they are class
    numbers from 1 to C. Rows of label 0 are left out, so that a 0 can also mark a clip that lacks the modality.
    memory: rows and labels of the previous batch, which get no gradient; None at the first batch. The value is then 0,
    and connected to the graph.
    eps: added to the diagonal, so that a class with fewer rows than P stays finite. A class of a single row gives
    P log eps and no gradient, a class without rows gives 0.
    """
    rows_NP, labels = at_least_float32(projected_NP), labels_N
    zero = 0.0 * rows_NP.sum()
    if memory is None:
        return zero
    # In a resumed run the memory comes from the checkpoint, and is on the CPU.
    remembered_MP, labels_M = memory
    rows_NP = torch.cat([rows_NP, remembered_MP.detach().to(rows_NP, non_blocking=True)])
    labels = torch.cat([labels, labels_M.to(labels, non_blocking=True)])
    members = memberships(labels, classes)
    with torch.autocast(rows_NP.device.type, enabled=False):
        logdets = [_logdet(rows_NP, member_N, eps) for member_N in members]
        return zero + sum(logdets[1:], start=logdets[0]) / (2 * len(members))


def memberships(labels_N: Tensor, classes: int = 0) -> list[Tensor]:
    """Returns the clips of each class of `class_entropy`, (N,) bool: positive and negative ones, or C classes."""
    if not classes:
        return [labels_N > 0, labels_N < 0]
    return [labels_N == number for number in range(1, classes + 1)]


def _logdet(rows_NP: Tensor, member_N: Tensor, eps: float) -> Tensor:
    """Returns the log det of the members' covariance + eps I, or 0 without members.

    Members are weighted and not indexed, because indexing by a mask makes the host wait for a GPU.
    """
    weight_N1 = member_N.to(rows_NP)[:, None]
    count = weight_N1.sum()
    centre_P = (weight_N1 * rows_NP).sum(dim=0) / count.clamp_min(1)
    deviation_NP = weight_N1 * (rows_NP - centre_P)
    covariance_PP = deviation_NP.T @ deviation_NP / count.clamp_min(1)
    guard_PP = eps * torch.eye(rows_NP.shape[1], dtype=rows_NP.dtype, device=rows_NP.device)
    return torch.where(count > 0, torch.linalg.slogdet(covariance_PP + guard_PP).logabsdet, 0.0)


class Conditional(nn.Module):
    """Models q(y|x) as a diagonal Gaussian, whose mean and log variance are each Linear-ReLU-Linear, as in MMIM's code.

    x_dim, y_dim: sizes of x and y. hidden: width between the two layers; None takes y_dim, as in MMIM.
    """

    def __init__(self, x_dim: int, y_dim: int, hidden: int | None = None) -> None:
        super().__init__()
        width = y_dim if hidden is None else hidden
        self.mu = nn.Sequential(nn.Linear(x_dim, width), nn.ReLU(), nn.Linear(width, y_dim))
        self.logvar = nn.Sequential(nn.Linear(x_dim, width), nn.ReLU(), nn.Linear(width, y_dim))

    def forward(self, x_BE: Tensor) -> tuple[Tensor, Tensor]:
        """Returns mean and log variance, both (B, D)."""
        return self.mu(x_BE), self.logvar(x_BE)

    def log_likelihood(
        self,
        x_BE: Tensor,
        y_BD: Tensor,
        *,
        normalised: bool = True,
        frozen: bool = False,
        least_logvar: float = -math.inf,
    ) -> Tensor:
        """Returns log q(y|x) of each clip, (B,), in nats.

        normalised: as in `conditional_log_likelihood`.
        frozen: True lets gradients reach x and y but not q, as in MMIM's stage that trains the encoders.
        least_logvar: a lower limit on q's log variance, so that the density stays bounded however well x predicts y.
        """
        mu_BD, logvar_BD = functional_call(self, _detached(self), (x_BE,)) if frozen else self(x_BE)
        return conditional_log_likelihood(mu_BD, logvar_BD.clamp_min(least_logvar), y_BD, normalised=normalised)


class EntropyProjection(nn.Module):
    """Maps y to tanh(W y + b), a quarter of its size (at least 1), for the covariances of `class_entropy` (MMIM)."""

    def __init__(self, y_dim: int) -> None:
        super().__init__()
        self.dim = max(1, y_dim // 4)
        self.linear = nn.Linear(y_dim, self.dim)

    def forward(self, y_BD: Tensor, *, frozen: bool = False) -> Tensor:
        """Returns (B, P) in (-1, 1). frozen: gradients reach y but not the projection, which MMIM never trains."""
        if frozen:
            projected_BP: Tensor = functional_call(self, _detached(self), (y_BD,))
            return projected_BP
        return torch.tanh(self.linear(y_BD))


def _detached(module: nn.Module) -> dict[str, Tensor]:
    return {name: parameter.detach() for name, parameter in module.named_parameters()}
