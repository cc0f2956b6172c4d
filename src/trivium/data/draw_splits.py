"""Draws which clips or groups belong to which split or fold.

What is drawn depends on the seed and on the ids (or the groups' names) alone, so that neither the order of a file nor
the version of a library changes it.
Legend: N clips.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence

import numpy as np

from trivium.data.clips import Array


def draw_clips(ids: Sequence[str], classes: Array, shares: Sequence[float], seed: int) -> Array:
    """Returns (N,) int64, the part of each clip, of which each has about its share of the clips of every class.

    classes: (N,) numbers, one for each class; all alike where there are none. shares: positive, with sum 1, no more
    than there are clips.
    """
    places = sorted(range(len(ids)), key=lambda n: (float(classes[n]), _lot(seed, ids[n])))
    parts = np.empty(len(ids), dtype=np.int64)
    parts[places] = _deal([1] * len(ids), shares)
    return parts


def draw_groups(groups: Sequence[str], shares: Sequence[float], seed: int) -> Array:
    """Returns (N,) int64, the part of each clip: one part for all clips of a group, of about its share of the clips.

    groups: (N,) names, as many different ones as there are shares or more.
    """
    sizes = Counter(groups)
    order = sorted(sizes, key=lambda group: _lot(seed, group))
    # With equal shares the parts are folds, which are of about one size if the largest groups are dealt first. A split
    # at random must not always have the largest groups in train.
    if len(set(shares)) == 1:
        order.sort(key=lambda group: -sizes[group])
    part_of = dict(zip(order, _deal([sizes[group] for group in order], shares), strict=True))
    return np.array([part_of[group] for group in groups], dtype=np.int64)


def _lot(seed: int, name: str) -> bytes:
    """Returns what clips or groups are put in order by: a hash of the seed and the name."""
    return hashlib.sha256(f"{seed} {name}".encode()).digest()


def _deal(sizes: Sequence[int], shares: Sequence[float]) -> list[int]:
    """Returns the part of each unit: in turn, the one that lacks most of its share of what has been dealt.

    So any stretch of the units, such as those of one class, is divided by the shares. No part stays empty.
    """
    filled, parts, dealt = np.zeros(len(shares)), [], 0
    for place, size in enumerate(sizes):
        dealt += size
        lacks = np.asarray(shares) * dealt - filled
        empty = filled == 0
        if len(sizes) - place <= empty.sum():
            lacks[~empty] = -np.inf
        # Rounded, so that equal shares are dealt in turn whatever the rounding of their products.
        part = int(np.argmax(lacks.round(9)))
        filled[part] += size
        parts.append(part)
    return parts
