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

# A figure of a column's width then has 680 pixels.
_DPI = 200


class PngAlbum(Album):
    """Keeps figures as PNG."""

    def keep(self, figure: Figure, name: str, caption: str) -> Picture:
        with io.BytesIO() as file:
            figure.savefig(file, format="png", dpi=_DPI)
            return Picture(name, caption, "image/png", file.getvalue())


def draw_figures(path: Path) -> list[Picture]:
    """Draws a finished run as PNGs: curves, loss terms, generated labels, predictions and the confusion of classes.

    Figures for which the run has no data are left out: a single loss term, labels that nobody generated, a protocol
    without classes. Predictions and confusion are of the test split, or of the validation split where a store has no
    test split.
    """
    (record,) = labelled([read_record(path)])
    album = PngAlbum()
    pictures = [
        draw_curves(album, {record.label: [record]}, "curves"),
        draw_terms(album, [record], "terms"),
        draw_shifts(album, [record], "labels"),
    ]
    return [picture for picture in pictures if picture is not None] + draw_predictions(album, record)


def pixels(picture: Picture) -> npt.NDArray[np.uint8]:
    """Reads a PNG as (height, width, 3)."""
    fractions: npt.NDArray[np.float32] = imread(io.BytesIO(picture.content))[..., :3]
    values: npt.NDArray[np.uint8] = np.rint(255 * fractions).astype(np.uint8)
    return values
