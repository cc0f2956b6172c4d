"""Plans a table: one run for each row, seed and fold, if there are any, in a directory of its own, done or to do."""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from trivium.config.check import problems_of_run
from trivium.config.compose import Composer, composer
from trivium.config.config_folder import CONFIGS
from trivium.config.pretrained_files import lacking_model
from trivium.config.store_path import find_store
from trivium.core.wording import command
from trivium.runs.config_hash import config_hash, identity_of
from trivium.runs.directory import RunDirectory
from trivium.tables.definition import Row, Table
from trivium.tables.finished import FinishedRuns
from trivium.tables.row_search import FINAL_SEEDS
from trivium.tables.studies import Finalist, RowStudy, plan_study, taken_over
from trivium.tables.trained_once import UNCHANGED, refuse_learner

# An interpolation of a setting that differs between the runs of a row.
_FOLLOWS = re.compile(r"\$\{[^}]*\b(seed|fold|start_from)\b")
# Hydra's grammar reads such text without quotes.
_PLAIN = re.compile(r"[\w./:@%+-]+", re.ASCII)


@dataclass(frozen=True)
class Planned:
    """Holds one run of a table.

    overrides: `trivium train`'s arguments without run.dir and resume. table: the part of the table that it belongs to.
    identity: a hash of all that decides about its numbers. method, data (its name), epochs: of its config.
    start: the run that it begins from (start_from). again: a finished run of the same numbers is there, but without the
    audit that the table asks for. lacking: how to get data, or a pretrained model, that are not there, "" if they are.
    fold: the fold that it tests, None for data without folds. study: the search of its row. waits: the settings are not
    known before a search has ended; the overrides are then those of the row alone, and the directory is no run's.
    """

    row: Row
    seed: int
    directory: RunDirectory
    overrides: tuple[str, ...]
    table: Table
    identity: str = ""
    method: str = ""
    data: str = ""
    epochs: int = 0
    start: RunDirectory | None = None
    lacking: str = ""
    fold: int | None = None
    again: bool = False
    study: RowStudy | None = None
    waits: bool = False

    @property
    def name(self) -> str:
        data = f"{self.table.section}, " if self.table.data else ""
        return f"{self.row.label}, {data}seed {self.repeat}"

    @property
    def repeat(self) -> str:
        """Names the run among those of its row and data set: by its seed, and its fold where there are any."""
        return str(self.seed) if self.fold is None else f"{self.seed} fold {self.fold}"

    @property
    def status(self) -> str:
        """Returns done, no data, to search, running (here or in another process), interrupted, or to do."""
        if self.lacking and not self.directory.finished:
            return "no data"
        if self.waits:
            return "to search"
        if self.directory.finished:
            return "done"
        if not self.directory.config_file.is_file():
            return "to do"
        return "running" if self.directory.in_use else "interrupted"

    @property
    def arguments(self) -> list[str]:
        """Returns the arguments of `trivium train`."""
        return [*self.overrides, assign("run.dir", self.directory.path), "resume=auto"]

    @property
    def command(self) -> str:
        return command("train", *self.arguments)

    def result(self) -> dict[str, Any]:
        """Returns result.json. Raises ValueError naming the file if it is damaged or not there."""
        return self.directory.result()


def plan(table: Table, seeds: int, folder: Path, finished: FinishedRuns | None = None) -> list[Planned]:
    """Returns all runs of a table or a part of it, seed by seed, so that an interrupted table has whole seeds.

    With folds each seed has a run for each fold.

    A directory is folder/ROW_sSEED_HASH. The hash is that of the config: a row whose settings have changed gets new
    runs, and one whose settings have not finds its old ones; those that are not there may be among `finished`. Runs on
    another store than is there now stay where they are, and new ones get directories of their own.
    A row with a search has the settings of its study's best trial, from folder/../studies; before that has ended, it
    waits, and so do the rows that begin from it.
    Raises ValueError naming the row if `trivium train` would refuse its overrides, and a result that is damaged.
    """
    return plan_parts([table], seeds, folder, finished)[0]


def plan_parts(
    parts: Sequence[Table], seeds: int, folder: Path, finished: FinishedRuns | None = None
) -> list[list[Planned]]:
    """Returns the runs of each part, as `plan` does of one.

    What several situations have in common, such as a row's search, is composed once.
    """
    with composer() as session:
        return [_plan(session, part, seeds, folder, finished) for part in parts]


