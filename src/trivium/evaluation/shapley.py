"""Computes Shapley values, each player's part of what a game of all players is worth (Shapley, 1953), and their equity.

Legend: M players. A coalition is numbered by the sum of 2^m over its players m.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from math import factorial

import numpy as np
import numpy.typing as npt

Worth = npt.NDArray[np.float64]


def coalition(members: Collection[str], players: Sequence[str]) -> int:
    """Returns the number of a coalition, which is its row in the worth that `shapley_values` takes."""
    return sum(1 << m for m, name in enumerate(players) if name in members)


def shapley_values(worth: npt.ArrayLike) -> Worth:
    """Returns each player's value, (M, ...), from the worth v of every coalition, (2^M, ...), the empty one first.

    Further dimensions are separate games. The value of m is the sum over coalitions S without m of
    |S|! (M - |S| - 1)! / M! (v(S and m) - v(S)). The values sum to v(all) - v(empty). If a worth is NaN, they are NaN.
    Raises ValueError unless there are 2^M rows with M at least 1.
    """
    worth = np.asarray(worth, dtype=np.float64)
    players = len(worth).bit_length() - 1
    if players < 1 or len(worth) != 1 << players:
        raise ValueError(f"shapley_values: {len(worth)} coalitions; expected 2^M, each subset of M players once")
    coalitions = np.arange(len(worth))
    sizes = np.array([int(members).bit_count() for members in coalitions])
    share = [factorial(size) * factorial(players - size - 1) / factorial(players) for size in range(players)]
    values = np.empty((players, *worth.shape[1:]))
    for m in range(players):
        without = coalitions[coalitions >> m & 1 == 0]
        gains = worth[without | 1 << m] - worth[without]
        values[m] = np.tensordot(np.array(share)[sizes[without]], gains, axes=1)
    return values


def equity(values_M: npt.ArrayLike) -> float | None:
    """Returns how equally players contribute to a game, in [0, 1]: 1 if equally, 0 if one of them does it all.

    values_M: their Shapley values in a game of which more is better. With phi+ = max(phi, 0) and the share
    s = phi+ / sum of phi+, it is the entropy of the shares, -sum of s log s, divided by log M. This definition is this
    project's own; it is not the Modality Equity Index of MissBench, of which no formula is public.
    Returns None where it is undefined: no value is above 0, a value is NaN, or there is one player alone.
    """
    values_M = np.asarray(values_M, dtype=np.float64)
    above_M = values_M[values_M > 0]
    if len(values_M) < 2 or not len(above_M) or np.isnan(values_M).any():
        return None
    share_M = above_M / above_M.sum()
    # The quotient may be above 1 in its last bit.
    return min(float((share_M * np.log(1.0 / share_M)).sum()) / math.log(len(values_M)), 1.0)
