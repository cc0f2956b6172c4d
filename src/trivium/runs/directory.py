"""A run lives in one directory that is its full record; this finds, names and locks it.

docs/architecture.md lists what it holds.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import IO, Any

import yaml

import trivium
from trivium.files import write_json, write_text
from trivium.locks import LOOK, is_taken, take

_VERSIONS = ("torch", "lightning", "hydra-core", "omegaconf", "torchmetrics", "h5py", "numpy", "transformers")
_NOT_HASHED = ("run", "resume", "paths", "logger")
_WORKERS_END = 10.0  # seconds that workers may need to be gone after their parent was killed
_NOT_HASHED_TRAINER = ("devices", "num_nodes", "accelerator", "strategy", "progress")


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
        """The resolved config. Raises ValueError if the directory holds no run."""
        if not self.config_file.is_file():
            raise ValueError(f"{self.path}: no run here (no config.yaml)")
        return self._read(self.config_file, yaml.safe_load)

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


def config_hash(config: dict[str, Any]) -> str:
    """sha256 of the resolved config without what changes no number: run, resume, paths, logger, _NOT_HASHED_TRAINER."""
    return hashlib.sha256(json.dumps(hashed_part(config), sort_keys=True).encode()).hexdigest()


def hashed_part(config: dict[str, Any]) -> dict[str, Any]:
    """What of a config decides about a run's numbers."""
    kept = {key: value for key, value in config.items() if key not in _NOT_HASHED}
    kept["trainer"] = {key: value for key, value in config["trainer"].items() if key not in _NOT_HASHED_TRAINER}
    floats: dict[str, Any] = _as_floats(kept)
    return floats


def dotted(config: Mapping[str, Any], where: str = "") -> dict[str, Any]:
    """Dotted key -> value of everything in it; lists stay whole."""
    found: dict[str, Any] = {}
    for key, value in config.items():
        found |= dotted(value, f"{where}{key}.") if isinstance(value, Mapping) and value else {f"{where}{key}": value}
    return found


