"""Collects figures for a page, and writes them as files beside it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from matplotlib.figure import Figure

from trivium.report.figure_style import COLUMN_INCHES, figure_svg, save_figure


@dataclass(frozen=True)
class Picture:
    """Holds an image and its caption. kind: its MIME type."""

    name: str
    caption: str
    kind: str
    content: bytes = field(repr=False)

    @property
    def wide(self) -> bool:
        """Tells whether it was drawn for two columns of a paper: a PNG wider than one and a half of them at 300 dpi."""
        return self.kind == "image/png" and int.from_bytes(self.content[16:20], "big") > 1.5 * 300 * COLUMN_INCHES


@dataclass
class Album:
    """Keeps figures as SVG; with a folder, also as NAME.pdf and NAME.png in it."""

    folder: Path | None = None

    def keep(self, figure: Figure, name: str, caption: str) -> Picture:
        """Returns the figure as SVG, and writes its files. Call it inside open_figure. name: of the files."""
        name = re.sub(r"[^\w.-]+", "_", name).strip("_")
        # the SVG first: each drawing settles the layout
        picture = Picture(name, caption, "image/svg+xml", compact(figure_svg(figure).decode()).encode())
        if self.folder is not None:
            self.folder.mkdir(parents=True, exist_ok=True)
            save_figure(figure, self.folder / name)
        return picture

    def read(self, file: Path, caption: str) -> Picture:
        """Returns a PNG that is there already."""
        return Picture(file.stem, caption, "image/png", file.read_bytes())


def compact(svg: str) -> str:
    """Returns the same image in fewer bytes: hundredths of a point, each style once, no metadata, no blanks."""
    svg = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", svg, flags=re.DOTALL)
    svg = re.sub(r">\s+<", "><", svg)
    svg = re.sub(r' (?:x|y|x1|y1|x2|y2|d|points|width|height)="[^"]*"', _rounded, svg)
    styles = {text: f"s{number}" for number, text in enumerate(dict.fromkeys(re.findall(r'(?<= style=")[^"]*', svg)))}
    rules = "".join(f".{name}{{{text}}}" for text, name in styles.items())
    svg = re.sub(r' style="([^"]*)"', lambda match: f' class="{styles[match[1]]}"', svg)
    return svg.replace("</style>", f"{rules}</style>", 1)


def _rounded(attribute: re.Match[str]) -> str:
    return re.sub(r"(\.\d\d)\d+", r"\1", attribute[0])
