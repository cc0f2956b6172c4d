"""Which directory a command works in: a new run's, one to go on with, or a finished one."""

from __future__ import annotations

import contextlib
import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from trivium.files import write_json, write_text
from trivium.runs.directory import RunDirectory
from trivium.runs.identity import config_hash, differences
from trivium.runs.provenance import git_commit, hardware, versions


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
        differing = ", ".join(differences(stored, config)) or "its structure"
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
