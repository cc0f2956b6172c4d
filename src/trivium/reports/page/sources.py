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
    """rows: of table.csv, as written there. figure: figure.png, or None."""

    path: Path
    rows: list[dict[str, str]] = field(repr=False)
    figure: Path | None


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
    tables, studies, left_out = [], [], []
    for folder in folders:
        if not folder.is_dir():
            raise ValueError(f"{folder}: no such folder; {_EXPECTED}")
        if (folder / "config.yaml").is_file():
            records.setdefault(folder.resolve(), read_record(folder))
            continue
        runs = _runs_beneath(folder)
        if (folder / TRIALS).is_file():
            study = read_study(folder)
            studies.append(study)
            runs |= _runs_of_trials(study)
        if (folder / "table.csv").is_file():
            figure = folder / "figure.png"
            tables.append(TableFolder(folder, read_rows(folder / "table.csv"), figure if figure.is_file() else None))
        elif not runs and not (folder / TRIALS).is_file():
            raise ValueError(f"{folder}: neither a run, a table nor a search; {_EXPECTED}")
        finished, others = _read(runs)
        if not finished and not (folder / TRIALS).is_file():
            raise ValueError(f"{folder}: none of its {len(runs)} runs is finished; resume them, then come back")
        records = {**finished, **records}
        left_out += others
    return Sources(labelled(_in_order(records)), tables, studies, list(dict.fromkeys(left_out)))


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
    for path in sorted(runs):
        if not RunDirectory(path).finished:
            others.append(f"{path}: {_status(path)}")
            continue
        record = read_record(path)
        row = _OF_A_TABLE.fullmatch(path.name)
        finished[path.resolve()] = record if row is None else replace(record, label=row[1])
    return finished, others


def _status(path: Path) -> str:
    file = path / "run.json"
    status = str(json.loads(file.read_text()).get("status", "unknown")) if file.is_file() else "unknown"
    return f"not finished ({status})"


def _in_order(records: dict[Path, Record]) -> list[Record]:
    """Groups as they come, and their seeds ascending."""
    groups = list(dict.fromkeys(record.group for record in records.values()))
    return sorted(records.values(), key=lambda record: (groups.index(record.group), record.seed))
