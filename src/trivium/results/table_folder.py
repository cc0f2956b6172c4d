"""Reads a written table: table.csv, values.csv, the title of table.md and the figures, not its YAML."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from trivium.results.records import slug
from trivium.results.sections import split_section
from trivium.runs.config_hash import OF_A_TABLE
from trivium.runs.run_files import numbers_of, read_rows

# Columns of table.csv that the page reads.
_NUMBERS = ("mean", "train_mean", "published", "margin", "clips_low", "clips_high")


@dataclass(frozen=True)
class TableFolder:
    """Holds a table's files. rows: lines of table.csv. values: lines of values.csv, one a run and measure, or none.

    published: lines of published.csv, one a published result of a row and measure. figures: figure.png, or
    figure_DATA.png of each data set.
    """

    path: Path
    title: str
    rows: list[dict[str, str]] = field(repr=False)
    values: list[dict[str, str]] = field(repr=False)
    figures: list[Path]
    published: list[dict[str, str]] = field(default_factory=list, repr=False)

    @cached_property
    def labels(self) -> list[str]:
        """Returns the labels of its rows, in their order."""
        return list(dict.fromkeys(row["row"] for row in self.rows))

    @cached_property
    def data_sets(self) -> list[str]:
        """Returns the sections, which are table.csv's column data, in order; none in a table of one data set."""
        return list(dict.fromkeys(row["data"] for row in self.rows if row.get("data")))

    def place_of(self, label: str, data: str) -> tuple[int, int]:
        """Returns the sort key of a row's run on a feature set: by row, then by data set, each in the table's order."""
        row = self.labels.index(label) if label in self.labels else len(self.labels)
        names = [split_section(section)[0] for section in self.data_sets]
        fitting = [place for place, name in enumerate(names) if f"{data}/".startswith(f"{name}/")]
        return row, fitting[0] if fitting else len(names)

    @cached_property
    def baseline(self) -> str:
        """Returns the row that the others are compared with, "" without one: it has no differences where they have."""
        compared = {row["row"] for row in self.rows if row.get("difference")}
        measured = {row["row"] for row in self.rows if row.get("mean")}
        others = [label for label in self.labels if label not in compared and label in measured]
        return others[0] if compared and len(others) == 1 else ""

    @cached_property
    def runs(self) -> dict[Path, str]:
        """Returns the directory of each run that values.csv names -> its row."""
        return {path: line["row"] for line in self.values if (path := self.run_of(line)) is not None}

    @cached_property
    def _places(self) -> dict[str, Path]:
        """Returns the column run of values.csv -> directory, from the table's folder or from where it was made."""
        places = {}
        for run in {line["run"] for line in self.values if line.get("run")}:
            both = (self.path / run, Path(run))
            places[run] = next((place for place in both if (place / "config.yaml").is_file()), both[0]).resolve()
        return places

    def run_of(self, line: Mapping[str, str]) -> Path | None:
        """Returns the directory of a line of values.csv, there or not; None if the line names none."""
        return self._places.get(line.get("run") or "")

    def label_of(self, run: Path) -> str:
        """Returns the row of a run's directory, by values.csv or by the directory's name; "" if neither tells."""
        if run.resolve() in self.runs:
            return self.runs[run.resolve()]
        name = OF_A_TABLE.fullmatch(run.name)
        slugs = {slug(label): label for label in self.labels}
        return slugs.get(name["row"], name["row"]) if name else ""


def read_table_folder(folder: Path) -> TableFolder | None:
    """Returns the folder's table, or None if there is no table.csv."""
    if not (folder / "table.csv").is_file():
        return None
    values = folder / "values.csv"
    # README.md where it is published.
    pages = [folder / "table.md", folder / "README.md"]
    first = next((page.read_text(encoding="utf-8").partition("\n")[0] for page in pages if page.is_file()), "")
    title = first.removeprefix("# ").strip() or folder.name
    figures = sorted([*folder.glob("figure.png"), *folder.glob("figure_*.png")])
    rows, published = _rows(folder / "table.csv"), folder / "published.csv"
    beside = _published(published) if published.is_file() else []
    return TableFolder(folder, title, rows, _values(values) if values.is_file() else [], figures, beside)


def _rows(file: Path) -> list[dict[str, str]]:
    rows = read_rows(file, ("row", "measure"))
    numbers_of(file, rows, [name for name in _NUMBERS if rows and name in rows[0]])
    return rows


def _values(file: Path) -> list[dict[str, str]]:
    rows = read_rows(file, ("row", "measure", "seed", "value"))
    seeds = numbers_of(file, rows, ("seed", "value"))["seed"]
    for line, (row, seed) in enumerate(zip(rows, seeds, strict=True), start=2):
        if not seed.is_integer() or not row["seed"].strip().isdecimal():
            raise ValueError(f"{file}: column 'seed', line {line}: expected a whole number, found {row['seed']!r:.40}")
    return rows


def _published(file: Path) -> list[dict[str, str]]:
    needed = ("data", "row", "measure", "value", "kind", "selection", "same_features", "flaw", "source")
    rows = read_rows(file, needed)
    numbers_of(file, rows, ("value",))
    return rows
