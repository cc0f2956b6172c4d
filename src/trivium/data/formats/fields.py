"""The fields of one split as a file gives them, checked one by one: strings, numbers, one number a clip, sequences.

`where` opens every message: the file and the split. Legend: N clips, T steps, D features.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from trivium.data.clips import Array


def strings(where: str, key: str, value: Any) -> list[str]:
    """Raises ValueError unless every entry is text (bytes are taken as UTF-8)."""
    items = value.tolist() if isinstance(value, np.ndarray) else value
    if not isinstance(items, list | tuple):
        raise ValueError(f"{where}: key {key!r} must hold strings, one a clip; found {type(value).__name__}")
    items = [item.decode() if isinstance(item, bytes) else item for item in items]
    others = [n for n, item in enumerate(items) if not isinstance(item, str)]
    if others:
        raise ValueError(
            f"{where}: key {key!r} must hold strings, one a clip; found {type(items[others[0]]).__name__} at place "
            f"{others[0]} ({len(others)} such): make them str"
        )
    return [str(item) for item in items]


def numbers(where: str, key: str, value: Any) -> Array:
    """Any shape. Raises ValueError for text, objects, or rows of unequal shape."""
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise ValueError(f"{where}: key {key!r} has rows of unequal shape ({error}); pad them, or fix them") from error
    if array.dtype.kind not in "fiub":
        raise ValueError(f"{where}: key {key!r} must hold numbers; found type {array.dtype}")
    return array


def per_clip(where: str, key: str, value: Any, count: int) -> Array:
    """(N,) numbers; (N, 1) is taken as well. Raises ValueError for another shape, or if N is not `count`."""
    array = numbers(where, key, value)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1:
        raise ValueError(f"{where}: key {key!r} must be of shape (N,), one number a clip; found {array.shape}")
    same_count(where, key, len(array), count)
    return array


def same_count(where: str, key: str, found: int, expected: int) -> None:
    if found != expected:
        raise ValueError(
            f"{where}: key {key!r} has {found} entries, but there are {expected} ids; every key needs one a clip"
        )


def scores(where: str, key: str, value: Any, ids: list[str]) -> Array:
    """(N,) float32. Raises ValueError, naming the clip, for a score that is not finite."""
    found = per_clip(where, key, value, len(ids)).astype(np.float32)
    bad = np.flatnonzero(~np.isfinite(found))
    if len(bad):
        n = int(bad[0])
        raise ValueError(f"{where}: key {key!r} of clip {ids[n]!r} is {found[n]}; every clip needs a number")
    return found


def single_scores(where: str, key: str, value: Any, ids: list[str]) -> Array:
    """(N,) float32 from (N,), (N, 1) or (N, 1, 1). Raises ValueError for another shape, and as `scores` does."""
    found = numbers(where, key, value)
    if found.ndim not in (1, 2, 3) or found.shape[1:] != (1,) * (found.ndim - 1):
        raise ValueError(
            f"{where}: key {key!r} must be of shape (N, 1, 1), (N, 1) or (N,), one number a clip; found {found.shape}"
        )
    return scores(where, key, found.reshape(-1), ids)


def lengths(where: str, key: str, value: Any, most: Array) -> Array:
    """(N,) int64. most: (N,) steps that the clips have. Raises ValueError unless each is whole and in 0..most."""
    found = per_clip(where, key, value, len(most))
    bad = np.flatnonzero((found < 0) | (found > most) | (found != np.floor(found)))
    if len(bad):
        n = int(bad[0])
        raise ValueError(
            f"{where}: key {key!r}: clip {n} has length {found[n]}, but there are {most[n]} steps; lengths are whole "
            "numbers from 0 to that"
        )
    return found.astype(np.int64)


def sequences(where: str, key: str, value: Any) -> tuple[Array, Array]:
    """(N, T, D) and the clips' steps (N,): T, or each one's own in a list of clips of unequal T (padded here)."""
    own = None
    if isinstance(value, list | tuple):
        rows = [numbers(where, key, row) for row in value]
        own = np.array([len(row) if row.ndim else 0 for row in rows], dtype=np.int64)
        value = _pad(where, key, rows, own) if all(row.ndim == 2 for row in rows) else rows
    array = numbers(where, key, value)
    if array.ndim != 3 or 0 in array.shape[1:]:
        hint = ": one vector a clip needs a step axis of length 1" if array.ndim == 2 else ""
        raise ValueError(
            f"{where}: key {key!r} must be of shape (N, T, D), clips, steps and features; found {array.shape}{hint}"
        )
    return array, np.full(len(array), array.shape[1], dtype=np.int64) if own is None else own


def _pad(where: str, key: str, rows: list[Array], steps: Array) -> Array:
    dims = {row.shape[1] for row in rows if len(row)}
    if len(dims) > 1:
        raise ValueError(f"{where}: key {key!r} has clips of {sorted(dims)} features; all need the same number")
    kind = np.result_type(*{row.dtype for row in rows}) if rows else np.float32
    padded = np.zeros((len(rows), int(steps.max(initial=0)), dims.pop() if dims else 0), kind)
    for row, target in zip(rows, padded, strict=True):
        if len(row):
            target[: len(row)] = row
    return padded
