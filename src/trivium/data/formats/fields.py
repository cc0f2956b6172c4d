"""Checks the fields of one split as they stand in a file: strings, numbers, one number a clip, sequences.

`where` names the file and the split at the start of every message. Legend: N clips, T steps, D features.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from trivium.core.choices import suggest
from trivium.data.clips import Array


def leave_out(where: str, parts: Mapping[str, Any], drop: Sequence[str]) -> None:
    """Removes the keys to drop from the splits that are dicts.

    Raises ValueError, naming the nearest, for one that no split has.
    """
    splits = [part for part in parts.values() if isinstance(part, dict)]
    keys = list(dict.fromkeys(str(key) for part in splits for key in part))
    for name in drop:
        if name not in keys:
            raise ValueError(f"{where}: drop={name}: no such key{suggest(name, keys)}; it has {', '.join(keys)}")
        for part in splits:
            part.pop(name, None)


def strings(where: str, key: str, value: Any) -> list[str]:
    """Returns a list of text. Raises ValueError unless every entry is text, or bytes of UTF-8."""
    items = value.tolist() if isinstance(value, np.ndarray) else value
    if not isinstance(items, list | tuple):
        raise ValueError(f"{where}: key {key!r} must hold strings, one a clip; found {type(value).__name__}")
    items = [_decoded(item) for item in items]
    wrong_places = [n for n, item in enumerate(items) if not isinstance(item, str)]
    if wrong_places:
        raise ValueError(
            f"{where}: key {key!r} must hold strings, one a clip; found {type(items[wrong_places[0]]).__name__} at "
            f"place {wrong_places[0]} ({len(wrong_places)} such): make them str"
        )
    return [str(item) for item in items]


def _decoded(item: Any) -> Any:
    """Returns bytes of UTF-8 as text, and anything else as it is."""
    try:
        return item.decode() if isinstance(item, bytes) else item
    except UnicodeDecodeError:
        return item


def numbers(where: str, key: str, value: Any) -> Array:
    """Returns an array of numbers, of any shape. Raises ValueError for text, objects, or rows of unequal shape."""
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise ValueError(f"{where}: key {key!r} has rows of unequal shape ({error}); pad them, or fix them") from error
    if array.dtype.kind not in "fiub":
        raise ValueError(f"{where}: key {key!r} must hold numbers; found type {array.dtype}")
    return array


def per_clip(where: str, key: str, value: Any, count: int) -> Array:
    """Returns (N,) numbers from (N,) or (N, 1). Raises ValueError for another shape, or if N is not `count`."""
    array = numbers(where, key, value)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1:
        raise ValueError(f"{where}: key {key!r} must be of shape (N,), one number a clip; found {array.shape}")
    same_count(where, key, len(array), count)
    return array


def same_count(where: str, key: str, count: int, expected: int) -> None:
    """Raises ValueError unless a key has as many entries as the split has ids."""
    if count != expected:
        raise ValueError(
            f"{where}: key {key!r} has {count} entries, but there are {expected} ids; every key needs one a clip"
        )


def scores(where: str, key: str, value: Any, ids: list[str]) -> Array:
    """Returns (N,) float32. Raises ValueError, naming the clip, for a score that is not finite."""
    array = per_clip(where, key, value, len(ids)).astype(np.float32)
    bad = np.flatnonzero(~np.isfinite(array))
    if len(bad):
        n = int(bad[0])
        raise ValueError(f"{where}: key {key!r} of clip {ids[n]!r} is {array[n]}; every clip needs a number")
    return array


def single_scores(where: str, key: str, value: Any, ids: list[str]) -> Array:
    """Returns (N,) float32 from (N,), (N, 1) or (N, 1, 1). Raises ValueError for other shapes, and as `scores`."""
    array = numbers(where, key, value)
    if array.ndim not in (1, 2, 3) or array.shape[1:] != (1,) * (array.ndim - 1):
        raise ValueError(
            f"{where}: key {key!r} must be of shape (N, 1, 1), (N, 1) or (N,), one number a clip; found {array.shape}"
        )
    return scores(where, key, array.reshape(-1), ids)


def lengths(where: str, key: str, value: Any, steps: Array) -> Array:
    """Returns (N,) int64. Raises ValueError unless each length is a whole number from 0 to the clip's `steps`, (N,)."""
    array = per_clip(where, key, value, len(steps))
    bad = np.flatnonzero((array < 0) | (array > steps) | (array != np.floor(array)))
    if len(bad):
        n = int(bad[0])
        raise ValueError(
            f"{where}: key {key!r}: clip {n} has length {array[n]}, but there are {steps[n]} steps; lengths are whole "
            "numbers from 0 to that"
        )
    return array.astype(np.int64)


def sequences(where: str, key: str, value: Any) -> tuple[Array, Array]:
    """Returns (N, T, D), and each clip's number of steps (N,).

    That number is T, but for a list of clips of unequal length, which are padded at the back.
    """
    steps = None
    if isinstance(value, np.ndarray) and value.dtype.hasobject and value.ndim == 1:
        value = value.tolist()
    if isinstance(value, list | tuple):
        clips = _with_steps(where, key, [numbers(where, key, clip) for clip in value])
        steps = np.array([len(clip) if clip.ndim else 0 for clip in clips], dtype=np.int64)
        value = _pad(where, key, clips, steps) if all(clip.ndim == 2 for clip in clips) else clips
    array = numbers(where, key, value)
    if array.ndim != 3 or 0 in array.shape[1:]:
        hint = ": one vector a clip needs a step axis of length 1" if array.ndim == 2 else ""
        raise ValueError(
            f"{where}: key {key!r} must be of shape (N, T, D), clips, steps and features; found {array.shape}{hint}"
        )
    return array, np.full(len(array), array.shape[1], dtype=np.int64) if steps is None else steps


def _with_steps(where: str, key: str, clips: list[Array]) -> list[Array]:
    """Returns the clips, with an array of shape (0, D) in the place of an empty one of any shape.

    Raises ValueError, naming the place, for a clip of another rank than the others have.
    """
    filled = [clip for clip in clips if clip.size]
    if not filled or any(clip.ndim != 2 for clip in filled):
        ranks = {clip.ndim for clip in filled}
        odd = [n for n, clip in enumerate(clips) if clip.size and clip.ndim != 2]
        if len(ranks) > 1:
            raise ValueError(
                f"{where}: key {key!r}: the clip at place {odd[0]} is of shape {clips[odd[0]].shape}; expected (T, D), "
                "steps and features, as of the other clips"
            )
        return clips
    empty = np.zeros((0, filled[0].shape[1]), filled[0].dtype)
    return [clip if clip.size else empty for clip in clips]


def _pad(where: str, key: str, clips: list[Array], steps: Array) -> Array:
    dims = {clip.shape[1] for clip in clips if len(clip)}
    if len(dims) > 1:
        raise ValueError(f"{where}: key {key!r} has clips of {sorted(dims)} features; all need the same number")
    dtype = np.result_type(*{clip.dtype for clip in clips}) if clips else np.float32
    padded = np.zeros((len(clips), int(steps.max(initial=0)), dims.pop() if dims else 0), dtype)
    for clip, target in zip(clips, padded, strict=True):
        if len(clip):
            target[: len(clip)] = clip
    return padded
