"""Reads and writes the directory that is a run's full record; the README lists its files."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import yaml

from trivium.config.renamed import with_new_names
from trivium.core.files import write_json, write_text
from trivium.core.locks import LOOK, is_taken, take

# Seconds that workers may need to end after their parent was killed.
_WORKERS_END = 10.0


@dataclass
class RunDirectory:
    """Knows a run's paths, and reads and writes its files. Reading raises ValueError naming a file that is damaged.

    lock: held for as long as this process works on the run.
    """

    path: Path
    lock: IO[bytes] | None = field(default=None, repr=False)

    @property
    def config_file(self) -> Path:
        return self.path / "config.yaml"

    @property
    def checkpoint(self) -> Path:
        """Names the newest state to resume from."""
        return self.path / "checkpoints" / "last.ckpt"

    @property
    def weights(self) -> Path:
        return self.path / "weights.safetensors"

    @property
    def result_file(self) -> Path:
        return self.path / "result.json"

    @property
    def record_file(self) -> Path:
        return self.path / "run.json"

    @property
    def extension_file(self) -> Path:
        """Names what an extension to more epochs wrote first and removes last (trivium.runs.extend)."""
        return self.path / "extension.json"

    @property
    def _lock_file(self) -> Path:
        return self.path / ".lock"

    @property
    def in_use(self) -> bool:
        """Tells whether a process works on the run now."""
        return is_taken(self._lock_file)

    @property
    def finished(self) -> bool:
        """Tells whether result.json is there, which is written last."""
        return self.result_file.is_file()

    def config(self) -> dict[str, Any]:
        """Returns the resolved config, keys by their names of today. Raises ValueError if there is no run here."""
        if not self.config_file.is_file():
            raise ValueError(f"{self.path}: no run here (no config.yaml)")
        return with_new_names(self._read(self.config_file, yaml.safe_load))

    def result(self) -> dict[str, Any]:
        """Returns result.json. Raises ValueError if the run is not finished."""
        if not self.finished:
            raise ValueError(f"{self.path}: not finished (no result.json); start it again with resume=auto")
        return self._read(self.result_file, json.loads)

    def record(self) -> dict[str, Any]:
        """Returns run.json: provenance, status, and the steps at which the run was resumed."""
        return self._read(self.record_file, json.loads)

    def model(self) -> dict[str, Any]:
        """Returns model.json: what `load_run` builds the method of, and the store that it was trained on."""
        return self._read(self.path / "model.json", json.loads)

    def _read(self, file: Path, parse: Callable[[str], Any]) -> dict[str, Any]:
        try:
            content = parse(file.read_text(encoding="utf-8"))
            if not isinstance(content, dict):
                raise ValueError(f"expected keys and values, found {content!r:.40}")
        except (ValueError, yaml.YAMLError) as error:
            reason = " ".join(str(error).split())
            raise ValueError(
                f"{file}: cannot be read ({reason}); copy it again, or delete {self.path} and repeat the run"
            ) from error
        return content

    def update_record(self, **values: Any) -> None:
        """Sets keys of run.json."""
        write_json(self.record_file, {**self.record(), **values})

    def try_lock(self) -> bool:
        """Takes the run's lock, and returns whether that succeeded.

        Of a run of several processes it is waited for: when the parent was killed, its workers need a moment to end.
        """
        lock = take(self._lock_file, _WORKERS_END if self._has_workers() else LOOK)
        self.lock = lock or self.lock
        return lock is not None

    def _has_workers(self) -> bool:
        return self.config_file.is_file() and self.config()["trainer"]["devices"] > 1

    def freeze(self, config: dict[str, Any]) -> None:
        """Writes config.yaml, which workers and `load_run` read."""
        write_text(self.config_file, yaml.safe_dump(config, sort_keys=False, allow_unicode=True))

    def discard_unstarted(self) -> None:
        """Removes what `open_run` wrote if nothing was trained: a refused config leaves no trace."""
        if self.record_file.is_file() and self.record()["status"] != "created":
            return
        for name in ("config.yaml", "overrides.yaml", "run.json", ".lock"):
            (self.path / name).unlink(missing_ok=True)
        for folder in (self.checkpoint.parent, self.path):
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()

    def release(self) -> None:
        """Gives the lock back."""
        if self.lock is not None:
            self.lock.close()
            self.lock = None
