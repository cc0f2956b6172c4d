"""A run lives in one directory that is its full record: docs/architecture.md lists what it holds."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import yaml

from trivium.config.renamed import with_new_names
from trivium.files import write_json, write_text
from trivium.locks import LOOK, is_taken, take

_WORKERS_END = 10.0  # seconds that workers may need to be gone after their parent was killed


@dataclass
class RunDirectory:
    """Paths of a run, and what its files hold. `lock` is held for as long as this process works on it.

    Reading raises ValueError naming the file that is damaged.
    """

    path: Path
    lock: IO[bytes] | None = field(default=None, repr=False)

    @property
    def config_file(self) -> Path:
        return self.path / "config.yaml"

    @property
    def checkpoint(self) -> Path:
        """The resumable state, newest only."""
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
    def _lock_file(self) -> Path:
        return self.path / ".lock"

    @property
    def in_use(self) -> bool:
        """Whether a process works on the run now."""
        return is_taken(self._lock_file)

    @property
    def finished(self) -> bool:
        """result.json is written last."""
        return self.result_file.is_file()

    def config(self) -> dict[str, Any]:
        """Returns the resolved config, keys by their names of today. Raises ValueError if there is no run here."""
        if not self.config_file.is_file():
            raise ValueError(f"{self.path}: no run here (no config.yaml)")
        return with_new_names(self._read(self.config_file, yaml.safe_load))

    def result(self) -> dict[str, Any]:
        """result.json. Raises ValueError if the run is not finished."""
        if not self.finished:
            raise ValueError(f"{self.path}: not finished (no result.json); start it again with resume=auto")
        return self._read(self.result_file, json.loads)

    def record(self) -> dict[str, Any]:
        """run.json: provenance, and the steps at which the run was resumed."""
        return self._read(self.record_file, json.loads)

    def model(self) -> dict[str, Any]:
        """model.json: what `load_run` builds a finished run's method of, and the store that it was trained on."""
        return self._read(self.path / "model.json", json.loads)

    def _read(self, file: Path, parse: Callable[[str], Any]) -> dict[str, Any]:
        try:
            found = parse(file.read_text(encoding="utf-8"))
            if not isinstance(found, dict):
                raise ValueError(f"expected keys and values, found {found!r:.40}")
        except (ValueError, yaml.YAMLError) as error:
            said = " ".join(str(error).split())
            raise ValueError(
                f"{file}: cannot be read ({said}); copy it again, or delete {self.path} and repeat the run"
            ) from error
        return found

    def update_record(self, **values: Any) -> None:
        write_json(self.record_file, {**self.record(), **values})

    def try_lock(self) -> bool:
        """Whether this process is now the only one on the run.

        A run of several processes is waited for: when its parent was killed, its workers need a moment to end.
        """
        lock = take(self._lock_file, _WORKERS_END if self._has_workers() else LOOK)
        self.lock = lock or self.lock
        return lock is not None

    def _has_workers(self) -> bool:
        return self.config_file.is_file() and self.config()["trainer"]["devices"] > 1

    def freeze(self, config: dict[str, Any]) -> None:
        """config.yaml, which workers and `load_run` read: what this command composed."""
        write_text(self.config_file, yaml.safe_dump(config, sort_keys=False, allow_unicode=True))

    def discard_unstarted(self) -> None:
        """Remove what `open_run` wrote if nothing was trained: a refused config leaves no trace."""
        if self.record_file.is_file() and self.record()["status"] != "created":
            return
        for name in ("config.yaml", "overrides.yaml", "run.json", ".lock"):
            (self.path / name).unlink(missing_ok=True)
        for folder in (self.checkpoint.parent, self.path):
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()

    def release(self) -> None:
        if self.lock is not None:
            self.lock.close()
            self.lock = None
