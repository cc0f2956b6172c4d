"""Reads and writes the directory that is a run's full record; the README lists its files."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import yaml

from trivium.core.files import write_json, write_text
from trivium.core.locks import SHORT_WAIT, is_taken, take
from trivium.runs.run_files import read_config, read_extension, read_model, read_overrides, read_record, read_result

# The seconds that workers may need to end after their parent was killed.
_WORKERS_END = 10.0


@dataclass
class RunDirectory:
    """Reads and writes the files of a run's directory. Reading raises ValueError naming a file that is damaged.

    lock: the locked file, open for as long as this process works on the run.
    """

    path: Path
    lock: IO[bytes] | None = field(default=None, repr=False)
    # Device and number of the folder that this process works in.
    _folder: tuple[int, int] | None = field(default=None, repr=False, compare=False)

    @property
    def config_file(self) -> Path:
        return self.path / "config.yaml"

    @property
    def checkpoint(self) -> Path:
        """Returns the path of the newest state to resume from."""
        return self.path / "checkpoints" / "last.ckpt"

    @property
    def weights(self) -> Path:
        return self.path / "weights.safetensors"

    @property
    def result_file(self) -> Path:
        return self.path / "result.json"

    @property
    def audit_file(self) -> Path:
        """Names the test metrics of each epoch (run.audit=true; trivium.runs.audit)."""
        return self.path / "audit.csv"

    def epoch_weights(self, epoch: int) -> Path:
        """Returns the path of an epoch's weights, which are kept until the audit has scored them."""
        return self.path / "epoch_weights" / f"{epoch}.safetensors"

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
        """Returns the resolved config, with keys by their current names. Raises ValueError if there is no run here."""
        if not self.config_file.is_file():
            raise ValueError(f"{self.path}: no run here (no config.yaml)")
        return read_config(self.config_file)

    def result(self) -> dict[str, Any]:
        """Returns result.json. Raises ValueError if the run is not finished."""
        if not self.finished:
            raise ValueError(f"{self.path}: not finished (no result.json); start it again with resume=auto")
        return read_result(self.result_file)

    def record(self) -> dict[str, Any]:
        """Returns run.json: provenance, status, and the steps at which the run was resumed."""
        return read_record(self.record_file)

    def model(self) -> dict[str, Any]:
        """Returns model.json, from which `load_run` builds the method, and which names the store of the training."""
        return read_model(self.path / "model.json")

    def extension(self) -> dict[str, Any]:
        """Returns extension.json: config, overrides and record of the longer run."""
        return read_extension(self.extension_file)

    def overrides(self) -> list[str]:
        """Returns the words of the command that trains the run again."""
        return read_overrides(self.path / "overrides.yaml")

    def hold(self) -> None:
        """Remembers which folder lies at the path now, for `refuse_if_replaced`."""
        self._folder = _identity(self.path)

    def refuse_if_replaced(self) -> None:
        """Raises ValueError if the folder that this process works in was removed, or another one lies at its path.

        What is written then would mix two runs. A process that works on no run is never refused.
        """
        if self._folder is not None and _identity(self.path) != self._folder:
            raise ValueError(
                f"{self.path}: the run's folder was removed or replaced while it trained; nothing was written since "
                f"then. Move it back there and go on with resume={self.path}, or repeat the run"
            )

    def update_record(self, **values: Any) -> None:
        """Sets keys of run.json. Raises ValueError if the run's folder is another one meanwhile."""
        self.refuse_if_replaced()
        write_json(self.record_file, {**self.record(), **values})

    def try_lock(self) -> bool:
        """Takes the run's lock, and returns whether that succeeded.

        It waits for the lock of a run with several processes, as its workers need a moment to end when their parent was
        killed.
        """
        has_workers = self.config_file.is_file() and self.config().get("trainer", {}).get("devices", 1) > 1
        lock = take(self._lock_file, _WORKERS_END if has_workers else SHORT_WAIT)
        self.lock = lock or self.lock
        if lock is not None:
            self.hold()
        return lock is not None

    def freeze(self, config: dict[str, Any]) -> None:
        """Writes config.yaml, which workers and `load_run` read."""
        write_text(self.config_file, yaml.safe_dump(config, sort_keys=False, allow_unicode=True))

    def discard_unstarted(self) -> None:
        """Removes the files of `open_run` if nothing was trained, so that a refused config leaves no trace."""
        if self._folder is not None and _identity(self.path) != self._folder:
            return
        if self.record_file.is_file() and self.record().get("status") != "created":
            return
        for name in ("config.yaml", "overrides.yaml", "run.json", ".lock"):
            (self.path / name).unlink(missing_ok=True)
        for folder in (self.checkpoint.parent, self.path):
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()

    def release(self) -> None:
        """Releases the lock, if this process has it."""
        if self.lock is not None:
            self.lock.close()
            self.lock = None


def run_folders(folder: Path) -> list[Path]:
    """Returns the folders of all runs anywhere beneath a folder, or itself. Those removed meanwhile are passed over."""
    # Path.rglob raises FileNotFoundError for a folder that vanishes while it looks into it.
    return sorted(Path(path) for path, _, files in os.walk(folder) if "config.yaml" in files)


def _identity(folder: Path) -> tuple[int, int] | None:
    """Returns the device and number of a folder, None if it is not there."""
    try:
        status = folder.stat()
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino
