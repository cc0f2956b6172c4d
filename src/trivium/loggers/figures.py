"""Draws a run's figures as images, with the report page's drawing code.

The map of joint vectors is left out, as a model has to be loaded again for it.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from matplotlib.image import imread

from trivium.report.album import Album, Picture
from trivium.report.prediction_figures import draw_predictions
from trivium.report.run_figures import draw_curves, draw_shifts, draw_terms
from trivium.results.records import labelled, read_record

# A column is 680 pixels wide.
_DPI = 200


class PngAlbum(Album):
    """Keeps figures as PNG."""

    def keep(self, figure: Figure, name: str, caption: str) -> Picture:
        with io.BytesIO() as file:
            figure.savefig(file, format="png", dpi=_DPI)
            return Picture(name, caption, "image/png", file.getvalue())


def draw_figures(path: Path) -> list[Picture]:
    """Draws a finished run as PNGs: curves, terms (of several), labels (if generated), predictions, confusion.

    Confusion is for protocols with classes.
    """
    (record,) = labelled([read_record(path)])
    album = PngAlbum()
    drawn = [
        draw_curves(album, {record.label: [record]}, "curves"),
        draw_terms(album, [record], "terms"),
        draw_shifts(album, [record], "labels"),
    ]
    return [picture for picture in drawn if picture is not None] + draw_predictions(album, record)


def pixels(picture: Picture) -> npt.NDArray[np.uint8]:
    """Reads a PNG as (height, width, 3)."""
    shares: npt.NDArray[np.float32] = imread(io.BytesIO(picture.content))[..., :3]
    values: npt.NDArray[np.uint8] = np.rint(255 * shares).astype(np.uint8)
    return values
