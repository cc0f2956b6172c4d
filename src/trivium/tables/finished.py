"""Finds finished runs by all that decides about their numbers, so that none is trained twice."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trivium.config.store_path import find_store
from trivium.data.store import open_store
from trivium.runs.config_hash import identity_of
from trivium.runs.directory import RunDirectory, run_folders

# Folders of paths.outputs.
_PLACES = ("runs", "sweeps", "tables")
# Two settings are read from config.yaml by expressions, as parsing YAML would take longer than all else in this file.
# The first tells that the run began from another.
_START = re.compile(r"^start_from: (?!['\"]{2}$)", re.MULTILINE)
_EPOCHS = re.compile(r"^  max_epochs: (\d+)$", re.MULTILINE)


@dataclass(frozen=True)
class Took:
    """Tells how long a finished run trained, and on which data (result.json's feature set without its name).

    epoch_seconds: total over max_epochs, so that runs that stopped early tell of others that will.
    """

    method: str
    data: str
    epoch_seconds: float


class FinishedRuns:
    """Holds all finished runs under an outputs folder, read once and without torch.

    notes: a line for each run that could not be read and is left out.
    """

    def __init__(self, outputs: Path) -> None:
        self.notes: list[str] = []
        self.epoch_times: list[Took] = []
        # Identity -> run, store's checksum.
        self._runs: dict[str, list[tuple[Path, str]]] = {}
        self._identities: dict[Path, str] = {}
        self._checksums: dict[Path, str] = {}
        self._tables = outputs / "tables"
        for path in sorted(path for place in _PLACES for path in run_folders(outputs / place)):
            # A run may be removed while it is read.
            with contextlib.suppress(FileNotFoundError):
                self._add(RunDirectory(path))

    def _add(self, run: RunDirectory) -> None:
        if not run.finished:
            return
        try:
            result = run.result()
            text = run.config_file.read_text(errors="replace")
            identity = self._identity(run, result)
        except ValueError as error:
            self.notes.append(f"{error}; left out")
            return
        if identity:
            self._runs.setdefault(identity, []).append((run.path, str(result.get("store_checksum", ""))))
        epochs = _EPOCHS.search(text)
        if epochs and int(epochs[1]) and result.get("seconds") and {"method", "feature_set"} <= result.keys():
            data, each = str(result["feature_set"]).partition("/")[0], float(result["seconds"]) / int(epochs[1])
            self.epoch_times.append(Took(str(result["method"]), data, each))

    def find(self, identity: str, config: Mapping[str, Any], *, audit: bool = False) -> Path | None:
        """Returns a run of that identity, its seed included, on the store that the config finds now, or None.

        audit: one with test metrics of its epochs (run.audit).
        Of several it is the first by name. Without a prepared store there is none, as their store cannot be compared.
        """
        runs = self._runs.get(identity, [])
        if audit:
            runs = [(path, checksum) for path, checksum in runs if RunDirectory(path).audit_file.is_file()]
        if not runs:
            return None
        try:
            store = find_store(config)
        except ValueError:
            return None
        if not store.is_file():
            # A fixture or generated data that are not yet made: all their settings are in the config.
            return runs[0][0]
        return next((path for path, checksum in runs if checksum == self._checksum(store)), None)

    def origin(self, start_from: str) -> str:
        """Returns the identity of the run that start_from names; "" for none, and for one that is not finished."""
        run = RunDirectory(Path(start_from))
        return self._identity(run, run.result()) if start_from and run.finished else ""

    def study(self, name: str, config: Mapping[str, Any]) -> Path | None:
        """Returns the folder of a study of that name, which stands for all its settings, in any table; else None.

        It is one on the store that the config finds now; of several the one of which most trials are listed.
        """
        folders = [
            folder
            for folder in sorted(self._tables.glob(f"*/studies/{name}"))
            if not self.other_store(RunDirectory(folder / "0"), config)
        ]
        return max(folders, key=_listed_trials, default=None)

    def other_store(self, run: RunDirectory, config: Mapping[str, Any]) -> str:
        """Returns the checksum of the config's present store if `run`, finished or not, is on another one; else ""."""
        known = run.result() if run.finished else run.record() if run.record_file.is_file() else {}
        checksum = known.get("store_checksum", "")
        try:
            store = find_store(config)
        except ValueError:
            return ""
        return self._checksum(store) if checksum and store.is_file() and self._checksum(store) != checksum else ""

    def _checksum(self, store: Path) -> str:
        if store not in self._checksums:
            self._checksums[store] = str(open_store(store).provenance["checksum"])
        return self._checksums[store]

    def _identity(self, run: RunDirectory, result: Mapping[str, Any]) -> str:
        """Returns a run's identity, "" for results without one. Raises ValueError naming a file that cannot be read."""
        if run.path not in self._identities:
            self._identities[run.path] = str(result.get("config_hash", ""))
            if _START.search(run.config_file.read_text(errors="replace")):
                config = run.config()
                start = self._start(run, Path(config["start_from"]))
                if start:
                    self._identities[run.path] = identity_of(config, start)
        return self._identities[run.path]

    def _start(self, run: RunDirectory, path: Path) -> str:
        """Returns the identity of the run that `run` began from: where it was, or beside `run` if both were moved."""
        return self.origin(str(path)) or self.origin(str(run.path.parent / path.name))


def _listed_trials(study: Path) -> int:
    file = study / "trials.csv"
    return len(file.read_text(errors="replace").splitlines()) if file.is_file() else 0
