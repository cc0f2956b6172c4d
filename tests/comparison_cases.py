"""Frames of drawn scores, in the columns that trivium.compare needs."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

SEEDS = range(1, 6)
MEANS = {"A": 1.00, "B": 1.02, "C": 1.30, "D": 1.60}

Values = Mapping[str, Mapping[str, Mapping[int, float]]]  # measure -> row -> seed -> value


def drawn(means: Mapping[str, float], seed: int = 0) -> dict[str, dict[int, float]]:
    rng = np.random.default_rng(seed)
    return {row: dict(zip(SEEDS, mean + rng.normal(0, 0.05, len(SEEDS)), strict=True)) for row, mean in means.items()}


def made() -> dict[str, dict[str, dict[int, float]]]:
    """Rows A to D, the lowest MAE first; their other measures differ by chance alone."""
    flat = dict.fromkeys(MEANS, 0.5)
    return {"MAE": drawn(MEANS), "Corr": drawn(flat, 1), "Acc-2 Non0 T": drawn(flat, 2)}


def frame_of(values: Values) -> pd.DataFrame:
    lines = [
        (row, measure, seed, value)
        for measure, rows in values.items()
        for row, seeds in rows.items()
        for seed, value in seeds.items()
    ]
    return pd.DataFrame(lines, columns=["label", "metric", "seed", "value"])
