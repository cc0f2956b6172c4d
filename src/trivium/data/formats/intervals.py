"""Finds the steps of intervals, averages them, and finds out whether a file has each word one interval late.

A step belongs to an interval if its midpoint lies in it; an interval without a midpoint takes the steps that overlap it
(words shorter than a feature's step, labels shorter than a word).
Legend: C intervals of a video, T steps, D features.
"""

from __future__ import annotations

import numpy as np

from trivium.data.clips import Array
from trivium.data.formats.sequences import Steps

# The word for a silence in the SDK's files.
PAUSE = "sp"


def ranges(steps_T2: Array, intervals_C2: Array) -> tuple[Array, Array]:
    """Returns low and high, (C,) each: interval c has steps low[c] to high[c] - 1. Steps are in order of midpoints."""
    low, high = (np.searchsorted(steps_T2.mean(axis=1), intervals_C2[:, side]) for side in (0, 1))
    high = np.maximum(low, high)
    if not len(steps_T2):
        return low, high
    # Where no midpoint lies inside, only the previous and the following step can overlap the interval.
    empty = low == high
    previous, following = np.maximum(low - 1, 0), np.minimum(high, len(steps_T2) - 1)
    takes_previous = empty & (low > 0) & (steps_T2[previous, 1] > intervals_C2[:, 0])
    takes_following = empty & (high < len(steps_T2)) & (steps_T2[following, 0] < intervals_C2[:, 1])
    return low - takes_previous, high + takes_following


def cut(values: Array, low: Array, high: Array) -> list[Array]:
    """Returns values[low:high] of each interval; low and high are those of `ranges`."""
    return [values[a:b] for a, b in zip(low, high, strict=True)]


def means(values: Array, low: Array, high: Array) -> Array:
    """Returns (C, D) float32 means of values[low:high], zeros where that is empty; summed in float64."""
    bounds = np.stack([low, high], axis=1).reshape(-1)
    zero_row = np.zeros((1, values.shape[1]), dtype=values.dtype)
    # reduceat refuses an end at T, so a row stands behind the last step.
    padded = np.concatenate([values, zero_row])
    sums = np.add.reduceat(padded, bounds, axis=0, dtype=np.float64)[::2] if len(bounds) else zero_row[:0]
    counts = (high - low)[:, None]
    return np.where(counts > 0, sums / np.maximum(counts, 1), 0.0).astype(np.float32)


def find_word_lag(videos: list[Steps]) -> int:
    """Returns 1 if each word stands one interval after its own, otherwise 0, also where there are too few words.

    Long words take long to say: over a corpus, a word's number of letters and its log seconds correlate by about 0.5.
    In a public copy of CMU_MOSI_ModifiedTimestampedWords.csd they correlate by 0.00, and by 0.54 with the previous
    interval. Read as stored, each of its clips begins with the last word of the previous clip and lacks its own last
    word.
    """
    if sum(len(steps.values) for steps in videos) < 500:
        return 0
    return int(_length_by_duration(videos, 1) > 0.3 and _length_by_duration(videos, 0) < 0.1)


def move_back(steps: Steps, lag: int) -> Steps:
    """Returns each value with the interval `lag` places earlier; the first values have none and are left out."""
    return Steps(steps.values[lag:], steps.intervals[: len(steps.intervals) - lag])


def _length_by_duration(videos: list[Steps], lag: int) -> float:
    """Returns the correlation of words' letters with their log seconds, without pauses; 0 where either is constant."""
    moved = [move_back(steps, lag) for steps in videos]
    names = np.concatenate([steps.values.astype(str) for steps in moved])
    intervals = np.concatenate([steps.intervals for steps in moved])[names != PAUSE]
    letters = np.char.str_len(names[names != PAUSE])
    seconds = np.log(np.maximum(intervals[:, 1] - intervals[:, 0], 1e-3))
    if letters.std() == 0 or seconds.std() == 0:
        return 0.0
    return float(np.corrcoef(letters, seconds)[0, 1])
