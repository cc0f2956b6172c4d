"""Chooses a probe's strength of regularisation, and fits the probe with it.

A probe is fitted on the split "probe" where there is one, else on "train". The strength is chosen on "valid", and the
map fitted again on both. A split "probe" stands alone, as "valid" may be drawn like "train": there, and where there is
no "valid", the strength is chosen on 40 % held out. This is the protocol of CoMM's linear evaluation (Dufumier et al.,
2025, public code).
Legend: N clips, E features, C classes, A regularisation strengths.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from trivium.evaluation.classification import balanced_accuracy
from trivium.evaluation.linear_models import ALPHAS, Linear, fit_classifier, ridge_path, search_c

Report = Callable[[str], None]  # shows one line of progress
HELD_OUT_SEED = 48


@dataclass
class Rows:
    """Holds features (N, E), float64, and targets (N,) to read from them: classes int64, or scores."""

    features: Tensor
    targets: Tensor

    def __getitem__(self, index: Tensor) -> Rows:
        return Rows(self.features[index], self.targets[index])

    def __add__(self, other: Rows) -> Rows:
        return Rows(torch.cat([self.features, other.features]), torch.cat([self.targets, other.targets]))


@dataclass
class Probe:
    """Holds the chosen strength (C or alpha), the final map, and the map fitted without the validation split."""

    strength: float
    without_valid: Linear
    final: Linear

    def on(self, split: str) -> Linear:
        """Returns the map to score `split` with: for "valid", the one that was fitted without it."""
        return self.without_valid if split == "valid" else self.final


def choose_classifier(
    rows: Mapping[str, Rows], classes: int, *, standardize: bool = False, report: Report | None = None
) -> Probe:
    """Fits logistic regression whose C has the highest balanced accuracy on clips that it was not fitted on (search_c).

    rows: by split, "train" or "probe" at least; targets are classes in [0, classes).
    """
    train, held_out, is_valid = _choosing_parts(rows, strata=True)

    def fit(part: Rows, c: float) -> Linear:
        return fit_classifier(part.features, part.targets, classes, c, standardize=standardize)

    def score(c: float) -> float:
        if report is not None:
            report(f"C = {c:.3g}")
        return balanced_accuracy(fit(train, c).outputs(held_out.features), held_out.targets)

    c = search_c(score)
    final = fit(train + held_out, c)
    return Probe(c, fit(train, c) if is_valid else final, final)


def choose_ridge(rows: Mapping[str, Rows], alphas: Sequence[float] = ALPHAS, *, standardize: bool = False) -> Probe:
    """Fits ridge regression whose alpha has the lowest squared error on clips that it was not fitted on.

    The first of equal alphas wins.

    rows: by split, "train" or "probe" at least; targets are scores.
    """
    train, held_out, is_valid = _choosing_parts(rows, strata=False)

    def fit(part: Rows) -> Linear:
        return ridge_path(part.features, part.targets, alphas, standardize=standardize)

    path = fit(train)
    errors_A = (path.outputs(held_out.features) - held_out.targets[:, None]).square().mean(dim=0)
    best = int(errors_A.argmin())
    final = _row(fit(train + held_out), best)
    return Probe(alphas[best], _row(path, best) if is_valid else final, final)


def _row(path: Linear, index: int) -> Linear:
    return Linear(path.weight[index : index + 1], path.bias[index : index + 1])


def _choosing_parts(rows: Mapping[str, Rows], *, strata: bool) -> tuple[Rows, Rows, bool]:
    """Returns what to fit on, what to choose the strength on, and whether the latter is the validation split."""
    if "probe" not in rows and "valid" in rows:
        return rows["train"], rows["valid"], True
    part = rows[fitted_on(rows)]
    fit_N = _hold_out(part.targets if strata else torch.zeros(len(part.targets)))
    return part[fit_N], part[~fit_N], False


def _hold_out(strata_N: Tensor) -> Tensor:
    """Marks (N,) the 60 % of each stratum to fit on, drawn with a fixed seed."""
    generator = torch.Generator().manual_seed(HELD_OUT_SEED)
    fit_N = torch.zeros(len(strata_N), dtype=torch.bool)
    for stratum in sorted(set(strata_N.tolist())):
        members = (strata_N == stratum).nonzero()[:, 0]
        order = torch.randperm(len(members), generator=generator)
        fit_N[members[order[: round(0.6 * len(members))]]] = True
    return fit_N


def fitted_on(splits: Collection[str]) -> str:
    """Returns the split that probes are fitted on, of those that there are."""
    return "probe" if "probe" in splits else "train"
