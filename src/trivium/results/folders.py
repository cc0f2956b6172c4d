"""Finds the runs, tables and searches that folders hold."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from trivium.results.records import Record, labelled, read_record
from trivium.results.search_trials import FILE as TRIALS
from trivium.results.search_trials import SearchFolder, read_search_folder
from trivium.results.table_folder import TableFolder, read_table_folder
from trivium.runs.directory import RunDirectory, run_folders

_NUMBER = re.compile(r"(\d+)")
# Written when a search begins (trivium.search.study).
_SEARCH = "study.yaml"
_EXPECTED = (
    "expected a finished run (outputs/runs/NAME), a table (outputs/tables/NAME), a search, "
    "or a folder of runs (a sweep's)"
)
# Finished runs by their resolved path, and lines about the others.
Read = tuple[dict[Path, Record], list[str]]


@dataclass(frozen=True)
class Sources:
    """Holds what some folders contain, each run once.

    left_out: lines about runs that are not finished or damaged. of_tables, of_studies: the directories of the runs that
    belong to a table or a search.
    """

    records: list[Record]
    tables: list[TableFolder]
    studies: list[SearchFolder]
    left_out: list[str]
    of_tables: frozenset[Path] = frozenset()
    of_studies: frozenset[Path] = frozenset()


def gather(folders: Sequence[Path], *, whole: bool = True) -> Sources:
    """Returns what the folders hold.

    whole: read also what figures and pages need of each run (epochs, predictions), and leave out runs without it.
    Raises ValueError naming the folder that is none of these, or the run that is not finished.
    """
    records: dict[Path, Record] = {}
    tables: list[TableFolder] = []
    studies: list[SearchFolder] = []
    left_out: list[str] = []
    of_tables, of_studies = set[Path](), set[Path]()
    for folder in folders:
        if not folder.is_dir():
            raise ValueError(f"{folder}: no such folder; {_EXPECTED}")
        try:
            table = read_table_folder(folder)
            study = read_search_folder(folder) if _is_search(folder) else None
            finished, others = _read_folder(folder, table, study, whole)
        except ValueError as error:
            # One damaged folder costs itself, not all others.
            if len(folders) == 1:
                raise
            left_out.append(str(error))
            continue
        of_studies |= set(finished) if study is not None else set()
        of_tables |= set(finished) if study is None and table is not None else set()
        tables += [] if table is None else [table]
        studies += [] if study is None else [study]
        for path, record in finished.items():
            records.setdefault(path, record)
        left_out += others
    if not (records or tables or studies):
        raise ValueError(f"nothing to show: {'; '.join(left_out)}")
    missing = list(dict.fromkeys(left_out))
    # By group, groups as they come, and by seed within one.
    groups = list(dict.fromkeys(record.group for record in records.values()))
    in_order = sorted(records.values(), key=lambda record: (groups.index(record.group), record.seed))
    return Sources(labelled(in_order), tables, studies, missing, frozenset(of_tables), frozenset(of_studies))


def _is_search(folder: Path) -> bool:
    return (folder / TRIALS).is_file() and not (folder / "config.yaml").is_file()


def _read_folder(folder: Path, table: TableFolder | None, study: SearchFolder | None, whole: bool) -> Read:
    """Reads the runs of a folder that is a run, a search, a table, or a folder of runs."""
    if (folder / "config.yaml").is_file():
        record = read_record(folder)
        if whole:
            record.check()
        return {folder.resolve(): record}, []
    if study is not None:
        finished, stopped = _read(_runs_in(folder) | study.runs, whole)
        line = f"search {folder.name}: {len(stopped)} trials that were stopped or are still running, as runs"
        return {path: replace(record, label=f"trial {path.name}") for path, record in finished.items()}, (
            [line] if stopped else []
        )
    return _read_many(folder, whole) if table is None else _read_table(table, whole)


def _read_table(table: TableFolder, whole: bool) -> Read:
    """Reads the runs in the table's folder and those that it was made of, in the order of its rows."""
    beneath, named = _runs_in(table.path), {path for path in table.runs if path.is_dir()}
    finished, others = _read(beneath | (named - {path.resolve() for path in beneath}), whole)
    if lost := sorted(set(table.runs) - named):
        gone = f"{len(lost)} runs of table {table.path.name} that are not there, such as {lost[0]}"
        others.append(f"{gone}; give the folders that they lie in too")
    elif not finished:
        others.append(f"runs of table {table.path.name}: none lies in its folder, and values.csv names none")
    labels = {path: table.label_of(path) for path in finished}
    ordered = sorted(finished, key=lambda path: table.place_of(labels[path], finished[path].data))
    return {path: replace(finished[path], label=labels[path]) for path in ordered}, others


def _read_many(folder: Path, whole: bool) -> Read:
    """Reads the runs anywhere beneath a folder; those of a table's folder go by its rows."""
    runs = _runs_in(folder) | set(run_folders(folder))
    if (folder / _SEARCH).is_file():
        raise ValueError(f"{folder}: a search of which no trial has ended yet; its command goes on with it")
    if not runs:
        raise ValueError(f"{folder}: neither a run, a table nor a search; {_EXPECTED}")
    finished, others = _read(runs, whole)
    if not finished:
        raise ValueError(f"{folder}: none of its {len(runs)} runs is finished; resume them, then come back")
    places = {place: read_table_folder(place) for path in finished for place in (path.parent, path.parents[1])}
    named = {}
    for path, record in finished.items():
        table = places[path.parent] or places[path.parents[1]]
        named[path] = record if table is None else replace(record, label=table.label_of(path))
    return named, others


def _runs_in(folder: Path) -> set[Path]:
    """Returns the runs in the folder or in its runs/."""
    return {file.parent for place in (folder, folder / "runs") for file in place.glob("*/config.yaml")}


def _read(runs: Iterable[Path], whole: bool) -> Read:
    finished, others = {}, []
    # 2 comes before 10, in names too.
    for path in sorted(
        runs, key=lambda run: [int(word) if word.isdecimal() else word for word in _NUMBER.split(str(run))]
    ):
        if not RunDirectory(path).finished:
            others.append(f"{path}: {_status(path)}")
            continue
        try:
            record = read_record(path)
            if whole:
                record.check()
            finished[path.resolve()] = record
        except (ValueError, OSError) as error:
            # One damaged run costs itself, not all others.
            others.append(str(error))
    return finished, others


def _status(path: Path) -> str:
    try:
        status = str(RunDirectory(path).record().get("status", "unknown"))
    except (OSError, ValueError):
        # The run was killed before it was written, or it is damaged.
        status = "unknown"
    return f"not finished ({status})"
