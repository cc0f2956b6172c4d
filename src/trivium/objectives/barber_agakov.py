"""Barber-Agakov's lower bound, I(X; Y) >= E[log q(y|x)] + H(Y), as MMIM estimates it between two modalities.

The parts are MMIM's. How they are put together so that they can train encoders is in
trivium.methods.mutual_information.
Legend: B clips, N clips of the global batch, M remembered clips, D features of y, P projected features.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.func import functional_call

from trivium.core.precision import at_least_float32


def conditional_log_likelihood(mu_BD: Tensor, logvar_BD: Tensor, y_BD: Tensor, *, normalised: bool = True) -> Tensor:
    """Returns (B,) log N(y; mu, diag exp(logvar)) in nats, summed over D, float32 at least.

    normalised=False gives MMIM's public code: only -(mu - y)^2 / (2 exp(logvar)). It is at most 0, reached by
    logvar -> inf whatever mu does, so it bounds nothing and is only safe where q is trained apart with few steps.
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
    """Returns rows of mean 0 and standard deviation 1 in each feature over the counted clips, with gradient.

    The log-likelihood of y falls without bound as y is scaled up, so an encoder that is trained by it scales y down to
    a constant; standardised, the scale of y carries nothing. A feature whose deviation is below eps (all of a ReLU's
    outputs off) is 0 and gets no gradient. counted_N: (N,) bool; the others are standardised alike. float32 at least.

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
    projected_NP: Tensor, labels_N: Tensor, memory: tuple[Tensor, Tensor] | None, eps: float = 1e-4
) -> Tensor:
    """Returns MMIM's H(Y): 0.25 (logdet Sigma_pos + logdet Sigma_neg), biased covariances, constants dropped.

    projected_NP: this batch's rows (all ranks'), with gradient. labels_N: their signs choose the class; zeros are
    dropped (so a 0 also leaves out a clip that lacks the modality). memory: rows and labels of the previous batch,
    detached here.
    Without a memory the value is 0, still connected to the graph, as is a class without rows. eps is added to the
    diagonal, so that a class with fewer rows than P stays finite; one row alone gives P log eps and no gradient.
    """
    rows_NP, labels = at_least_float32(projected_NP), labels_N
    zero = 0.0 * rows_NP.sum()
    if memory is None:
        return zero
    # After a resume the memory is on the CPU.
    remembered_MP, labels_M = memory
    rows_NP = torch.cat([rows_NP, remembered_MP.detach().to(rows_NP, non_blocking=True)])
    labels = torch.cat([labels, labels_M.to(labels, non_blocking=True)])
    with torch.autocast(rows_NP.device.type, enabled=False):
        return zero + 0.25 * (_logdet(rows_NP, labels > 0, eps) + _logdet(rows_NP, labels < 0, eps))


def _logdet(rows_NP: Tensor, member_N: Tensor, eps: float) -> Tensor:
    """Returns log det of the members' covariance + eps I, or 0 without members.

    Members are weighted, not indexed, as indexing by a mask would make the host wait for a GPU.
    """
    weight_N1 = member_N.to(rows_NP)[:, None]
    count = weight_N1.sum()
    centre_P = (weight_N1 * rows_NP).sum(dim=0) / count.clamp_min(1)
    deviation_NP = weight_N1 * (rows_NP - centre_P)
    covariance_PP = deviation_NP.T @ deviation_NP / count.clamp_min(1)
    guard_PP = eps * torch.eye(rows_NP.shape[1], dtype=rows_NP.dtype, device=rows_NP.device)
    return torch.where(count > 0, torch.linalg.slogdet(covariance_PP + guard_PP).logabsdet, 0.0)


class Conditional(nn.Module):
    """Models q(y|x) as a diagonal Gaussian: mean and log variance are each Linear-ReLU-Linear (MMIM's public code).

    hidden: width between the two layers; y's size if None, as in MMIM.
    """

    def __init__(self, x_dim: int, y_dim: int, hidden: int | None = None) -> None:
        super().__init__()
        width = y_dim if hidden is None else hidden
        self.mu = nn.Sequential(nn.Linear(x_dim, width), nn.ReLU(), nn.Linear(width, y_dim))
        self.logvar = nn.Sequential(nn.Linear(x_dim, width), nn.ReLU(), nn.Linear(width, y_dim))

    def forward(self, x_BE: Tensor) -> tuple[Tensor, Tensor]:
        """Returns mu and logvar, both (B, D)."""
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
        """Returns (B,) log q(y|x).

        frozen: gradients reach x and y but not q, as in the stage that trains the encoders. least_logvar: q's log
        variance is at least that, so that no y, however well x predicts it, has an unbounded density.
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
        """Returns (B, P) in (-1, 1). frozen: gradients reach y but not the projection (MMIM never trains it)."""
        if frozen:
            projected_BP: Tensor = functional_call(self, _detached(self), (y_BD,))
            return projected_BP
        return torch.tanh(self.linear(y_BD))


def _detached(module: nn.Module) -> dict[str, Tensor]:
    return {name: parameter.detach() for name, parameter in module.named_parameters()}
