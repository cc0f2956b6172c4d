"""Chooses a probe's strength of regularisation, and fits the probe with it.

A probe is fitted on the split "probe" if there is one, and else on "train". The strength is chosen on "valid", and the
map is then fitted again on both. With a split "probe", "valid" is not used, because it may be drawn like "train"; the
strength is then chosen on 40 % that are held out of "probe", as it is on 40 % of "train" if there is no "valid". This
is the protocol of CoMM's linear evaluation (Dufumier et al., 2025, public code).
A target of several columns has one probe a column, each with its own strength.
Where train clips have few or wrong labels (data.labelled, data.label_noise), the probe is not fitted again on "valid",
whose labels are all known, and "probe" is not used either.
Legend: N clips, E features, C classes or labels, K scores or labels, A regularisation strengths.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from trivium.evaluation.classification import balanced_accuracy
from trivium.evaluation.linear_models import ALPHAS, Linear, fit_classifier, ridge_path, search_c

# Shows a line of progress.
Report = Callable[[str], None]
# The seed that draws the clips that are held out.
HELD_OUT_SEED = 48


@dataclass
class Rows:
    """Holds features (N, E), float64, and the targets that a probe reads from them.

    These are int64 classes (N,), scores (N,) or (N, K), or labels (N, C) of 0 and 1.
    """

    features: Tensor
    targets: Tensor

    def __getitem__(self, index: Tensor) -> Rows:
        return Rows(self.features[index], self.targets[index])

    def __add__(self, other: Rows) -> Rows:
        return Rows(torch.cat([self.features, other.features]), torch.cat([self.targets, other.targets]))


@dataclass
class Probe:
    """Holds the chosen strength (C or alpha), the final map, and the map fitted without the validation split.

    strength: one a column for targets of several columns.
    """

    strength: float | list[float]
    without_valid: Linear
    final: Linear

    def on(self, split: str) -> Linear:
        """Returns the map with which to score `split`: for "valid" the one that was fitted without it."""
        return self.without_valid if split == "valid" else self.final


def choose_classifier(
    rows: Mapping[str, Rows],
    classes: int,
    *,
    standardize: bool = False,
    refit: bool = True,
    report: Report | None = None,
) -> Probe:
    """Fits logistic regression with the C of the highest balanced accuracy on clips that it was not fitted on.

    rows: split -> rows, with at least "train" or "probe"; targets are classes in [0, classes). `search_c` searches C.
    standardize: as in fit_classifier. refit: False leaves the clips that C is chosen on out of the final map.
    report: shows each C that is tried.
    """
    train, held_out, is_valid = _choosing_parts(rows, strata=True)

    def fit(part: Rows, c: float) -> Linear:
        return fit_classifier(part.features, part.targets, classes, c, standardize=standardize)

    def score(c: float) -> float:
        if report is not None:
            report(f"C = {c:.3g}")
        return balanced_accuracy(fit(train, c).outputs(held_out.features), held_out.targets)

    c = search_c(score)
    final = fit(train + held_out if refit else train, c)
    return Probe(c, fit(train, c) if is_valid else final, final)


def choose_ridge(
    rows: Mapping[str, Rows], alphas: Sequence[float] = ALPHAS, *, standardize: bool = False, refit: bool = True
) -> Probe:
    """Fits ridge regression with the alpha of the lowest squared error on clips that it was not fitted on.

    Of equal alphas the first is taken.
    rows: split -> rows, with at least "train" or "probe"; targets are scores. standardize: as in fit_classifier.
    refit: as in choose_classifier.
    """
    train, held_out, is_valid = _choosing_parts(rows, strata=False)

    def fit(part: Rows) -> Linear:
        return ridge_path(part.features, part.targets, alphas, standardize=standardize)

    path = fit(train)
    errors_A = (path.outputs(held_out.features) - held_out.targets[:, None]).square().mean(dim=0)
    best = int(errors_A.argmin())
    final = _row(fit(train + held_out) if refit else path, best)
    return Probe(alphas[best], _row(path, best) if is_valid else final, final)


def choose_each(rows: Mapping[str, Rows], choose: Callable[[Mapping[str, Rows]], Probe]) -> Probe:
    """Fits a probe of one output for each column of the targets (N, K), and returns the probe of K outputs.

    choose: fits that of a column, whose targets are (N,).
    """
    columns = next(iter(rows.values())).targets.shape[1]
    probes = [
        choose({split: Rows(part.features, part.targets[:, k]) for split, part in rows.items()}) for k in range(columns)
    ]
    strengths = [probe.strength for probe in probes if isinstance(probe.strength, float)]
    return Probe(strengths, _stacked([p.without_valid for p in probes]), _stacked([p.final for p in probes]))


def choose_label_classifier(
    rows: Mapping[str, Rows], *, standardize: bool = False, refit: bool = True, report: Report | None = None
) -> Probe:
    """Fits `choose_classifier` on whether clips have a label; the one output is the logit of its probability.

    rows: as there, with targets (N,) of 0 and 1.
    """
    labelled = {split: Rows(part.features, part.targets.long()) for split, part in rows.items()}
    probe = choose_classifier(labelled, 2, standardize=standardize, refit=refit, report=report)
    return Probe(probe.strength, _logit(probe.without_valid), _logit(probe.final))


def _logit(linear: Linear) -> Linear:
    """Returns the map to the second of two logits minus the first, whose sigmoid is the softmax of the second."""
    return Linear(linear.weight[1:] - linear.weight[:1], linear.bias[1:] - linear.bias[:1])


def _stacked(maps: Sequence[Linear]) -> Linear:
    """Returns the map with the outputs of all maps."""
    return Linear(torch.cat([linear.weight for linear in maps]), torch.cat([linear.bias for linear in maps]))


def _row(path: Linear, index: int) -> Linear:
    """Returns the map of one alpha."""
    return Linear(path.weight[index : index + 1], path.bias[index : index + 1])


def _choosing_parts(rows: Mapping[str, Rows], *, strata: bool) -> tuple[Rows, Rows, bool]:
    """Returns what to fit on, what to choose the strength on, and whether the latter is the validation split."""
    if "probe" not in rows and "valid" in rows:
        return rows["train"], rows["valid"], True
    part = rows[fitted_on(rows)]
    fit_N = _hold_out(part.targets if strata else torch.zeros(len(part.targets)))
    return part[fit_N], part[~fit_N], False


def _hold_out(strata_N: Tensor) -> Tensor:
    """Marks the clips to fit on, (N,) bool: 60 % of each stratum, drawn with a fixed seed."""
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
