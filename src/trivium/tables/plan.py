"""What a table needs: one run for each row and seed, in a directory of its own, finished or still to do."""

from __future__ import annotations

import functools
import hashlib
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trivium.config.check import problems_of_run
from trivium.config.compose import CONFIGS, Composer, composer
from trivium.data.locate import find_store
from trivium.runs.directory import RunDirectory
from trivium.runs.identity import config_hash, identity_of
from trivium.tables.definition import Row, Table
from trivium.tables.finished import FinishedRuns

_FOLLOWS = re.compile(
    r"\$\{[^}]*\b(seed|start_from)\b"
)  # an interpolation of what is not the same in each run of a row
_PLAIN = re.compile(r"[\w./:@%+-]+", re.ASCII)  # what Hydra's grammar reads as it stands


@dataclass(frozen=True)
class Planned:
    """One run. overrides: of train.py, without where it lies and how it is resumed.

    table: the part of the table that it is of. identity: what decides about its numbers. method, data (its name),
    epochs: of its config. start: the run that it begins from (start_from). lacking: what to do about data that are not
    there, "" if they are.
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

    @property
    def name(self) -> str:
        data = f"{self.table.data}, " if self.table.data else ""
        return f"{self.row.label}, {data}seed {self.seed}"

    @property
    def status(self) -> str:
        """done, no data, running (in another process, or in a child of this one), interrupted (it will be resumed), or
        to do.
        """
        if self.directory.finished:
            return "done"
        if self.lacking:
            return "no data"
        if not self.directory.config_file.is_file():
            return "to do"
        return "running" if self.directory.in_use else "interrupted"

    @property
    def arguments(self) -> list[str]:
        """What train.py is called with."""
        return [*self.overrides, assign("run.dir", self.directory.path), "resume=auto"]

    @property
    def command(self) -> str:
        return shlex.join(["python", "train.py", *self.arguments])

    def result(self) -> dict[str, Any]:
        """result.json. Raises ValueError naming the file if it is damaged or not there."""
        return self.directory.result()


def plan(table: Table, seeds: int, folder: Path, finished: FinishedRuns | None = None) -> list[Planned]:
    """All runs of a table, or of a part of it, seed by seed, so that an interrupted table has whole seeds.

    A directory is folder/ROW_sSEED_HASH. The hash is that of the config: a row whose settings have changed gets new
    runs, and one whose settings have not finds its old ones; those that are not there may be among `finished`. Runs on
    another store than is there now stay where they are, and new ones get directories of their own.
    Raises ValueError naming the row if train.py would refuse its overrides, and a result that is damaged.
    """
    runs: list[Planned] = []
    with composer() as session:
        configs = {row.label: _configs(session, table, row) for row in table.rows}
    for seed in range(1, seeds + 1):
        begun: dict[str, Planned] = {}  # of this seed
        for row in table.rows:
            start = begun[row.start] if row.start else None
            begun[row.label] = _planned(configs[row.label], table, row, seed, start, folder, finished)
        runs += begun.values()
    return runs


_Config = Callable[[int, Path | None], dict[str, Any]]


def _configs(session: Composer, table: Table, row: Row) -> _Config:
    """Seed and start -> a row's config. Composed once (a tenth of a second) where nothing else follows the two."""
    overrides = session.current(_overrides(table, row, 1, None))
    if problems := problems_of_run(session, overrides):
        raise ValueError(f"table {table.name}, row {row.label!r}: {'; '.join(problems)}")
    config = session.compose(overrides)
    if _files_follow_seed() or any(_FOLLOWS.search(word) for word in (*table.overrides, *row.overrides, *table.given)):
        return functools.partial(_compose_again, table, row)
    return lambda seed, start: {**config, "seed": seed, **({"start_from": str(start)} if start else {})}


def _compose_again(table: Table, row: Row, seed: int, start: Path | None) -> dict[str, Any]:
    with composer() as session:
        return session.compose(session.current(_overrides(table, row, seed, start)))


@functools.cache
def _files_follow_seed() -> bool:
    return any(_FOLLOWS.search(file.read_text(encoding="utf-8")) for file in CONFIGS.rglob("*.yaml"))


def _overrides(table: Table, row: Row, seed: int, start: Path | None) -> list[str]:
    begins = [assign("start_from", start)] if start else []
    return merged(table.overrides, row.overrides, table.given, begins, [f"seed={seed}"])


def _planned(
    configs: _Config,
    table: Table,
    row: Row,
    seed: int,
    start: Planned | None,
    folder: Path,
    finished: FinishedRuns | None,
) -> Planned:
    at = start.directory.path if start else None
    config = configs(seed, at)
    origin = start.identity if start else finished.origin(config["start_from"]) if finished else ""
    hashed, identity = config_hash(config), identity_of(config, origin)
    own = RunDirectory(folder / f"{row.slug}_s{seed}_{hashed[:6]}")
    return Planned(
        row,
        seed,
        own if finished is None else _directory(own, hashed, identity, config, finished),
        tuple(_overrides(table, row, seed, at)),
        table,
        identity,
        str(config["method"]["name"]),
        str(config["data"]["name"]),
        int(config["trainer"]["max_epochs"]),
        start.directory if start else None,
        _lacking(config),
    )


def _directory(
    own: RunDirectory, hashed: str, identity: str, config: Mapping[str, Any], finished: FinishedRuns
) -> RunDirectory:
    """`own`, unless a finished run is elsewhere, or `own` is on another store than is there now."""
    other = finished.other_store(own, config)
    if own.finished and not other:
        return own
    elsewhere = finished.find(identity, config)
    if elsewhere is not None:
        return RunDirectory(elsewhere)
    if not other:
        return own
    renamed = hashlib.sha256(f"{hashed} {other}".encode()).hexdigest()
    return RunDirectory(own.path.with_name(f"{own.path.name[:-6]}{renamed[:6]}"))


def _lacking(config: Mapping[str, Any]) -> str:
    try:
        find_store(config)
    except ValueError as error:
        return str(error)
    return ""


def assign(key: str, path: Path) -> str:
    """KEY=PATH as Hydra's grammar takes it: quoted where it has other signs than letters and a few more."""
    text = str(path)
    return f"{key}={text}" if _PLAIN.fullmatch(text) else "{}='{}'".format(key, text.replace("'", "\\'"))


def merged(*parts: Sequence[str]) -> list[str]:
    """Overrides in order; of two for one key the later one, in the place of the first. (Hydra refuses two choices.)"""
    last: dict[str, str] = {}
    for override in (override for part in parts for override in part):
        last[override.partition("=")[0].lstrip("+~")] = override
    return list(last.values())
