"""Finished runs by what decides about their numbers, so that none is trained twice."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trivium.data.locate import find_store
from trivium.data.store import open_store

_PLACES = ("runs", "sweeps", "tables")  # folders of paths.outputs


class FinishedRuns:
    """All finished runs under an outputs folder. Read once; nothing of torch is imported."""

    def __init__(self, outputs: Path) -> None:
        self._found: dict[
            str, list[tuple[Path, str]]
        ] = {}  # hash of the config, seed included -> run, store's checksum
        self._checksums: dict[Path, str] = {}
        for file in sorted(file for place in _PLACES for file in (outputs / place).rglob("result.json")):
            result: dict[str, Any] = json.loads(file.read_text())
            if "config_hash" in result and (file.parent / "config.yaml").is_file():
                entry = (file.parent, str(result.get("store_checksum", "")))
                self._found.setdefault(result["config_hash"], []).append(entry)

    def find(self, config_hash: str, config: Mapping[str, Any]) -> Path | None:
        """A run of that config, its seed included, on the store that the config finds now; None if there is none.

        Of several the first by name. A store that is not there has no runs: which one they were on cannot be told.
        """
        found = self._found.get(config_hash, [])
        if not found:
            return None
        try:
            store = find_store(config)
        except ValueError:
            return None
        if not store.is_file():  # a fixture, or generated data, not yet made: its settings are all in the config
            return found[0][0]
        if store not in self._checksums:
            self._checksums[store] = str(open_store(store).provenance["checksum"])
        return next((path for path, checksum in found if checksum == self._checksums[store]), None)
