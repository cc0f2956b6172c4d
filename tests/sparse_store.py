"""Writes a store of any size in no time and no space: its features are a hole in the file, which reads as zeros."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np

from trivium.data.clips import Clips, Ragged, Source
from trivium.data.store import write_store

# Modality -> steps a clip, features: MMSA's unaligned MOSEI, whose splits have these clips.
MOSEI = {"text": (50, 768), "audio": (500, 74), "vision": (500, 35)}
CLIPS = {"train": 16326, "valid": 1871, "test": 4659}


def write_sparse_store(path: Path, times: float) -> int:
    """Writes a store of `times` as many clips as MOSEI has; returns the bytes of its features."""
    # A whole store of one clip a split first, whose arrays are then replaced.
    tiny = {
        split: Clips(
            [split],
            {m: Ragged.pack([np.zeros((1, d), "f4")]) for m, (_, d) in MOSEI.items()},
            {"multimodal": np.ones(1)},
        )
        for split in CLIPS
    }
    write_store(path, Source(tiny, "mmsa", []), data="mosei", feature_set="mosei/sparse", label_range=(-3.0, 3.0))
    size, rng = 0, np.random.default_rng(0)
    with h5py.File(path, "r+") as file:
        for split, clips in CLIPS.items():
            count = max(8, int(clips * times))
            group = file[split]
            _replace(group, "ids", np.array([f"{split}{n}" for n in range(count)], object), h5py.string_dtype())
            _replace(group["targets"], "multimodal", rng.uniform(-3, 3, count).astype("f4"))
            for modality, (steps, dim) in MOSEI.items():
                stream = group["streams"][modality]
                _replace(stream, "offsets", np.arange(count + 1, dtype="i8") * steps)
                del stream["values"]
                _declare(stream, (count * steps, dim))
                size += count * steps * dim * 4
    return size


def _replace(group: h5py.Group, name: str, values: np.ndarray, dtype: object = None) -> None:  # type: ignore[type-arg]
    del group[name]
    group.create_dataset(name, data=values, dtype=dtype)


def _declare(group: h5py.Group, shape: tuple[int, int]) -> None:
    layout = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    layout.set_layout(h5py.h5d.CONTIGUOUS)
    layout.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    layout.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    space = h5py.h5s.create_simple(shape)
    h5py.h5d.create(group.id, b"values", h5py.h5t.IEEE_F32LE, space, layout)
