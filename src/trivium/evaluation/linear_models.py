"""Fits linear maps on fixed vectors: multinomial logistic regression and ridge regression, in float64 on the CPU.

Legend: N clips, E features, C classes, K outputs, A regularisation strengths.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

# The points of the coarse search for C, as exponents of 10.
COARSE = range(-6, 7, 2)
# The intervals between the 29 points of the fine search: seven a decade.
FINE = 28
# The strengths that ridge regression is tried with: 100, log-spaced from 1e-6 to 1e6.
ALPHAS = tuple(10.0 ** (-6 + 12 * i / 99) for i in range(100))


class Linear(NamedTuple):
    """Maps (N, E) to (N, K). weight (K, E), bias (K,), float64."""

    weight: Tensor
    bias: Tensor

    def outputs(self, features_NE: Tensor) -> Tensor:
        """Returns the map's outputs, (N, K)."""
        return features_NE @ self.weight.T + self.bias


def classifier_objective(linear: Linear, features_NE: Tensor, classes_N: Tensor, c: float) -> Tensor:
    """Returns the mean cross-entropy + ||W|| / (2 c), a differentiable scalar.

    This is the objective of CoMM's linear evaluation (Dufumier et al., 2025, public code). ||W|| is the Frobenius norm
    itself, not its square, with the subgradient 0 at W = 0. The bias is not penalised.
    """
    penalty: Tensor = torch.linalg.vector_norm(linear.weight) / (2 * c)
    return F.cross_entropy(linear.outputs(features_NE), classes_N) + penalty


def fit_classifier(
    features_NE: Tensor, classes_N: Tensor, classes: int, c: float, *, standardize: bool = False
) -> Linear:
    """Returns the map that minimises `classifier_objective`, by L-BFGS from 0 in up to 100 iterations.

    features_NE: float64. classes_N: int64 in [0, classes). c: above 0; a larger one penalises less.
    standardize: True penalises the weights of features that are scaled to mean 0 and variance 1. The map that is
    returned still takes the features as they are.
    """
    if standardize:
        shift_E, scale_E = _statistics(features_NE)
        inner = fit_classifier((features_NE - shift_E) / scale_E, classes_N, classes, c)
        return _unscaled(inner, shift_E, scale_E)
    constant = _constant_classifier(features_NE, classes_N, classes, c)
    if constant is not None:
        return constant
    weight_CE = features_NE.new_zeros(classes, features_NE.shape[1], requires_grad=True)
    bias_C = features_NE.new_zeros(classes, requires_grad=True)
    optimizer = torch.optim.LBFGS([weight_CE, bias_C], lr=1, max_iter=100, line_search_fn="strong_wolfe")

    def closure() -> float:
        optimizer.zero_grad()
        with torch.enable_grad():
            loss = classifier_objective(Linear(weight_CE, bias_C), features_NE, classes_N, c)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.item()

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    return Linear(weight_CE.detach(), bias_C.detach())


def _constant_classifier(features_NE: Tensor, classes_N: Tensor, classes: int, c: float) -> Linear | None:
    """Returns W = 0 and the log class shares where that is the minimum, else None.

    W = 0 is the minimum if and only if the gradient of the cross-entropy there is no longer than the slope of the
    penalty. It is tested for, because a gradient method does not stop at the kink of a norm.
    """
    truth_NC = F.one_hot(classes_N, classes).to(features_NE)
    shares_C = truth_NC.mean(dim=0)
    gradient_CE = (shares_C - truth_NC).T @ features_NE / len(features_NE)
    if torch.linalg.vector_norm(gradient_CE) > 1 / (2 * c):
        return None
    # A class without a clip has the share 0, whose log is -inf.
    floor = torch.finfo(shares_C.dtype).tiny
    return Linear(torch.zeros_like(gradient_CE), shares_C.clamp_min(floor).log())


def search_c(score: Callable[[float], float]) -> float:
    """Returns the C in [1e-6, 1e6] with the highest score that the search of CoMM's public code visits.

    1. The best of 1e-6, 1e-4, ..., 1e6 is chosen, the smallest of equal ones.
    2. The window is 29 log-spaced points within two decades of it, without those outside the bounds.
    3. The window's points at a quarter, half and three quarters are scored. The window shrinks to its lower half if the
       first is as good as any, else to its upper half if the third is, and else to its middle. This is repeated until
       the window is one point.
    The result is the best of step 1 and of the points scored in step 3, and of equal ones the first.
    score: C -> value. It is called once for each C.
    """
    scores: dict[float, float] = {}

    def at(exponent: float) -> float:
        if exponent not in scores:
            scores[exponent] = score(10.0**exponent)
        return scores[exponent]

    coarse = max(COARSE, key=at)
    candidates: list[float] = [coarse]
    window = [coarse - 2 + 4 * i / FINE for i in range(FINE + 1)]
    window = [exponent for exponent in window if COARSE[0] <= exponent <= COARSE[-1]]
    while (points := len(window)) > 1:
        quarter, half, three_quarters = points // 4, points // 2, points - math.ceil(points / 4)
        probed = [window[quarter], window[half], window[three_quarters]]
        candidates += probed
        low, middle, high = (at(exponent) for exponent in probed)
        if low == max(low, middle, high):
            window = window[:half]
        elif high == max(low, middle, high):
            window = window[half:]
        else:
            window = window[quarter:three_quarters]
    return float(10.0 ** max(candidates, key=at))


def ridge_path(
    features_NE: Tensor, scores_N: Tensor, alphas: Sequence[float] = ALPHAS, *, standardize: bool = False
) -> Linear:
    """Returns the maps that minimise ||y - X w - b||^2 + alpha ||w||^2, one for each alpha.

    Weights are (A, E), biases (A,). All come from one singular value decomposition. scikit-learn's Ridge decomposes
    again for each alpha, which takes ten times as long (docs/architecture.md).
    features_NE, scores_N: float64. standardize: as in fit_classifier.
    """
    shift_E, scale_E = _statistics(features_NE)
    if not standardize:
        scale_E = torch.ones_like(scale_E)
    mean = scores_N.mean()
    left_NR, values_R, right_RE = torch.linalg.svd((features_NE - shift_E) / scale_E, full_matrices=False)
    alphas_A1 = torch.tensor(alphas, dtype=features_NE.dtype)[:, None]
    shrunk_AR = values_R / (values_R.square() + alphas_A1) * (left_NR.T @ (scores_N - mean))
    return _unscaled(Linear(shrunk_AR @ right_RE, mean.expand(len(alphas))), shift_E, scale_E)


def _statistics(features_NE: Tensor) -> tuple[Tensor, Tensor]:
    """Returns mean and standard deviation of each feature, (E,); the latter is 1 for a feature that never changes."""
    scale_E = features_NE.std(dim=0, correction=0)
    return features_NE.mean(dim=0), torch.where(scale_E > 0, scale_E, 1.0)


def _unscaled(linear: Linear, shift_E: Tensor, scale_E: Tensor) -> Linear:
    """Returns the map of x that equals `linear` of (x - shift) / scale."""
    weight_KE = linear.weight / scale_E
    return Linear(weight_KE, linear.bias - weight_KE @ shift_E)
