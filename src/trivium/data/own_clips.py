"""Makes clips of a user's own arrays, given by modality or as a pandas frame, for a trained model to read.

Legend: N clips, T steps of one clip, D features.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from trivium.core.choices import suggest
from trivium.data.clips import Array, Clips, Ragged
from trivium.data.target import MULTIMODAL, Target

TARGET = "target"
ID = "id"


def columns_of(
    frame: Any, modalities: Sequence[str], ids: Any = None, targets: Any = None
) -> tuple[dict[str, Any], Any, Any]:
    """Returns modality -> cells, ids and targets of a pandas frame that has a column a modality.

    ids, targets: a column's name, or values of one's own. If None, the columns "id" and "target" where there are such;
    without "id" the frame's index. Other columns are left alone, unless their cells are arrays: then the name is
    taken for that of a modality, and the caller refuses it.
    """
    if ids is None:
        ids = frame.get(ID, frame.index)
    if targets is None and TARGET in frame:
        targets = TARGET
    ids, targets = (_column(frame, key, value) for key, value in (("ids", ids), ("targets", targets)))
    holds_arrays = [name for name in frame if any(_is_array(cell) for cell in frame[name])]
    read = [name for name in frame if name in modalities or name in holds_arrays]
    return {name: list(frame[name]) for name in read}, list(ids), targets


def clips_of(
    sequences: Mapping[str, Sequence[Any]],
    reads: Mapping[str, str],
    dims: Mapping[str, int],
    *,
    ids: Sequence[Any] | None = None,
    targets: Any = None,
    target: Target | None = None,
) -> Clips:
    """Returns clips of modality -> one array a clip: (T, D) features, or (T,) token ids where `reads` says "tokens".

    None, NaN and an array without steps say that a clip lacks the modality; one that `sequences` has not, that all do.
    reads, dims: of the trained model. ids: 0, 1, ... if None. targets: one value a clip as
    `target` describes it (a score if None), classes by name or number; or None without labels.
    Raises ValueError for an unknown modality, another D, lengths that differ, values that are not finite, and a
    target that `target` cannot have.
    """
    modalities = list(reads)
    for name in sequences:
        if name not in modalities:
            raise ValueError(
                f"{name!r} is no modality of this run; it was trained on {', '.join(modalities)}"
                f"{suggest(str(name), modalities)}"
            )
    counts = {name: len(cells) for name, cells in sequences.items()}
    counts |= {key: len(values) for key, values in (("ids", ids), ("targets", targets)) if values is not None}
    if not sequences or len(set(counts.values())) != 1 or not max(counts.values()):
        counted = ", ".join(f"{name} {count}" for name, count in counts.items()) or "nothing"
        raise ValueError(
            f"clips: {counted}; expected at least one modality, and as many arrays of each as there are clips (None "
            "where a clip lacks it)"
        )
    names: list[Any] = list(range(counts[next(iter(sequences))])) if ids is None else list(ids)
    ragged = {
        name: Ragged.pack(
            [_sequence(cell, name, clip, what, dims.get(name, 0)) for clip, cell in zip(names, cells, strict=True)]
        )
        for name, what in reads.items()
        for cells in [sequences.get(name, [None] * len(names))]
    }
    tokens = next((ragged[name] for name, what in reads.items() if what == "tokens"), None)
    streams = {name: part for name, part in ragged.items() if reads[name] == "values"}
    values = {} if targets is None else {MULTIMODAL: target_values(targets, names, target or Target())}
    return Clips(names, streams, values, tokens=tokens)


def _sequence(cell: Any, modality: str, clip: Any, what: str, dim: int) -> Array:
    """Returns (T, D) float32 or (T,) int32; of no steps where the clip lacks the modality."""
    dtype: Any = np.int32 if what == "tokens" else np.float32
    absent = np.zeros((0,) if what == "tokens" else (0, dim), dtype)
    if cell is None or (isinstance(cell, float) and np.isnan(cell)):
        return absent
    values = _array(cell)
    if what != "tokens" and values.shape == (dim,):
        values = values[None]  # one step
    if values.size == 0 and values.ndim == 1:
        return absent
    if what == "tokens":
        if values.ndim != 1 or values.dtype.kind not in "iu" or values.min(initial=0) < 0:
            raise ValueError(_refused(modality, clip, "token ids, (T,) whole numbers from 0", values))
        return values.astype(dtype)
    if values.ndim != 2 or values.shape[1] != dim or values.dtype.kind not in "fiub":
        raise ValueError(_refused(modality, clip, f"an array (T, {dim})", values))
    with np.errstate(over="ignore"):  # what float32 cannot hold is infinite there
        values = values.astype(dtype)
    if not np.isfinite(values).all():
        raise ValueError(f"{modality!r} of clip {clip!r} has a value that is not finite; preparing a store makes it 0")
    return values


def _refused(modality: str, clip: Any, expected: str, values: Array) -> str:
    return f"{modality!r} of clip {clip!r}: expected {expected}, found {values.dtype} of shape {values.shape}"


def target_values(targets: Any, names: Sequence[Any], target: Target) -> Array:
    """Returns the targets of a user's clips as float32, (N,) or (N, K), classes given by name as their numbers.

    Raises ValueError, naming the clip, for a value that the target cannot have.
    """
    values = _array(targets)
    if target.kind == "classes" and values.dtype.kind in "OUS":
        numbers = {name: number for number, name in enumerate(target.names)}
        unknown = [(clip, str(v)) for clip, v in zip(names, values, strict=False) if str(v) not in numbers]
        if unknown:
            clip, name = unknown[0]
            raise ValueError(
                f"targets: that of clip {clip!r} is {name!r}; expected one of {', '.join(target.names)}"
                f"{suggest(name, target.names)}"
            )
        values = np.array([numbers[str(value)] for value in values])
    target.check(values, names, "targets")
    return values.astype(np.float32)


def _column(frame: Any, key: str, value: Any) -> Any:
    """Returns the column that `value` names, or the value itself."""
    if not isinstance(value, str):
        return value
    if value not in frame:
        raise ValueError(f"{key}={value!r}: no such column; the frame has {', '.join(map(str, frame))}")
    return list(frame[value])


def _is_array(cell: Any) -> bool:
    return hasattr(cell, "shape") and len(cell.shape) > 0


def _array(values: Any) -> Array:
    # A tensor may want a gradient or lie on a GPU; torch is not imported.
    return np.asarray(values.detach().cpu() if hasattr(values, "detach") else values)
