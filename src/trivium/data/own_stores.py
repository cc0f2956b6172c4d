"""Makes a store of a user's own arrays. `own_columns` does so of a frame or a Hugging Face data set.

Legend: N clips, T steps, D features, K values of a target.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from trivium.core.choices import check_choice
from trivium.data.clips import Array, Clips, Ragged, Source
from trivium.data.repair import no_repairs, repair
from trivium.data.split_check import split_checked
from trivium.data.splitting import SplitColumns, SplitOptions
from trivium.data.store_place import check_place, feature_name, write_new
from trivium.data.target import KINDS, Target
from trivium.data.target_columns import Declared, ReadTarget, read_target

_REMEDY = "by kinds={'NAME': 'score'}, or 'classes', or 'labels'"


def from_arrays(
    modalities: Mapping[str, Sequence[Any] | Array],
    targets: Mapping[str, Any],
    *,
    name: str,
    split: Sequence[str] | SplitOptions | None = None,
    fold: Sequence[Any] | None = None,
    group: Sequence[Any] | None = None,
    ids: Sequence[Any] | None = None,
    transcripts: Sequence[str] | None = None,
    kinds: Mapping[str, str | Target] | None = None,
    features: str = "arrays",
    folder: str | os.PathLike[str] = "data",
    force: bool = False,
) -> Path:
    """Writes the store FOLDER/NAME/FEATURES.h5 of arrays, and returns its path.

    `trivium train data=custom data.name=NAME` reads it.
    modalities: name -> one entry a clip, (T, D) or (D,) for one step, or None where the clip lacks the modality.
    targets: name -> (N,) scores, or class names as texts, or (N, K) values that `kinds` describes.
    split: "train", "valid" or "test" for each clip, or how they are drawn. fold, group: of each clip, see
    trivium.data.splitting. ids: 0, 1, ... by default. kinds: name -> "score", "classes" or "labels", or a Target, which
    has names and a range too; whole numbers, and several values a clip, need it.
    -inf, +inf and NaN of features become 0. Raises ValueError, naming target, modality and clip, for what a store
    cannot hold, and for a store that exists (without `force`). Nothing is left of it then.

    >>> import numpy as np, tempfile
    >>> from trivium.data import from_arrays, open_store
    >>> rng = np.random.default_rng(0)
    >>> path = from_arrays(
    ...     {"speech": [rng.normal(size=(5, 8)) for _ in range(6)], "wrist": rng.normal(size=(6, 3))},
    ...     {"emotion": ["calm", "happy"] * 3, "valence": rng.normal(size=6)},
    ...     split=["train", "train", "valid", "valid", "test", "test"],
    ...     name="gestures",
    ...     folder=tempfile.mkdtemp(),
    ... )
    >>> store = open_store(path)
    >>> store.schema.dims, store.schema.targets["emotion"].names
    ({'speech': 8, 'wrist': 3}, ('calm', 'happy'))
    """
    where = f"{feature_name(name)}/{feature_name(features)}"
    path = Path(folder) / name / f"{features}.h5"
    check_place(path, force)
    options = split if isinstance(split, SplitOptions) else SplitOptions()
    if options.group and group is None:
        raise ValueError(
            f"{where}: SplitOptions(group={options.group!r}) names a column, and arrays have none; give group=[...]"
        )
    columns = SplitColumns(None if isinstance(split, SplitOptions) else split, fold, group)
    clip_ids = _ids(modalities, ids, where)
    parts = {**modalities, **targets, "split": columns.split, "fold": fold, "group": group, "transcripts": transcripts}
    for key, values in parts.items():
        if values is not None and len(values) != len(clip_ids):
            raise ValueError(
                f"{where}: {key!r} has {len(values)} entries for {len(clip_ids)} clips; expected one a clip"
            )
    content = Source({}, "python", [])
    described = {key: _target(key, values, (kinds or {}).get(key), clip_ids, where) for key, values in targets.items()}
    for key in kinds or {}:
        if key not in targets:
            raise ValueError(f"{where}: kinds: no target {key!r}; found {', '.join(targets)}")
    content.described = {key: read.target for key, read in described.items()}
    content.notes = {key: read.words for key, read in described.items()}
    streams = {key: _pack(key, cells, clip_ids, content, where) for key, cells in modalities.items()}
    texts = None if transcripts is None else [str(text) for text in transcripts]
    content.splits["train"] = Clips(clip_ids, streams, {key: read.values for key, read in described.items()}, texts)
    content = split_checked(content, columns, options)
    write_new(path, content, data=name, feature_set=where, label_range=None)
    return path


def _ids(modalities: Mapping[str, Sequence[Any] | Array], ids: Sequence[Any] | None, where: str) -> list[str]:
    if not modalities:
        raise ValueError(f"{where}: no modality; expected at least one, with an array for each clip")
    count = len(next(iter(modalities.values())))
    return [str(clip) for clip in (range(count) if ids is None else ids)]


def _target(name: str, values: Any, kind: str | Target | None, ids: list[str], where: str) -> ReadTarget:
    array = _array(values)
    if array.dtype.kind in "US":
        # Among texts NaN has become the text "nan", and is still itself here.
        array = np.array(values, dtype=object)
    if array.ndim not in (1, 2):
        raise ValueError(f"{where}: target {name!r}: expected (N,) or (N, K) values, found {array.shape}")
    if array.ndim == 2 and kind is None:
        raise ValueError(
            f"{where}: target {name!r} has {array.shape[1]} values a clip; say what they are "
            f"{_REMEDY.replace('NAME', name)}"
        )
    columns = {name: array} if array.ndim == 1 else {f"{name}[{k}]": array[:, k] for k in range(array.shape[1])}
    declared = None
    if isinstance(kind, Target):
        declared = Declared(kind.kind, tuple(columns), kind.names, range=kind.range)
    elif kind is not None:
        places = () if array.ndim == 1 else tuple(map(str, range(array.shape[1])))
        declared = Declared(check_choice(f"{where}: kinds[{name!r}]", kind, KINDS), tuple(columns), places)
    if declared is not None and array.ndim == 2 and len(declared.names) != len(columns):
        raise ValueError(
            f"{where}: target {name!r} has {len(columns)} values a clip, and its Target {len(declared.names)} names; "
            "name each value"
        )
    texts = {column: ["" if _is_missing(cell) else _text(cell) for cell in cells] for column, cells in columns.items()}
    return read_target(name, declared, texts, ids, where, _REMEDY)


def _is_missing(cell: Any) -> bool:
    """Tells whether there is no value: None, NaN, or one of pandas' (NA, NaT), which is not imported."""
    is_nan = isinstance(cell, float | np.floating) and bool(np.isnan(cell))
    return cell is None or cell is np.ma.masked or is_nan or type(cell).__name__ in ("NAType", "NaTType")


