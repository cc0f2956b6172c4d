"""Reads a table's margins: the difference in a measure below which two rows count as the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from trivium.core.metric_names import OF
from trivium.results.comparison import margin_of
from trivium.tables.yaml_keys import keys

# Each stands for all metrics whose names begin with it.
_FAMILIES = ("acc", "f1")
# What linear probes are measured by.
_PROBED = "balanced_acc"


def read_margins(values: Any, metrics: Sequence[str]) -> dict[str, float]:
    """Returns metric, or acc or f1 for all of these -> margin in the metric's unit, shares in [0, 1].

    metrics: of the table's measures, "" for a probe. Raises ValueError for other keys and for margins not above 0.
    """
    known = list(dict.fromkeys(_name(metric) for metric in metrics))
    families = [family for family in _FAMILIES if any(name.startswith(family) for name in known)]
    margins = keys("margins", values, (), [*families, *(name for name in known if name not in families)])
    for key, margin in margins.items():
        if isinstance(margin, bool) or not isinstance(margin, int | float) or not margin > 0:
            raise ValueError(
                f"margins.{key}: expected a number above 0, in the metric's unit (.01 for one point of a share), "
                f"found {margin!r}"
            )
    return {key: float(margin) for key, margin in margins.items()}


def margin(margins: Mapping[str, float], metric: str) -> float | None:
    """Returns a metric's margin: the table's own for it or its family, else the usual one, None without any."""
    name = _name(metric)
    families = [family for family in _FAMILIES if name.startswith(family)]
    chosen = [margins[key] for key in (name, *families) if key in margins]
    return chosen[0] if chosen else margin_of(name)


def _name(metric: str) -> str:
    """Returns the metric that "recall/happy" is of; that of probes for ""."""
    return metric.partition(OF)[0] or _PROBED
