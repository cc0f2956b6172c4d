"""Writes the page of runs, tables and searches: one HTML file."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path


def write_report(
    folders: Sequence[Path],
    file: Path,
    *,
    figures: Path | None = None,
    maps: str = "pca",
    transcripts: bool = True,
    command: str = "",
) -> Path:
    """Writes the page to `file` and returns it; on a terminal, stderr shows what is drawn and how much is left.

    Raises ValueError as trivium.results.folders.gather does.
    """
    from rich.console import Console

    from trivium.core.files import write_text
    from trivium.report.album import Album
    from trivium.report.page.build_page import build_page
    from trivium.report.page.pictures import draw_pictures
    from trivium.results.folders import gather
    from trivium.search.reporter import Reporter

    sources = gather(folders)
    # The steps are the figures of all runs, those of each run, and the page.
    with Reporter(len(sources.records) + 2, console=Console(stderr=True)) as progress:
        pictures = draw_pictures(sources, Album(figures), maps, progress.step)
        with progress.step("page"):
            write_text(file, build_page(sources, pictures, command=command, transcripts=transcripts))
    for line in [*sources.left_out, *pictures.notes]:
        print("note:", line, file=sys.stderr)
    return file
