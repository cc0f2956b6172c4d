"""publish=DIR: a table's numbers and figures as files that may be committed: no clips, features or paths of here."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from trivium.files import atomic_file, csv_text, write_text
from trivium.reports.album import Album
from trivium.reports.records import read_record
from trivium.reports.run_figures import draw_curves
from trivium.tables.collect import Measured
from trivium.tables.files import table_texts
from trivium.tables.markdown import Pictures
from trivium.tables.parts import Part
from trivium.tables.work import Failure

# An absolute path: not a URL's, a fraction's or the second half of a relative one.
_PATH = re.compile(r"(?<![\w./:~}])/(?:[\w.+@%-]+/)+([\w.+@%-]*)")


def publish(folder: Path, table: Path, parts: Sequence[Part], failures: Sequence[Failure], drawn: Pictures) -> None:
    """README.md (table.md with the figures and learning curves), table.csv, values.csv, table.tex and the figures.

    table: the folder that has `drawn`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    pictures = {}
    for part in parts:
        if not part.empty:
            figures = drawn[part.measured.table.data]
            for stem in [Path(file).stem for file, _ in figures]:
                _copy([table / f"{stem}.png", table / f"{stem}.pdf"], folder)
            pictures[part.measured.table.data] = [*figures, _curves(folder, part.measured)]
    texts = table_texts(folder, parts, failures, pictures)
    texts["values.csv"] = _named(texts["values.csv"])
    for name, text in texts.items():
        write_text(folder / {"table.md": "README.md"}.get(name, name), without_paths(text))


def _copy(files: Sequence[Path], folder: Path) -> None:
    for file in files:
        with atomic_file(folder / file.name) as copy:
            copy.write(file.read_bytes())


def _curves(folder: Path, measured: Measured) -> tuple[str, str]:
    """curves.png and .pdf, of one data set of several curves_DATA; the former's name and what it shows."""
    name = "_".join(["curves", *filter(None, measured.table.data.split("/"))])
    records = {row: [read_record(path) for path in places.values()] for row, places in measured.places.items()}
    groups = {row: [replace(record, label=row) for record in found] for row, found in records.items() if found}
    return f"{name}.png", draw_curves(Album(folder), groups, name).caption


def without_paths(text: str) -> str:
    """.../NAME for every absolute path: folders of one machine tell its user's name and nobody anything."""
    for root in (Path.cwd(), Path.home()):  # whose names may have blanks
        text = text.replace(f"{root}/", ".../") if len(root.parts) > 1 else text
    return _PATH.sub(r".../\1", text)


def _named(values: str) -> str:
    """values.csv with the runs' names in the place of where they lie."""
    rows = list(csv.DictReader(io.StringIO(values)))
    if not rows:
        return values
    return csv_text(list(rows[0]), ({**row, "run": Path(row["run"]).name} for row in rows))
