"""A table's folder as the page reads it: table.csv, values.csv, table.md's title and figures, not its YAML."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from trivium.reports.records import read_rows, slug
from trivium.runs.identity import OF_A_TABLE


@dataclass(frozen=True)
class TableFolder:
    """rows: of table.csv, as written there. values: of values.csv, one a run and measure; none where it is not there.

    figures: figure.png, or figure_DATA.png of each data set.
    """

    path: Path
    title: str
    rows: list[dict[str, str]] = field(repr=False)
    values: list[dict[str, str]] = field(repr=False)
    figures: list[Path]

    @cached_property
    def labels(self) -> list[str]:
        """Of its rows, in their order."""
        return list(dict.fromkeys(row["row"] for row in self.rows))

    @cached_property
    def data_sets(self) -> list[str]:
        """What table.csv says in its column data, in that order; none in a table of one data set."""
        return list(dict.fromkeys(row["data"] for row in self.rows if row.get("data")))

    def place_of(self, label: str, data: str) -> tuple[int, int]:
        """Of a run of a row on a feature set, to sort by: rows in their order, then data sets in theirs."""
        row = self.labels.index(label) if label in self.labels else len(self.labels)
        fitting = [place for place, name in enumerate(self.data_sets) if f"{data}/".startswith(f"{name}/")]
        return row, fitting[0] if fitting else len(self.data_sets)

    @cached_property
    def baseline(self) -> str:
        """The row that the others are compared with: where they have differences, it has none. "" without one."""
        compared = {row["row"] for row in self.rows if row.get("difference")}
        others = [label for label in self.labels if label not in compared and self._measured(label)]
        return others[0] if compared and len(others) == 1 else ""

    def _measured(self, label: str) -> bool:
        return any(row["row"] == label and row.get("mean") for row in self.rows)

    @cached_property
    def runs(self) -> dict[Path, str]:
        """Directory of each run that values.csv names -> its row."""
        named = {row["run"]: row["row"] for row in self.values if row.get("run")}
        places = {(self.path / run, Path(run)): row for run, row in named.items()}
        found = {next((p for p in both if (p / "config.yaml").is_file()), both[0]): row for both, row in places.items()}
        return {path.resolve(): row for path, row in found.items()}

    def label_of(self, run: Path) -> str:
        """The row that a run's directory is of: as values.csv says, or by its name; "" if neither knows."""
        if run.resolve() in self.runs:
            return self.runs[run.resolve()]
        name = OF_A_TABLE.fullmatch(run.name)
        slugs = {slug(label): label for label in self.labels}
        return slugs.get(name["row"], name["row"]) if name else ""


def read_table_folder(folder: Path) -> TableFolder | None:
    """None if there is no table.csv."""
    if not (folder / "table.csv").is_file():
        return None
    values, pages = (
        folder / "values.csv",
        [folder / "table.md", folder / "README.md"],
    )  # the latter where it is published
    first = next((page.read_text(encoding="utf-8").partition("\n")[0] for page in pages if page.is_file()), "")
    figures = sorted([*folder.glob("figure.png"), *folder.glob("figure_*.png")])
    title = first.removeprefix("# ").strip() or folder.name
    return TableFolder(
        folder, title, read_rows(folder / "table.csv"), read_rows(values) if values.is_file() else [], figures
    )