def _plan(session: Composer, table: Table, seeds: int, folder: Path, finished: FinishedRuns | None) -> list[Planned]:
    _refuse_a_fold(table)
    runs: list[Planned] = []
    repeats = [(seed, fold) for seed in range(1, seeds + 1) for fold in (range(table.folds) if table.folds else [None])]
    # Label -> the row with the settings that its search has chosen, and its study.
    rows: dict[str, Row] = {}
    studies: dict[str, RowStudy | None] = {}
    configs: dict[str, dict[str, Any]] = {}
    # Labels of trained_once whose method is known to read no label.
    checked: set[str] = set()
    for seed, fold in repeats:
        # The rows' runs of this seed and fold.
        begun: dict[str, Planned] = {}
        for label in [row.label for row in table.rows]:
            if label not in rows:
                row, study = _searched(session, table, label, rows, begun, folder, finished)
                rows[label], studies[label] = row, study
                configs[label] = _config(session, table, row)
            row, study = rows[label], studies[label]
            start = begun[row.start] if row.start else None
            if label in table.trained_once and table.changes and not (study is not None and study.waits):
                if label not in checked and not _lacking(configs[label]):
                    _refuse_learner(table, label, configs[label])
                    checked.add(label)
                start = _without_situation(session, table, rows, label, seed, folder, finished)
                row = replace(row, overrides=(*row.overrides, *UNCHANGED))
            if (start is not None and start.waits) or (study is not None and study.waits):
                run = _waiting(table, row, seed, configs[label], folder)
                begun[label] = replace(run, fold=fold, study=study, waits=True)
                continue
            overrides = _overrides(table, row, seed, start, fold)
            if _follows_seed(table, row) or row is not rows[label]:
                config = session.compose(session.current(overrides))
            else:
                # Composing takes a tenth of a second.
                begins = {"start_from": str(start.directory.path)} if start else {}
                config = {**configs[row.label], "seed": seed, **begins}
                if fold is not None:
                    config["data"] = {**config["data"], "fold": fold}
            run = _planned(table, row, seed, start, overrides, config, folder, finished)
            begun[label] = replace(run, fold=fold, study=study)
        runs += begun.values()
    return runs


def _searched(
    session: Composer,
    table: Table,
    label: str,
    rows: Mapping[str, Row],
    begun: Mapping[str, Planned],
    folder: Path,
    finished: FinishedRuns | None,
) -> tuple[Row, RowStudy | None]:
    """Returns a row with the settings that its search, or that of the row it begins from, has chosen; and its study.

    rows, begun: those above it, and their runs of seed 1. Its own settings if they are not chosen yet.
    """
    row = next(row for row in table.rows if row.label == label)
    start = begun[row.start] if row.start else None
    if start is not None and start.study is not None:
        row = taken_over(row, rows[row.start])
    if row.search is None:
        return row, None
    where = f"table {table.name}, row {label!r}"
    # What is searched once serves every situation of the data set.
    searched = replace(table, audit=False, situation="")
    if start is not None and table.situation and not start.waits:
        start = _without_situation(session, searched, rows, row.start, 1, folder, finished)
    overrides = _overrides(searched, row, 1, start, None)
    earlier = None
    if table.settings_from:
        earlier = table.settings_from.of(table.data, row.label)
        if earlier.space != row.search.sweep:
            raise ValueError(
                f"{where}: search: {row.search.sweep}, but {table.settings_from.file} has settings of the space "
                f"{earlier.space}"
            )
    origin = start.directory if start else None
    study = plan_study(session, where, row, overrides, folder.parent / "studies", finished, origin, earlier)
    study = replace(study, finalists=_finalists(session, searched, rows, study, folder, finished))
    return study.chosen(), study


def _finalists(
    session: Composer,
    table: Table,
    rows: Mapping[str, Row],
    study: RowStudy,
    folder: Path,
    finished: FinishedRuns | None,
) -> tuple[Finalist, ...]:
    """Returns the study's best trials with their runs of FINAL_SEEDS, where one of several is to be chosen.

    table: without its situation.
    """
    finalists = []
    for trial in study.contested:
        row, runs = study.final(trial), []
        for seed in FINAL_SEEDS:
            start = _without_situation(session, table, rows, row.start, seed, folder, finished) if row.start else None
            overrides = _overrides(table, row, seed, start, None)
            config = session.compose(session.current(overrides))
            runs.append(_planned(table, row, seed, start, overrides, config, folder, finished))
        finalists.append(Finalist(trial, tuple(runs)))
    return tuple(finalists)


def _without_situation(
    session: Composer,
    table: Table,
    rows: Mapping[str, Row],
    label: str,
    seed: int,
    folder: Path,
    finished: FinishedRuns | None,
) -> Planned:
    """Returns a row's run in no situation, which is that of a situation without overrides.

    Raises ValueError where the table has no such situation.
    """
    table = replace(table, situation="")
    if table.situations and all(table.situations.values()):
        raise ValueError(
            f"table {table.name}: a searched row begins from row {label!r}, and no situation leaves all as it is; add "
            "one, such as unchanged: []"
        )
    row = rows[label]
    start = _without_situation(session, table, rows, row.start, seed, folder, finished) if row.start else None
    overrides = _overrides(table, row, seed, start, None)
    return _planned(table, row, seed, start, overrides, session.compose(session.current(overrides)), folder, finished)


def _refuse_learner(table: Table, label: str, config: Mapping[str, Any]) -> None:
    try:
        refuse_learner(label, config)
    except ValueError as error:
        raise ValueError(f"table {table.name}: {error}") from error


