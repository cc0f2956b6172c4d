"""Finds the directory that a command works in: a new one, that of an unfinished run to resume, or a finished run's."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from trivium.config.space import path_setting
from trivium.core.files import write_json, write_text
from trivium.core.wording import brief, shell_word
from trivium.runs.announce import Say, resumed_at, silent
from trivium.runs.config_hash import config_hash, differences, differing
from trivium.runs.directory import RunDirectory
from trivium.runs.extend import complete_extension, extend, is_extension, refuse_unless_exact
from trivium.runs.provenance import git_commit, hardware, versions
from trivium.runs.run_files import require_identified

# Where no unfinished run has the config: how many of the newest are compared with it, and how many keys are named.
MOST_COMPARED, MOST_NAMED = 20, 3


def open_run(
    config: dict[str, Any], overrides: list[str], default: Path | None = None, tell: Say = silent
) -> RunDirectory:
    """Returns the directory that this command works in, locked: a new one, or that of the run to resume.

    default: the directory of a new run if run.dir is empty (a folder of a sweep). tell: gets what is done about resume.
    Raises ValueError if the directory holds a run of another config, or one that is not to be resumed, or if another
    process uses it.
    """
    resume, run_dir = str(config["resume"]), str(config["run"]["dir"])
    if resume not in ("auto", "off"):
        run = RunDirectory(Path(resume).expanduser())
        if not run.config_file.is_file():
            raise ValueError(f"resume={resume}: no run there (no config.yaml); expected a run's directory, auto or off")
        return _resume(run, config, tell, overrides)
    if resume == "auto" and not run_dir and (unfinished := _newest_unfinished(config, tell)):
        return unfinished
    path = Path(run_dir).expanduser() if run_dir else default
    if path is None:
        return _create(_locked_or_removed(RunDirectory(_new_path(config))), config, overrides)
    run = RunDirectory(path)
    if not run.config_file.is_file():
        return _create(_lock(run), config, overrides)
    # The folder may hold a run already: a sweep can be repeated in its folder, and run.dir can be given twice.
    if resume == "off":
        raise ValueError(f"run.dir={path} holds a run already; resume it with resume=auto, or choose another run.dir")
    return _resume(run, config, tell)


def _resume(run: RunDirectory, config: dict[str, Any], tell: Say, longer: list[str] | None = None) -> RunDirectory:
    """Locks the run and returns it. With `longer`, the overrides of this command, the run may get more epochs.

    Raises ValueError, naming what differs, if it has another config.
    """
    stored = _config_of(run)
    if config_hash(stored) == config_hash(config):
        return _with_this_config(_lock(run), config, tell)
    if longer is not None and is_extension(stored, config):
        refuse_unless_exact(run, config)
        behind = extend(_lock(run), config, longer)
        tell("extend", f"{run.path}, of {behind} epochs, to {config['trainer']['max_epochs']}")
        return run
    different_keys = ", ".join(differences(stored, config)) or "its structure"
    alone = shell_word(path_setting("resume", run.path))
    advice = (
        f"Repeat that run's overrides ({run.path / 'overrides.yaml'}) or choose another run.dir"
        if longer is None
        else f"{alone} alone goes on with its own settings, and more epochs (trainer.max_epochs) may be added"
    )
    raise ValueError(f"{run.path} holds a run of another config; it differs in {different_keys}. {advice}")


def _with_this_config(run: RunDirectory, config: dict[str, Any], tell: Say) -> RunDirectory:
    """Writes this command's config over an unfinished run's, as it may name other devices, logger or data folder."""
    complete_extension(run)
    _refuse_late_audit(run, config)
    if not run.finished:
        if not config["run"].get("audit"):
            shutil.rmtree(run.epoch_weights(1).parent, ignore_errors=True)
        run.freeze(config)
        tell("resume", f"{run.path}, {resumed_at(run.checkpoint, config['trainer']['max_epochs'])}")
    return run


def _refuse_late_audit(run: RunDirectory, config: dict[str, Any]) -> None:
    """Raises ValueError if a run with epochs behind it is to be audited, and did not keep their weights."""
    behind = run.finished or run.checkpoint.is_file()
    if config["run"].get("audit") and behind and not run.config()["run"].get("audit"):
        raise ValueError(
            f"{run.path}: run.audit=true needs the weights of every epoch, and this run was begun without it; leave "
            "run.audit out, or train a new run"
        )


def _config_of(run: RunDirectory) -> dict[str, Any]:
    """Returns a run's config; that of the longer run if an extension of it was cut off."""
    if run.extension_file.is_file() and not run.finished:
        return dict(run.extension()["config"])
    config = run.config()
    require_identified(run.config_file, config)
    return config


def _lock(run: RunDirectory) -> RunDirectory:
    if not run.try_lock():
        raise ValueError(f"{run.path} is in use by another process; wait for it, or choose another run.dir")
    return run


def _locked_or_removed(run: RunDirectory) -> RunDirectory:
    """Locks a new run's folder, which is taken away again if that fails."""
    try:
        return _lock(run)
    except BaseException:
        run.discard_unstarted()
        raise


def _newest_unfinished(config: dict[str, Any], tell: Say) -> RunDirectory | None:
    outputs, this_hash = Path(config["paths"]["outputs"]), config_hash(config)
    unfinished: list[tuple[str, RunDirectory]] = []
    others: list[tuple[str, RunDirectory]] = []
    for file in (*outputs.glob("runs/*/run.json"), *outputs.glob("sweeps/*/*/run.json")):
        run = RunDirectory(file.parent)
        # A refused run may just have removed its files.
        with contextlib.suppress(FileNotFoundError):
            if run.finished:
                continue
            record = run.record()
            cut_off = run.extension_file.is_file() and config_hash(_config_of(run)) == this_hash
            same = cut_off or record.get("config_hash") == this_hash
            (unfinished if same else others).append((record.get("created", ""), run))
    for _, run in sorted(unfinished, key=lambda item: item[0], reverse=True):
        if run.try_lock():
            return _with_this_config(run, config, tell)
    tell("resume", "no unfinished run of this config" + _nearest(others, config))
    return None


def _nearest(others: list[tuple[str, RunDirectory]], config: dict[str, Any]) -> str:
    """Names the unfinished run whose config differs in the fewest keys, and three of them; "" if there is none."""
    nearest: tuple[RunDirectory, list[tuple[str, Any, Any]]] | None = None
    for _, run in sorted(others, key=lambda item: item[0], reverse=True)[:MOST_COMPARED]:
        # A damaged run is passed over.
        with contextlib.suppress(ValueError):
            keys = differing(_config_of(run), config)
            if nearest is None or len(keys) < len(nearest[1]):
                nearest = run, keys
    if nearest is None:
        return ""
    run, keys = nearest
    named = ", ".join(f"{key} ({brief(str(there))} -> {brief(str(now))})" for key, there, now in keys[:MOST_NAMED])
    more = f" and {len(keys) - MOST_NAMED} more" if len(keys) > MOST_NAMED else ""
    return f"; the nearest is {run.path}, which differs in {named}{more}"


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
