"""Writes scores as tables and pages print them: shares in %, everything else with three decimals."""

from __future__ import annotations

import math
from dataclasses import dataclass

from trivium.core.metric_names import LABELS, OF, is_share, lower_is_better, metric_text
from trivium.results.spread import Spread


@dataclass(frozen=True)
class Kind:
    """Describes a measure. share: it lies in [0, 1] and is written in %. lower: lower is better; None: not known."""

    share: bool
    lower: bool | None


def kind_of(measure: str) -> Kind:
    """Returns the kind of the metric that the name is or begins with: "mae", "MAE T" and "mae/openness" are MAEs."""
    if measure in ("loss", "total"):
        return Kind(share=False, lower=True)
    # of several that fit, such as Acc-2 beside Acc-2 Non0, all are of the same kind
    base = measure.partition(OF)[0]
    fitting = (key for key, label in LABELS.items() if base == key or f"{base} ".startswith(f"{label} "))
    metric = next(fitting, None)
    return Kind(False, None) if metric is None else Kind(is_share(metric), lower_is_better(metric))


def number_text(value: float, kind: Kind) -> str:
    """Returns 34.1 % for a share, 0.723 for anything else, "-" for NaN."""
    return metric_text(value, kind.share) + " %" * (kind.share and not math.isnan(value))


def spread_text(spread: Spread, kind: Kind) -> str:
    """Returns text such as 34.1 ± 0.8 % (n = 5)."""
    if math.isnan(spread.std):
        return number_text(spread.mean, kind)
    mean, std = (metric_text(value, kind.share) for value in (spread.mean, spread.std))
    return f"{mean} ± {std}{' %' if kind.share else ''} (n = {spread.n})"


def p_text(p: float) -> str:
    """Returns p with three digits and without the leading zero, as in .031."""
    return "<.001" if p < 0.0005 else f"{p:.3f}".removeprefix("0")