def _waiting(table: Table, row: Row, seed: int, config: Mapping[str, Any], folder: Path) -> Planned:
    """Returns the run of a row whose settings are not known yet; its directory is never made."""
    overrides = tuple(_overrides(table, row, seed, None, None))
    directory = RunDirectory(folder / f"{row.slug}_s{seed}_searched")
    run = Planned(row, seed, directory, overrides, table, lacking=_lacking(config))
    method, data, epochs = (config["method"]["name"], config["data"]["name"], config["trainer"]["max_epochs"])
    return replace(run, method=str(method), data=str(data), epochs=int(epochs))


def _lacking(config: Mapping[str, Any]) -> str:
    """Returns how to get the data or the pretrained model that a run needs; "" if they are there."""
    try:
        find_store(config)
    except ValueError as error:
        return str(error)
    return lacking_model(config)


def _config(session: Composer, table: Table, row: Row) -> dict[str, Any]:
    """Returns the config of a row's run of seed 1. Raises ValueError naming the row if that would be refused."""
    overrides = session.current(_overrides(table, row, 1, None, 0 if table.folds else None))
    if problems := problems_of_run(session, overrides):
        raise ValueError(f"table {table.name}, row {row.label!r}: {'; '.join(problems)}")
    return session.compose(overrides)


def _follows_seed(table: Table, row: Row) -> bool:
    """Returns whether a setting beside these two may differ between the runs of a row."""
    overrides = (*table.overrides, *row.overrides, *table.changes, *table.settings)
    return _files_follow_seed() or any(_FOLLOWS.search(word) for word in overrides)


@functools.cache
def _files_follow_seed() -> bool:
    return any(_FOLLOWS.search(file.read_text(encoding="utf-8")) for file in CONFIGS.rglob("*.yaml"))


def _refuse_a_fold(table: Table) -> None:
    """Raises ValueError where a table trains on all folds and one of its settings names a fold."""
    settings = (
        *table.overrides,
        *table.changes,
        *table.settings,
        *(word for row in table.rows for word in row.overrides),
    )
    if table.folds and (words := [word for word in settings if word.lstrip("+").startswith("data.fold=")]):
        raise ValueError(
            f"table {table.name}: {words[0]}, but the table has folds: {table.folds}; leave one of them out"
        )


def _overrides(table: Table, row: Row, seed: int, start: Planned | None, fold: int | None) -> list[str]:
    begins = [assign("start_from", start.directory.path)] if start else []
    audit = ["run.audit=true"] if table.audit else []
    repeat = [f"seed={seed}", *([] if fold is None else [f"data.fold={fold}"])]
    return merged(table.overrides, row.overrides, table.changes, table.settings, begins, audit, repeat)


def _planned(
    table: Table,
    row: Row,
    seed: int,
    start: Planned | None,
    overrides: Sequence[str],
    config: Mapping[str, Any],
    folder: Path,
    finished: FinishedRuns | None,
) -> Planned:
    origin = start.identity if start else finished.origin(config["start_from"]) if finished else ""
    hashed, identity = config_hash(dict(config)), identity_of(config, origin)
    again = bool(table.audit and finished and finished.find(identity, config))
    if table.audit:
        # An audit changes no number and no hash, but a run without one, finished or not, kept no weights of its epochs.
        hashed = hashlib.sha256(f"{hashed} audit".encode()).hexdigest()
    usual = RunDirectory(folder / f"{row.slug}_s{seed}_{hashed[:6]}")
    lacking = _lacking(config)
    directory = usual
    if finished is not None:
        directory = _directory(usual, hashed, identity, config, finished, table.audit)
    return Planned(
        row,
        seed,
        directory,
        tuple(overrides),
        table,
        identity,
        str(config["method"]["name"]),
        str(config["data"]["name"]),
        int(config["trainer"]["max_epochs"]),
        start.directory if start else None,
        lacking,
        again=again and not directory.finished,
    )


def _directory(
    usual: RunDirectory, hashed: str, identity: str, config: Mapping[str, Any], finished: FinishedRuns, audit: bool
) -> RunDirectory:
    """Returns `usual`, unless a finished run is elsewhere, or `usual` is on another store than is there now."""
    other = finished.other_store(usual, config)
    if usual.finished and not other:
        return usual
    elsewhere = finished.find(identity, config, audit=audit)
    if elsewhere is not None:
        return RunDirectory(elsewhere)
    if not other:
        return usual
    renamed = hashlib.sha256(f"{hashed} {other}".encode()).hexdigest()
    return RunDirectory(usual.path.with_name(f"{usual.path.name[:-6]}{renamed[:6]}"))


def assign(key: str, path: Path) -> str:
    """Returns KEY=PATH for Hydra's grammar: quoted where it has other signs than letters and a few more."""
    text = str(path)
    return f"{key}={text}" if _PLAIN.fullmatch(text) else "{}='{}'".format(key, text.replace("'", "\\'"))


def merged(*parts: Sequence[str]) -> list[str]:
    """Returns the overrides in order; of two for one key the later, in the place of the first (Hydra refuses two)."""
    last: dict[str, str] = {}
    for override in (override for part in parts for override in part):
        last[override.partition("=")[0].lstrip("+~")] = override
    return list(last.values())
