"""Finds the directory that a command works in: a new one, that of an unfinished run to resume, or a finished run's."""

from __future__ import annotations

import contextlib
import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from trivium.core.files import write_json, write_text
from trivium.runs.config_hash import config_hash, differences
from trivium.runs.directory import RunDirectory
from trivium.runs.provenance import git_commit, hardware, versions


def open_run(config: dict[str, Any], overrides: list[str], default: Path | None = None) -> RunDirectory:
    """Returns the directory that this command works in, locked: a new one, or that of the run to resume.

    default: the directory of a new run if run.dir is empty (a folder of a sweep). Raises ValueError if the directory
    holds a run of another config, or one that is not to be resumed, or if another process uses it.
    """
    resume, run_dir = str(config["resume"]), str(config["run"]["dir"])
    if resume not in ("auto", "off"):
        run = RunDirectory(Path(resume))
        if not run.config_file.is_file():
            raise ValueError(f"resume={resume}: no run there (no config.yaml); expected a run's directory, auto or off")
        return _resume(run, config)
    if resume == "auto" and not run_dir and (unfinished := _newest_unfinished(config)):
        return unfinished
    path = Path(run_dir) if run_dir else default
    if path is None:
        return _create(_lock(RunDirectory(_new_path(config))), config, overrides)
    run = RunDirectory(path)
    if not run.config_file.is_file():
        return _create(_lock(run), config, overrides)
    # The folder may hold a run already: a sweep can be repeated in its folder, and run.dir can be given twice.
    if resume == "off":
        raise ValueError(f"run.dir={path} holds a run already; resume it with resume=auto, or choose another run.dir")
    return _resume(run, config)


def _resume(run: RunDirectory, config: dict[str, Any]) -> RunDirectory:
    """Locks the run and returns it. Raises ValueError, naming what differs, if it has another config."""
    stored = run.config()
    if config_hash(stored) != config_hash(config):
        different_keys = ", ".join(differences(stored, config)) or "its structure"
        raise ValueError(
            f"{run.path} holds a run of another config; it differs in {different_keys}. Repeat that run's overrides "
            f"({run.path / 'overrides.yaml'}) or choose another run.dir"
        )
    return _with_this_config(_lock(run), config)


def _with_this_config(run: RunDirectory, config: dict[str, Any]) -> RunDirectory:
    """Writes this command's config over an unfinished run's, as it may name other devices, logger or data folder."""
    if not run.finished:
        run.freeze(config)
    return run


def _lock(run: RunDirectory) -> RunDirectory:
    if not run.try_lock():
        raise ValueError(f"{run.path} is in use by another process; wait for it, or choose another run.dir")
    return run


def _newest_unfinished(config: dict[str, Any]) -> RunDirectory | None:
    outputs, this_hash = Path(config["paths"]["outputs"]), config_hash(config)
    unfinished = []
    for file in (*outputs.glob("runs/*/run.json"), *outputs.glob("sweeps/*/*/run.json")):
        run = RunDirectory(file.parent)
        # A refused run may just have removed its files.
        with contextlib.suppress(FileNotFoundError):
            record = run.record()
            if record["config_hash"] == this_hash and not run.finished:
                unfinished.append((record["created"], run))
    candidates = (run for _, run in sorted(unfinished, key=lambda item: item[0], reverse=True))
    return next((_with_this_config(run, config) for run in candidates if run.try_lock()), None)


def _new_path(config: dict[str, Any]) -> Path:
    """Returns a new run's folder, and makes it at once, so that two runs that begin in one second have one each."""
    time = datetime.now().strftime("%Y%m%d-%H%M%S")
    name = f"{config['method']['name']}_{config['data']['name']}_s{config['seed']}_{time}_{config_hash(config)[:6]}"
    path = Path(config["paths"]["outputs"]) / "runs" / name
    try:
        path.mkdir(parents=True)
    except FileExistsError:
        path = path.with_name(f"{name}_{os.getpid()}")
    return path


def _create(run: RunDirectory, config: dict[str, Any], overrides: list[str]) -> RunDirectory:
    try:
        _begin(run, config, overrides)
    except BaseException:
        # The disk may be full, for instance.
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
    # The config is written last: a directory with a config.yaml is a run, and one without counts as empty.
    run.freeze(config)
