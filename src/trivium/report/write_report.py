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
    """Writes the page to `file` and returns it; a bar on stderr, on a terminal only.

    Raises ValueError as trivium.results.folders.gather does.
    """
    from rich.console import Console
    from rich.progress import Progress

    from trivium.core.files import write_text
    from trivium.report.album import Album
    from trivium.report.page.build_page import build_page
    from trivium.report.page.pictures import draw_pictures
    from trivium.results.folders import gather

    sources = gather(folders)
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        bar = progress.add_task("report", total=len(sources.records) + 1)

        def step(name: str) -> None:
            progress.update(bar, advance=1, description=name)

        pictures = draw_pictures(sources, Album(figures), maps, step)
    for line in [*sources.left_out, *pictures.notes]:
        print("note:", line, file=sys.stderr)
    write_text(file, build_page(sources, pictures, command=command, transcripts=transcripts))
    return file
