"""Makes a run longer: `resume=DIR trainer.max_epochs=60` ends as a run of 60 epochs would have ended, bit for bit.

That holds where the first 30 epochs of 60 are those of 30. Where they are not, `refuse_unless_exact` says why.
An extension is decided by one file, extension.json, and then carried out; a process that is killed in between leaves
the shorter run as it was, or the longer one, unfinished.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path
from typing import Any

import yaml

from trivium.core.files import write_json, write_text
from trivium.core.wording import command
from trivium.runs.config_hash import config_hash, differing
from trivium.runs.directory import RunDirectory

_EPOCHS = "trainer.max_epochs"
# Schedules whose rates do not depend on how many epochs there are.
_ANY_LENGTH = ("constant", "plateau", "step")
# What was made of the shorter run's weights. Notes that lie beside it stay.
_OF_THE_RESULT = (
    "predictions.csv",
    "model.json",
    "audit.csv",
    "report.html",
    *(f"{name}*" for name in ("probe", "subsets", "rates", "noise", "shapley", "alignment", "evaluation")),
)
_NOT_COPIED = shutil.ignore_patterns("checkpoints", "epoch_weights", "wandb", "tb", ".*", "epochs_*", "extension.json")


def is_extension(stored: dict[str, Any], config: dict[str, Any]) -> bool:
    """Tells whether a config is a run's but for more epochs."""
    changes = differing(stored, config)
    return [key for key, _, _ in changes] == [_EPOCHS] and changes[0][2] > changes[0][1]


def refuse_unless_exact(run: RunDirectory, config: dict[str, Any]) -> None:
    """Raises ValueError, saying why, if a run of this config would not have begun as the shorter run did."""
    epochs, name = config["trainer"]["max_epochs"], str(config["scheduler"]["_target_"])
    anew = f"train a new run of {epochs} epochs"
    module, _, schedule = name.rpartition(".")
    if module != "trivium.schedulers":
        raise ValueError(f"{run.path} cannot be extended: {name} may go by trainer.max_epochs; {anew}")
    if schedule not in _ANY_LENGTH:
        raise ValueError(
            f"{run.path} cannot be extended: scheduler={schedule} shares its learning rates out over "
            f"trainer.max_epochs, so a run of {epochs} epochs has other rates from its first step on; {anew}"
        )
    if config["run"]["study"]:
        raise ValueError(f"{run.path} cannot be extended: it is a trial of a search, whose trials are compared; {anew}")
    if config["run"].get("audit"):
        raise ValueError(
            f"{run.path} cannot be extended with run.audit=true, which has removed the weights of its epochs; leave "
            f"run.audit out, or {anew}"
        )
    if not run.checkpoint.is_file():
        if run.finished:
            raise ValueError(f"{run.path} cannot be extended: {run.checkpoint} is gone; {anew}")
        return
    recorded = _recorded(run)
    if recorded["stopped"]:
        raise ValueError(
            f"{run.path} cannot be extended: early stopping ended it after epoch {len(recorded['history'])}, as it "
            f"would end a run of {epochs} epochs (trainer.patience={config['trainer']['patience']})"
        )


def extend(run: RunDirectory, config: dict[str, Any], overrides: list[str]) -> int:
    """Turns a run, which is locked, into the unfinished run of a longer config; returns the epochs behind it.

    A finished run stays as it was in its folder epochs_N, which is a run directory of its own.
    """
    epochs = len(_recorded(run)["history"]) if run.checkpoint.is_file() else 0
    if run.finished:
        _keep_copy(run, run.path / f"epochs_{run.config()['trainer']['max_epochs']}")
    words = [word for word in overrides if not word.startswith("resume=")]
    record = run.record()
    write_json(
        run.extension_file,
        {
            "config": config,
            "overrides": words,
            "record": {
                "config_hash": config_hash(config),
                "first_config_hash": record.get("first_config_hash", record.get("config_hash", "")),
                "extended_at": [*record.get("extended_at", []), epochs],
                "command": command("train", *words),
                "status": "interrupted",
                "unsent": "",
            },
        },
    )
    # From here on it is the longer run.
    run.result_file.unlink(missing_ok=True)
    complete_extension(run)
    return epochs


def complete_extension(run: RunDirectory) -> None:
    """Carries out the rest of an extension that a kill cut off; does nothing for other runs. The run is locked."""
    if not run.extension_file.is_file():
        return
    if not run.finished:
        wanted = run.extension()
        for file in (file for pattern in _OF_THE_RESULT for file in run.path.glob(pattern)):
            shutil.rmtree(file) if file.is_dir() else file.unlink()
        write_text(run.path / "overrides.yaml", yaml.safe_dump(wanted["overrides"], sort_keys=False))
        run.update_record(**wanted["record"])
        run.freeze(wanted["config"])
    run.extension_file.unlink()


def _recorded(run: RunDirectory) -> dict[str, Any]:
    # torch takes seconds to import.
    from trivium.runs.checkpointing import load_checkpoint

    return dict(load_checkpoint(run.checkpoint)["callbacks"]["Recorder"])


def _keep_copy(run: RunDirectory, copy: Path) -> None:
    """Copies a finished run without its checkpoint; whole or not at all."""
    part = run.path / f".{copy.name}.part"
    # They may be there with the same content, of an attempt that was cut off.
    for folder in (part, copy):
        shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(run.path, part, ignore=_NOT_COPIED, copy_function=_link)
    os.rename(part, copy)


def _link(source: str, target: str) -> None:
    """Links a file: the run's files are replaced and never written into, so both names keep what they have."""
    with contextlib.suppress(OSError):
        os.link(source, target)
        return
    shutil.copy2(source, target)
