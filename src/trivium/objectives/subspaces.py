"""Compares the subspaces of MISA (Hazarika et al., ACM MM 2020): how unlike two views are, and how alike two samples.

All values are of a whole batch, so that several processes gather their rows first.
Legend: N clips of the global batch, D features.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.linalg import vector_norm

from trivium.core.precision import at_least_float32

# The order of the last central moment of CMD, as in MISA and in Zellinger et al. (ICLR 2017).
MOMENTS = 5


def subspace_difference(x_ND: Tensor, y_ND: Tensor, both_N: Tensor | None = None) -> Tensor:
    """Returns the mean square of the D x D products between the features of x and y, centred and of unit rows.

    Rows are centred by the mean of each feature and divided by their norm, which gets no gradient, as in MISA's code.
    The products are sums over clips, so that the value grows with N squared.

    both_N: (N,) bool, the clips that count, None for all. Of fewer than two the value is 0.

    >>> import torch
    >>> from trivium.objectives import subspace_difference
    >>> private, shared = torch.eye(4), torch.eye(4)[[1, 0, 3, 2]]
    >>> subspace_difference(private, shared)
    tensor(0.3333)
    """
    x_ND, y_ND = at_least_float32(x_ND), at_least_float32(y_ND)
    x_ND, y_ND = (_unit_rows(_centred(rows_ND, _all_or(both_N, rows_ND))) for rows_ND in (x_ND, y_ND))
    return (x_ND.mT @ y_ND).square().mean()


def central_moment_discrepancy(
    x_ND: Tensor, y_ND: Tensor, x_has_N: Tensor | None = None, y_has_N: Tensor | None = None
) -> Tensor:
    """Returns CMD of order 5 (Zellinger et al., 2017): the distance of the means plus those of the central moments.

    The entries of x and y lie in an interval of length 1, as a sigmoid's do, so that no moment is scaled.

    x_has_N, y_has_N: (N,) bool, the rows of each side that count, None for all. The sides need not be paired.

    >>> import torch
    >>> from trivium.objectives import central_moment_discrepancy
    >>> central_moment_discrepancy(torch.tensor([[0.2], [0.4]]), torch.tensor([[0.5], [0.9]]))
    tensor(0.4315)
    """
    x_ND, y_ND = at_least_float32(x_ND), at_least_float32(y_ND)
    x_has_N1, y_has_N1 = _all_or(x_has_N, x_ND), _all_or(y_has_N, y_ND)
    # The gradient of torch's norm at 0 is 0; that of the square root of a sum of squares would be NaN.
    distance: Tensor = vector_norm(_mean(x_ND, x_has_N1) - _mean(y_ND, y_has_N1))
    x_centred, y_centred = _centred(x_ND, x_has_N1), _centred(y_ND, y_has_N1)
    x_power, y_power = x_centred, y_centred
    for _ in range(2, MOMENTS + 1):
        x_power, y_power = x_power * x_centred, y_power * y_centred
        distance = distance + vector_norm(_mean(x_power, x_has_N1) - _mean(y_power, y_has_N1))
    return distance


def _all_or(has_N: Tensor | None, rows_ND: Tensor) -> Tensor:
    """Returns (N, 1) bool, the rows that count."""
    if has_N is None:
        return torch.ones(len(rows_ND), 1, dtype=torch.bool, device=rows_ND.device)
    return has_N[:, None]


def _mean(rows_ND: Tensor, has_N1: Tensor) -> Tensor:
    return torch.where(has_N1, rows_ND, 0.0).sum(dim=0) / has_N1.sum().clamp(min=1)


def _centred(rows_ND: Tensor, has_N1: Tensor) -> Tensor:
    """Returns the rows minus their mean, and zeros in those that do not count."""
    return torch.where(has_N1, rows_ND - _mean(rows_ND, has_N1), 0.0)


def _unit_rows(rows_ND: Tensor) -> Tensor:
    unit_ND: Tensor = rows_ND / (vector_norm(rows_ND.detach(), dim=1, keepdim=True) + 1e-6)
    return unit_ND
