"""Renders symbols as sequences of feature vectors: codes of their values are summed, and jitter is added to each step.

Legend: N clips, L steps of a split, D features, K values.
"""

from __future__ import annotations

import math

import numpy as np

from trivium.data.clips import Array, Ragged, offsets_of


def orthogonal_codes(rng: np.random.Generator, values: int, dim: int, norm: float) -> Array:
    """Returns (values, dim) vectors of length `norm`, in random orthogonal directions: each is linearly decodable."""
    rotation, triangle = np.linalg.qr(rng.normal(size=(dim, dim)))
    codes: Array = norm * (rotation * np.sign(np.diag(triangle))).T[:values]
    return codes


def draw_lengths(rng: np.random.Generator, clips: int, length: tuple[int, int]) -> Array:
    """Returns (clips,) numbers of steps, uniform from length[0] to length[1], ends included."""
    lengths: Array = rng.integers(length[0], length[1] + 1, size=clips)
    return lengths


def with_jitter(rng: np.random.Generator, steps_LD: Array, lengths_N: Array, jitter: float) -> Ragged:
    """Packs clips whose steps are steps_LD plus independent Gaussian noise of standard deviation `jitter`."""
    values = (steps_LD + jitter * rng.normal(size=steps_LD.shape)).astype(np.float32)
    return Ragged(values, offsets_of(lengths_N))


def confusion(values: int, distance: float, jitter: float) -> float:
    """Bounds the probability that the nearest of `values` codes, `distance` apart, is a wrong one (union bound)."""
    if jitter == 0:
        return 0.0
    return min(1.0, (values - 1) * 0.5 * math.erfc(distance / (2 * jitter) / math.sqrt(2)))
