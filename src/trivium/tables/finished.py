"""Finished runs by what decides about their numbers, so that none is trained twice."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trivium.config.store_path import find_store
from trivium.data.store import open_store
from trivium.runs.directory import RunDirectory
from trivium.runs.identity import identity_of

_PLACES = ("runs", "sweeps", "tables")  # folders of paths.outputs
# Of a config.yaml, most of which need not be parsed for these: parsing one takes longer than all else here.
_START = re.compile(r"^start_from: (?!['\"]{2}$)", re.MULTILINE)  # the run began from another
_EPOCHS = re.compile(r"^  max_epochs: (\d+)$", re.MULTILINE)


@dataclass(frozen=True)
class Took:
    """How long a finished run trained, on which data (result.json's feature set without its name).

    epoch_seconds: a max_epochs-th of all, so that runs that were stopped early tell of others that will be.
    """

    method: str
    data: str
    epoch_seconds: float


class FinishedRuns:
    """All finished runs under an outputs folder. Read once; nothing of torch is imported.

    notes: what could not be read and is left out, a line each.
    """

    def __init__(self, outputs: Path) -> None:
        self.notes: list[str] = []
        self.took: list[Took] = []
        self._found: dict[str, list[tuple[Path, str]]] = {}  # identity -> run, store's checksum
        self._identities: dict[Path, str] = {}
        self._checksums: dict[Path, str] = {}
        for file in sorted(file for place in _PLACES for file in (outputs / place).rglob("result.json")):
            self._add(RunDirectory(file.parent))

    def _add(self, run: RunDirectory) -> None:
        if not run.config_file.is_file():
            return
        try:
            result = run.result()
            text = run.config_file.read_text(errors="replace")
            identity = self._identity(run, result)
        except ValueError as error:
            self.notes.append(f"{error}; left out")
            return
        if identity:
            self._found.setdefault(identity, []).append((run.path, str(result.get("store_checksum", ""))))
        epochs = _EPOCHS.search(text)
        if epochs and {"method", "feature_set", "seconds"} <= result.keys():
            data, each = str(result["feature_set"]).partition("/")[0], float(result["seconds"]) / int(epochs[1])
            self.took.append(Took(str(result["method"]), data, each))

    def find(self, identity: str, config: Mapping[str, Any]) -> Path | None:
        """A run of that identity, its seed included, on the store that the config finds now; None if there is none.

        Of several the first by name. A store that is not there has no runs: which one they were on cannot be told.
        """
        found = self._found.get(identity, [])
        if not found:
            return None
        try:
            store = find_store(config)
        except ValueError:
            return None
        if not store.is_file():  # a fixture, or generated data, not yet made: its settings are all in the config
            return found[0][0]
        return next((path for path, checksum in found if checksum == self._checksum(store)), None)

    def origin(self, start_from: str) -> str:
        """The identity of the run that a setting start_from names; "" of none, and of one that is not finished."""
        run = RunDirectory(Path(start_from))
        return self._identity(run, run.result()) if start_from and run.finished else ""

    def other_store(self, run: RunDirectory, config: Mapping[str, Any]) -> str:
        """The checksum of the store that the config finds now if `run`, finished or not, is on another one; else ""."""
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
        """Empty for a run from before results had one. Raises ValueError naming a file that cannot be read."""
        if run.path not in self._identities:
            self._identities[run.path] = str(result.get("config_hash", ""))  # before any run that begins from it
            if _START.search(run.config_file.read_text(errors="replace")):
                config = run.config()
                start = self._start(run, Path(config["start_from"]))
                if start:
                    self._identities[run.path] = identity_of(config, start)
        return self._identities[run.path]

    def _start(self, run: RunDirectory, path: Path) -> str:
        """The identity of the run that `run` began from: where it was, or beside `run`, if both have been moved."""
        return self.origin(str(path)) or self.origin(str(run.path.parent / path.name))
