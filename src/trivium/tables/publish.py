"""Publishes a table (publish=DIR) as files that may be committed: no clips, features or paths of this machine."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from trivium.core.files import atomic_file, write_text
from trivium.report.album import Album
from trivium.report.run_figures import draw_curves
from trivium.results.frame import REPEAT
from trivium.results.records import read_record
from trivium.results.sections import file_stem
from trivium.tables.collect import Measured
from trivium.tables.markdown import Pictures
from trivium.tables.work import Failure
from trivium.tables.write_files import table_texts

LEAD = (
    "This page is for whoever compares with these numbers: rows, intervals and tests, and how each was made. "
    "`table.csv` and `values.csv` beside it have all of them, `table.tex` is for a paper."
)
# An absolute path: not a URL's, a fraction's or the second half of a relative one.
_PATH = re.compile(r"(?<![\w./:~}])/(?:[\w.+@%-]+/)+([\w.+@%-]*)")


def publish(folder: Path, table: Path, parts: Sequence[Measured], failures: Sequence[Failure], drawn: Pictures) -> None:
    """Writes README.md (table.md with figures and learning curves), table.csv, values.csv, table.tex and the figures.

    table: the folder that has the figures `drawn`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    pictures = {}
    for part in parts:
        if not part.empty:
            figures = drawn[part.table.section]
            for stem in [Path(file).stem for file, _ in figures]:
                for file in (f"{stem}.png", f"{stem}.pdf"):
                    with atomic_file(folder / file) as copy:
                        copy.write((table / file).read_bytes())
            pictures[part.table.section] = [*figures, _curves(folder, part)]
    texts = table_texts(None, parts, failures, pictures)
    title, rest = texts.pop("table.md").split("\n", 1)
    for name, text in {"README.md": f"{title}\n\n{LEAD}\n{rest}", **texts}.items():
        write_text(folder / name, without_paths(text))


def _curves(folder: Path, measured: Measured) -> tuple[str, str]:
    """Draws curves.png and .pdf (curves_DATA of several data sets); returns the former's name and what it shows."""
    name = file_stem("curves", measured.table.section)
    runs = measured.frame.drop_duplicates(["label", *REPEAT])
    groups = {
        label: [replace(read_record(Path(path)), label=label) for path in of_label["path"]]
        for label, of_label in runs.groupby("label", sort=False)
    }
    return f"{name}.png", draw_curves(Album(folder), groups, name).caption


def without_paths(text: str) -> str:
    """Returns the text with .../NAME for every absolute path, which tells a user's name and helps nobody."""
    # Their names may have blanks, which the expression does not know.
    for root in (Path.cwd(), Path.home()):
        text = text.replace(f"{root}/", ".../") if len(root.parts) > 1 else text
    return _PATH.sub(r".../\1", text)
