"""Computes what can be known of a discrete variable from noisy views of it, by exact sums over every case, in bits.

Legend: Y values of the variable, S_m values that modality m can show. A table (Y, S_1, .., S_M) is their joint
distribution; a modality that shows nothing of the variable has an axis of size 1.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np

from trivium.data.clips import Array
from trivium.data.store import Store


def channel(levels: int, noise: float) -> Array:
    """Returns (levels, levels), P(observed | shown): with probability `noise` a uniform symbol replaces it."""
    return (1.0 - noise) * np.eye(levels) + noise / levels


def views(prior_Y: Array, channels: Sequence[Array]) -> Array:
    """Returns the table of a variable and of views that are independent given it. channels: M arrays (Y, S_m)."""
    table = np.asarray(prior_Y, dtype=np.float64)
    for m, channel_YS in enumerate(channels):
        table = table[..., None] * channel_YS.reshape(len(channel_YS), *[1] * m, -1)
    return table


def information(table: Array) -> float:
    """Returns I(Y; S_1, .., S_M) in bits."""
    return max(0.0, _entropy(table.sum(axis=_views_of(table))) + _entropy(table.sum(axis=0)) - _entropy(table))


def accuracy(table: Array) -> float:
    """Returns the share of cases in which the likeliest Y given all views is right: no classifier does better."""
    return float(table.max(axis=0).sum())


def residual(table: Array, values_Y: Array) -> float:
    """Returns E[Var(value of Y | all views)]: no prediction of the value has a smaller mean squared error."""
    prior_Y, marginal = table.sum(axis=_views_of(table)), table.sum(axis=0)
    mean = np.tensordot(values_Y, table, axes=1) / np.where(marginal > 0, marginal, 1.0)
    return max(0.0, float(prior_Y @ values_Y**2 - (marginal * mean**2).sum()))


def total_correlation(table: Array) -> float:
    """Returns the sum of the views' entropies less that of all together, in bits; Y is summed out."""
    marginal = table.sum(axis=0)
    axes = range(marginal.ndim)
    each = sum(_entropy(marginal.sum(axis=tuple(a for a in axes if a != m))) for m in axes)
    return max(0.0, each - _entropy(marginal))


def subsets(modalities: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """Returns the name ("text", "audio", "text+audio", ...) and the members' positions of each non-empty subset."""
    places = range(len(modalities))
    chosen = [c for size in range(1, len(modalities) + 1) for c in combinations(places, size)]
    return {"+".join(modalities[m] for m in members): members for members in chosen}


def restrict(table: Array, members: Sequence[int]) -> Array:
    """Returns the table of Y and of these modalities alone, with axes of size 1 for the others."""
    other_axes = tuple(m + 1 for m in range(table.ndim - 1) if m not in members)
    marginal: Array = table.sum(axis=other_axes, keepdims=True)
    return marginal


def from_each_subset(table: Array, modalities: Sequence[str]) -> dict[str, dict[str, float]]:
    """Returns subset -> {"bits": information, "accuracy": Bayes-optimal}."""
    parts = {name: restrict(table, members) for name, members in subsets(modalities).items()}
    return {name: {"bits": information(part), "accuracy": accuracy(part)} for name, part in parts.items()}


def knowable_of(store: Store) -> dict[str, Any]:
    """Returns what can be known of a generated store's data, as computed when it was written.

    Raises ValueError for a store of measured data.
    """
    notes = store.provenance["notes"]
    if "knowable" not in notes:
        raise ValueError(f"{store.path}: what can be known is computed for generated data alone (data=synthetic)")
    knowable: dict[str, Any] = json.loads(notes["knowable"])
    return knowable


def _views_of(table: Array) -> tuple[int, ...]:
    return tuple(range(1, table.ndim))


def _entropy(table: Array) -> float:
    p = table[table > 0]
    return float(-(p * np.log2(p)).sum())