def _text(cell: Any) -> str:
    """Returns a value as text. A float that is whole keeps its point."""
    return str(cell).strip()


def _pack(name: str, cells: Any, ids: list[str], content: Source, where: str) -> Ragged:
    """Returns a modality's features, and adds what was repaired to `content`."""
    counts = no_repairs()
    sequences: list[Array | None] = []
    for clip, cell in zip(ids, cells, strict=True):
        if cell is None or (isinstance(cell, float) and np.isnan(cell)):
            sequences.append(None)
            continue
        values = _array(cell)
        if values.dtype.kind not in "fiub" or values.ndim not in (1, 2):
            raise ValueError(
                f"{where}: {name!r} of clip {clip!r}: expected numbers (T, D), or (D,) for one step; found "
                f"{values.dtype} of shape {values.shape}"
            )
        values, repaired = repair(values if values.ndim == 2 else values[None])
        counts.update(repaired)
        sequences.append(values)
    dims = {values.shape[1]: clip for clip, values in zip(ids, sequences, strict=True) if values is not None}
    if len(dims) != 1:
        sizes = ", ".join(f"{dim} (clip {clip!r})" for dim, clip in dims.items()) or "no clip with any"
        raise ValueError(f"{where}: {name!r}: expected one number of features a step for all clips; found {sizes}")
    content.repairs[name] = dict(counts)
    empty = np.zeros((0, *dims), dtype=np.float32)
    return Ragged.pack([empty if values is None else values for values in sequences])


def _array(values: Any) -> Array:
    # A tensor may want a gradient or lie on a GPU; torch is not imported.
    values = values.detach().cpu() if hasattr(values, "detach") else values
    try:
        return np.asarray(values)
    except ValueError:
        # Rows of unequal length: an array of objects, which the caller refuses.
        return np.asarray(values, dtype=object)
