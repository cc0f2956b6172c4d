"""Draws the README's figure, four of the seven measures of docs/results/methods: python docs/site/readme_figure.py"""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

from trivium.results.frame import as_frame, table_score
from trivium.tables.collect import Measured
from trivium.tables.definition import read_table
from trivium.tables.panels import write_panels

ROOT = Path(__file__).parents[2]
DATA, TRAIN_MEAN = "mosi/mosi-text-audio", 1.464
SHOWN = ("MAE", "Corr", "Acc-7", "Acc-2 Non0")


def draw(stem: Path) -> None:
    """Writes STEM.png and STEM.pdf from the committed values.csv."""
    with (ROOT / "docs/results/methods/values.csv").open() as file:
        lines = [line for line in csv.DictReader(file) if line["data"] == DATA]
    frame = as_frame([{**table_score(line), "feature_set": DATA, "train_mean_mae": TRAIN_MEAN} for line in lines])
    table = read_table(ROOT / "configs/table/methods.yaml")
    whole = Measured(table, frame)
    shown = Measured(replace(table, measures=tuple(m for m in table.measures if m.name in SHOWN)), frame)
    # p is corrected over all measures of the table, not over those that are shown.
    shown.__dict__["compared"] = whole.compared
    write_panels(stem, shown)


if __name__ == "__main__":
    draw(ROOT / "docs" / "figures" / "methods")
