"""Files with the keys, shapes and dtypes of MMSA's feature files, of few clips and random content."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np

COUNTS = {"train": 12, "valid": 5, "test": 6}
# Steps and features of text, audio and vision, and the largest label.
SHAPES: dict[str, dict[str, tuple[int, int]]] = {
    "mosi/unaligned_50": {"text": (50, 768), "audio": (375, 5), "vision": (500, 20)},
    "mosi/aligned_50": {"text": (50, 768), "audio": (50, 5), "vision": (50, 20)},
    "mosei/unaligned_50": {"text": (50, 768), "audio": (500, 74), "vision": (500, 35)},
    "mosei/aligned_50": {"text": (50, 768), "audio": (50, 74), "vision": (50, 35)},
    "sims/unaligned_39": {"text": (39, 768), "audio": (400, 33), "vision": (55, 709)},
}


def write_mmsa_file(folder: Path, name: str, most: int = 6) -> Path:
    """Writes FOLDER/DATA_FILE.pkl. most: real steps of a clip; the rest is padding, as in most of MMSA's clips."""
    data, shapes = name.partition("/")[0], SHAPES[name]
    rng, content = np.random.default_rng(sum(map(ord, name))), {}
    for split, count in COUNTS.items():
        lengths = rng.integers(3, most + 1, count)
        part: dict[str, Any] = {
            "id": [f"{split}$_${n}" for n in range(count)],
            "raw_text": np.array([f"CLIP {n}" for n in range(count)]),
        }
        for key in ("", *(("_T", "_A", "_V") if data == "sims" else ())):
            top = 1.0 if data == "sims" else 3.0
            part[f"regression_labels{key}"] = np.round(rng.uniform(-top, top, count), 1).astype(np.float32)
        sign = np.sign(part["regression_labels"]) + 1
        part["annotations"] = np.array(["Negative", "Neutral", "Positive"])[sign.astype(int)]
        part["classification_labels"] = sign.astype(np.float64)
        for modality, (steps, size) in shapes.items():
            values = rng.normal(size=(count, steps, size)).astype(np.float32 if modality == "text" else np.float64)
            values[np.arange(steps) >= lengths[:, None]] = 0.0
            part[modality] = values
            if modality != "text" and "unaligned" in name:
                part[f"{modality}_lengths"] = [int(length) for length in lengths]
        steps = shapes["text"][0]
        mask = (np.arange(steps) < lengths[:, None]).astype(np.float32)
        ids = np.where(mask > 0, rng.integers(1000, 2000, (count, steps)), 0).astype(np.float32)
        ids[:, 0] = 101
        ids[np.arange(count), lengths - 1] = 102
        part["text_bert"] = np.stack([ids, mask, np.zeros_like(ids)], axis=1)
        content[split] = part
    file = folder / f"{name.replace('/', '_')}.pkl"
    file.write_bytes(pickle.dumps(content, protocol=4))
    return file
