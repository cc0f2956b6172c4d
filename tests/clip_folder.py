"""Writes a folder of clips as feature extractors do: labels.csv, and a file for each clip and modality."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

Features = dict[str, dict[str, npt.NDArray[np.float32]]]
EMOTIONS = ("angry", "calm", "happy")
# Modality -> features a step, fewest and most steps.
SIZES = {"speech": (8, 4, 8), "wrist": (3, 5, 11)}


def write_folder(
    folder: Path, counts: dict[str, int] | None = None, *, noise: float = 1.0, score: bool = True
) -> Features:
    """Writes clips whose features lie around a centre of their class; returns modality -> id -> (T, D) float32.

    noise: the standard deviation around the centres. score: the table has a second target, valence.
    """
    rng = np.random.default_rng(0)
    centres = {modality: rng.normal(size=(len(EMOTIONS), dim)) for modality, (dim, _, _) in SIZES.items()}
    rows, features = ["id,split,emotion" + ",valence" * score], Features()
    for split, count in (counts or {"train": 6, "valid": 3, "test": 3}).items():
        for n in range(count):
            clip, number = f"{split}_{n}", n % len(EMOTIONS)
            valence = f",{rng.normal():.3f}"
            rows.append(f"{clip},{split},{EMOTIONS[number]}" + valence * score)
            for modality, (dim, fewest, most) in SIZES.items():
                around = noise * rng.normal(size=(rng.integers(fewest, most), dim))
                values = (centres[modality][number] + around).astype(np.float32)
                features.setdefault(modality, {})[clip] = values
    for modality, by_clip in features.items():
        (folder / modality).mkdir(parents=True)
        for clip, values in by_clip.items():
            np.save(folder / modality / f"{clip}.npy", values)
    (folder / "labels.csv").write_text("\n".join(rows) + "\n")
    return features
