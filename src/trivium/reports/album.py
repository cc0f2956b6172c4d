"""Figures on their way to a page, and to files beside it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from matplotlib.figure import Figure

from trivium.reports.figures import figure_svg, save_figure


@dataclass(frozen=True)
class Picture:
    """An image and what it shows. kind: its MIME type."""

    name: str
    caption: str
    kind: str
    content: bytes = field(repr=False)


@dataclass
class Album:
    """Keeps figures as SVG; with a folder, also as NAME.pdf and NAME.png in it."""

    folder: Path | None = None

    def keep(self, figure: Figure, name: str, caption: str) -> Picture:
        """To be called inside open_figure. name: made into a file's name."""
        name = re.sub(r"[^\w.-]+", "_", name).strip("_")
        picture = Picture(name, caption, "image/svg+xml", figure_svg(figure))  # first: each drawing settles the layout
        if self.folder is not None:
            self.folder.mkdir(parents=True, exist_ok=True)
            save_figure(figure, self.folder / name)
        return picture

    def read(self, file: Path, caption: str) -> Picture:
        """A PNG that is there already."""
        return Picture(file.stem, caption, "image/png", file.read_bytes())
