"""A run's own figures as images: those of the report page, by the same drawing code.

Without the map of joint vectors, for which a model has to be loaded again.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from matplotlib.image import imread

from trivium.metric_names import CLASSES
from trivium.reports.album import Album, Picture
from trivium.reports.prediction_figures import draw_confusion, draw_scatter
from trivium.reports.run_figures import draw_curves, draw_shifts, draw_terms
from trivium.results.records import labelled, read_record

_DPI = 200  # 680 pixels of a column's width


class PngAlbum(Album):
    """Keeps figures as PNG."""

    def keep(self, figure: Figure, name: str, caption: str) -> Picture:
        with io.BytesIO() as file:
            figure.savefig(file, format="png", dpi=_DPI)
            return Picture(name, caption, "image/png", file.getvalue())


def draw_figures(path: Path) -> list[Picture]:
    """PNGs of a finished run: curves, terms (of several), labels (if generated), predictions, confusion (of classes).

    The last two are of the test split, or of the validation split where a store has no other.
    """
    (record,) = labelled([read_record(path)])
    split = "test" if "test" in record.predictions else next(iter(record.predictions))
    of, found = f"{record.label}, seed {record.seed}, {split} split", record.predictions[split]
    album = PngAlbum()
    drawn = [
        draw_curves(album, {record.label: [record]}, "curves"),
        draw_terms(album, [record], "terms"),
        draw_shifts(album, [record], "labels"),
        draw_scatter(album, found, "predictions", f"Predicted against true score: {of}."),
        draw_confusion(album, found, record.protocol, "confusion", of) if record.protocol in CLASSES else None,
    ]
    return [picture for picture in drawn if picture is not None]


def pixels(picture: Picture) -> npt.NDArray[np.uint8]:
    """(height, width, 3) of a PNG."""
    shares: npt.NDArray[np.float32] = imread(io.BytesIO(picture.content))[..., :3]
    found: npt.NDArray[np.uint8] = np.rint(255 * shares).astype(np.uint8)
    return found
