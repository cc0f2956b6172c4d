"""Reads a table of labels: a CSV in UTF-8 with commas, whose first line has the columns' names."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class LabelTable:
    """Holds a table's columns by name, one cell a row without blanks around it, and the line that each row ends in."""

    path: Path
    columns: dict[str, list[str]]
    lines: list[int]

    def column(self, name: str) -> list[str] | None:
        """Returns the cells of a column, or None where there is no such column."""
        return self.columns.get(name)


def read_label_table(path: Path) -> LabelTable:
    """Reads a CSV; a byte order mark at its start is passed over, as are empty lines.

    Raises ValueError, naming file and line, for a file that is missing, empty, not in UTF-8 or of another separator,
    for columns without a name or with the same name, and for a row of another number of cells.
    """
    rows = _rows(path)
    if not rows:
        raise ValueError(f"{path}: is empty; expected a line with the columns' names and a line for each clip")
    header = [cell.strip() for cell in rows[0][1]]
    _check_header(path, header)
    if len(rows) == 1:
        raise ValueError(f"{path}: has the columns' names and no clip; expected a line for each clip")
    for line, cells in rows[1:]:
        if len(cells) != len(header):
            raise ValueError(
                f"{path}: line {line} has {len(cells)} cells, the first line {len(header)}; put texts that have commas "
                "into double quotes"
            )
    columns = {name: [cells[place].strip() for _, cells in rows[1:]] for place, name in enumerate(header)}
    return LabelTable(path, columns, [line for line, _ in rows[1:]])


def read_text(path: Path) -> str:
    """Returns the text of a file in UTF-8, without a byte order mark. Raises ValueError naming the first bad byte."""
    try:
        return path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError as error:
        raise ValueError(f"{path}: no such file") from error
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise ValueError(
            f"{path}: line {line} is not in UTF-8 (byte 0x{error.object[error.start]:02x}); save the file as UTF-8"
        ) from error


def _rows(path: Path) -> list[tuple[int, list[str]]]:
    """Returns each row with the line that it ends in."""
    reader = csv.reader(io.StringIO(read_text(path), newline=""), strict=True)
    try:
        return [(reader.line_num, cells) for cells in reader if any(cell.strip() for cell in cells)]
    except csv.Error as error:
        raise ValueError(f"{path}: line {reader.line_num} cannot be read as CSV ({error})") from error


def _check_header(path: Path, header: list[str]) -> None:
    for separator, name in ((";", "semicolons"), ("\t", "tabs")):
        if len(header) == 1 and separator in header[0]:
            raise ValueError(
                f"{path}: the first line has {name} between the columns' names ({header[0][:60]!r}); expected commas: "
                "save the file as comma-separated values"
            )
    if "" in header:
        raise ValueError(f"{path}: column {header.index('') + 1} has no name in the first line; give it one")
    repeated = [name for name in header if header.count(name) > 1]
    if repeated:
        raise ValueError(f"{path}: two columns are named {repeated[0]!r}; rename one")
