"""What the folders given to scripts/report.py hold: runs, tables, searches."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from trivium.reports.records import Record, labelled, read_record, read_rows
from trivium.reports.study import FILE as TRIALS
from trivium.reports.study import Study, read_study
from trivium.runs.directory import RunDirectory

_EXPECTED = (
    "expected a finished run (outputs/runs/NAME), a table (outputs/tables/NAME), a search, "
    "or a folder of runs (a sweep's)"
)
_OF_A_TABLE = re.compile(r"(.+)_s\d+_[0-9a-f]{6}")  # ROW_sSEED_HASH, as trivium.reports.plan names runs


@dataclass(frozen=True)
class TableFolder:
    """rows: of table.csv, as written there. figures: figure.png, or figure_DATA.png of each data set."""

    path: Path
    rows: list[dict[str, str]] = field(repr=False)
    figures: list[Path]


@dataclass(frozen=True)
class Sources:
    """Everything found, each run once. left_out: what is there but not finished, and why it is not on the page."""

    records: list[Record]
    tables: list[TableFolder]
    studies: list[Study]
    left_out: list[str]


def gather(folders: Sequence[Path]) -> Sources:
    """Raises ValueError naming the folder that is none of these, or the run that is not finished."""
    records: dict[Path, Record] = {}
    tables: list[TableFolder] = []
    studies: list[Study] = []
    left_out: list[str] = []
    for folder in folders:
        if not folder.is_dir():
            raise ValueError(f"{folder}: no such folder; {_EXPECTED}")
        if (folder / "config.yaml").is_file():
            found, others = {folder.resolve(): read_record(folder)}, list[str]()
        elif (folder / TRIALS).is_file():
            studies.append(read_study(folder))
            found, others = _read_trials(studies[-1])
        else:
            found, others = _read_many(folder)
        if (folder / "table.csv").is_file():
            figures = sorted([*folder.glob("figure.png"), *folder.glob("figure_*.png")])
            tables.append(TableFolder(folder, read_rows(folder / "table.csv"), figures))
        for path, record in found.items():
            records.setdefault(path, record)
        left_out += others
    return Sources(labelled(_in_order(records)), tables, studies, list(dict.fromkeys(left_out)))


def _read_trials(study: Study) -> tuple[dict[Path, Record], list[str]]:
    finished, others = _read(_runs_beneath(study.path) | _runs_of_trials(study))
    records = {path: replace(record, label=f"trial {path.name}") for path, record in finished.items()}
    said = f"search {study.path.name}: {len(others)} trials that were stopped or are still running, as runs"
    return records, [said] if others else []


def _read_many(folder: Path) -> tuple[dict[Path, Record], list[str]]:
    """Of a table, or of a folder of runs. A table may have been made of runs that lie elsewhere."""
    runs, is_table = _runs_beneath(folder), (folder / "table.csv").is_file()
    if not runs and not is_table:
        raise ValueError(f"{folder}: neither a run, a table nor a search; {_EXPECTED}")
    finished, others = _read(runs)
    if not finished and not is_table:
        raise ValueError(f"{folder}: none of its {len(runs)} runs is finished; resume them, then come back")
    if not finished:
        others.append(f"runs of table {folder.name}: none lies in its folder; give the folders that they lie in too")
    return finished, others


def _runs_beneath(folder: Path) -> set[Path]:
    """Runs in the folder or in its runs/."""
    places = [place for place in (folder, folder / "runs") if place.is_dir()]
    return {file.parent for place in places for file in place.glob("*/config.yaml")}


def _runs_of_trials(study: Study) -> set[Path]:
    places = [Path(trial.run) for trial in study.trials if trial.run]
    found = {next((p for p in (place, study.path / place) if (p / "config.yaml").is_file()), None) for place in places}
    return {place for place in found if place is not None}


def _read(runs: Iterable[Path]) -> tuple[dict[Path, Record], list[str]]:
    finished, others = {}, []
    for path in sorted(runs, key=_by_number):
        if not RunDirectory(path).finished:
            others.append(f"{path}: {_status(path)}")
            continue
        record = read_record(path)
        row = _OF_A_TABLE.fullmatch(path.name)
        finished[path.resolve()] = record if row is None else replace(record, label=row[1])
    return finished, others


def _by_number(path: Path) -> list[tuple[int, str]]:
    """2 before 10, in names too."""
    return [(int(part), "") if part.isdigit() else (0, part) for part in re.split(r"(\d+)", str(path))]


def _status(path: Path) -> str:
    file = path / "run.json"
    status = str(json.loads(file.read_text()).get("status", "unknown")) if file.is_file() else "unknown"
    return f"not finished ({status})"


def _in_order(records: dict[Path, Record]) -> list[Record]:
    """Groups as they come, and their seeds ascending."""
    groups = list(dict.fromkeys(record.group for record in records.values()))
    return sorted(records.values(), key=lambda record: (groups.index(record.group), record.seed))