def _as_floats(value: Any) -> Any:
    """lr=1 and lr=1.0 are one config."""
    if isinstance(value, dict):
        return {key: _as_floats(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_as_floats(item) for item in value]
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def open_run(config: dict[str, Any], overrides: list[str], default: Path | None = None) -> RunDirectory:
    """The directory that this command works in, locked: a new one, or the one to resume (or already finished).

    default: where a new run goes when run.dir is empty (a sweep's folder). Raises ValueError if the directory holds
    another config's run, or a run that is not to be resumed, or is in use.
    """
    wish, given = str(config["resume"]), str(config["run"]["dir"])
    if wish not in ("auto", "off"):
        return _go_on(_lock(_same_config(RunDirectory(Path(wish)), config, must_exist=True)), config)
    found = _newest_unfinished(config) if wish == "auto" and not given else None
    if found is not None:
        return found
    chosen = Path(given) if given else default  # a sweep's folder may have been used before, as run.dir may
    if chosen is not None:
        run = RunDirectory(chosen)
        if run.config_file.is_file():
            if wish == "off":
                raise ValueError(
                    f"run.dir={chosen} holds a run already; resume=auto goes on with it, another run.dir starts anew"
                )
            return _go_on(_lock(_same_config(run, config)), config)
        return _create(_lock(run), config, overrides)
    return _create(_lock(RunDirectory(_new_path(config))), config, overrides)


def _same_config(run: RunDirectory, config: dict[str, Any], must_exist: bool = False) -> RunDirectory:
    if must_exist and not run.config_file.is_file():
        raise ValueError(f"resume={run.path}: no run there (no config.yaml); give a run's directory, auto or off")
    stored = run.config()
    if config_hash(stored) != config_hash(config):
        differing = ", ".join(_differences(stored, config)) or "its structure"
        raise ValueError(
            f"{run.path} holds a run of another config; it differs in {differing}. Repeat that run's overrides "
            f"({run.path / 'overrides.yaml'}) or choose another run.dir"
        )
    return run


def _go_on(run: RunDirectory, config: dict[str, Any]) -> RunDirectory:
    """Of the same hash, but perhaps on other devices, or with data or logger elsewhere: this command's are used."""
    if not run.finished:
        run.freeze(config)
    return run


def _differences(a: Any, b: Any, where: str = "") -> list[str]:
    if isinstance(a, dict) and isinstance(b, dict):
        skip = {"": _NOT_HASHED, "trainer.": _NOT_HASHED_TRAINER}.get(where, ())
        keys = [key for key in {**a, **b} if key not in skip]
        return [d for key in keys for d in _differences(a.get(key), b.get(key), f"{where}{key}.")]
    return [] if a == b else [f"{where[:-1]} ({a!r} there, {b!r} now)"]


def _lock(run: RunDirectory) -> RunDirectory:
    if not run.try_lock():
        raise ValueError(f"{run.path} is in use by another process; wait for it, or choose another run.dir")
    return run


def _newest_unfinished(config: dict[str, Any]) -> RunDirectory | None:
    outputs, wanted = Path(config["paths"]["outputs"]), config_hash(config)
    candidates = [*outputs.glob("runs/*/run.json"), *outputs.glob("sweeps/*/*/run.json")]
    found = []
    for run in (RunDirectory(file.parent) for file in candidates):
        with contextlib.suppress(FileNotFoundError):  # a refused run has just taken its files back
            record = run.record()
            if record["config_hash"] == wanted and not run.finished:
                found.append((record["created"], run))
    newest_first = (run for _, run in sorted(found, key=lambda one: one[0], reverse=True))
    return next((_go_on(run, config) for run in newest_first if run.try_lock()), None)


def _new_path(config: dict[str, Any]) -> Path:
    """Made here, so that of two runs that begin in one second each has its own."""
    now = datetime.now().strftime("%Y%m%d-%H%M%S")
    name = f"{config['method']['name']}_{config['data']['name']}_s{config['seed']}_{now}_{config_hash(config)[:6]}"
    path = Path(config["paths"]["outputs"]) / "runs" / name
    try:
        path.mkdir(parents=True)
    except FileExistsError:
        path = path.with_name(f"{name}_{os.getpid()}")
    return path


def _create(run: RunDirectory, config: dict[str, Any], overrides: list[str]) -> RunDirectory:
    try:
        _begin(run, config, overrides)
    except BaseException:  # a full disk, say
        run.discard_unstarted()
        raise
    return run


def _begin(run: RunDirectory, config: dict[str, Any], overrides: list[str]) -> None:
    run.checkpoint.parent.mkdir(parents=True, exist_ok=True)
    write_text(run.path / "overrides.yaml", yaml.safe_dump(overrides, sort_keys=False))
    record = {
        "created": datetime.now(UTC).isoformat(),
        "command": " ".join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "seed": config["seed"],
        "config_hash": config_hash(config),
        "git_commit": git_commit(),
        "versions": versions(),
        "hardware": hardware(),
        "resumed_at": [],
        "status": "created",
    }
    write_json(run.record_file, record)
    # The config last: a directory with a config.yaml is a run, one without is an empty folder to start in.
    run.freeze(config)


def git_commit() -> str | None:
    """The commit of the checkout that trivium runs from, with "-dirty" if tracked files differ; None without git."""
    root = Path(trivium.__file__).parents[2]

    def git(*words: str) -> str | None:
        try:
            done = subprocess.run(["git", "-C", str(root), *words], capture_output=True, text=True, check=False)
        except FileNotFoundError:
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    commit = git("rev-parse", "HEAD")
    return commit and commit + ("-dirty" if git("status", "--porcelain", "--untracked-files=no") else "")


def versions() -> dict[str, str]:
    """Python's and the main libraries' versions, of those installed."""
    found = {"python": platform.python_version(), "trivium": trivium.__version__}
    for name in _VERSIONS:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue  # transformers is optional
    return found


def hardware() -> dict[str, Any]:
    """Host, processor and accelerators, as far as they decide about speed and bits."""
    import torch

    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return {
        "machine": platform.machine(),
        "system": platform.platform(),
        "cpus": os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
        "gpus": gpus,
    }
