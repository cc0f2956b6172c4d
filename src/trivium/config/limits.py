"""Values of the right type that no run could use. Called after the types have been checked; imports no torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from trivium.config.instantiate import ALLOWED
from trivium.config.monitor import monitor_of
from trivium.config.nearest import suggest
from trivium.data.generator_settings import settings_of
from trivium.data.locate import find_store

# Smallest value of each number that has one.
LEAST: dict[str, float] = {
    "seed": 0,
    "run.checkpoint_every": 0,
    "data.batch_size": 1,
    "data.eval_batch_size": 1,
    "trainer.max_epochs": 1,
    "trainer.patience": 0,
    "trainer.min_delta": 0,
    "trainer.devices": 1,
    "trainer.num_nodes": 1,
    "trainer.accumulate_grad_batches": 1,
    "trainer.gradient_clip": 0,
    "trainer.threads": 0,
    "trainer.limit_batches": 0,
    "optimizer.lr": 0,
    "optimizer.weight_decay": 0,
}


def out_of_range(config: Mapping[str, Any]) -> Iterator[str]:
    """One line for each value that is too small, contradicts another or names what does not exist."""
    for key, least in LEAST.items():
        group, _, name = key.partition(".")
        value = config[group][name] if name else config[group]
        if not value >= least:  # also catches NaN
            yield f"{key}: expected at least {least:g}, found {value}"
    yield from _foreign_targets(config, "")
    yield from _of_monitor(config)
    yield from _of_data(config["data"])
    yield from _of_resume(str(config["resume"]))
    start = str(config["start_from"])
    if start and not (Path(start) / "result.json").is_file():
        yield f"start_from: no result.json in {start!r}; expected a finished run's directory, or nothing"


def _foreign_targets(node: Mapping[str, Any], at: str) -> Iterator[str]:
    for name, value in node.items():
        if isinstance(value, dict):
            yield from _foreign_targets(value, f"{at}{name}.")
        elif name == "_target_" and not str(value).startswith(ALLOWED):
            yield f"{at}_target_: {value!r} is refused; only names below {ALLOWED!r} may be built from a config"


def _of_monitor(config: Mapping[str, Any]) -> Iterator[str]:
    try:
        monitor_of(config)
    except ValueError as error:
        yield str(error)


def _of_data(data: Mapping[str, Any]) -> Iterator[str]:
    low_high = data["label_range"]
    if low_high and not (len(low_high) == 2 and low_high[0] < low_high[1]):
        yield f"data.label_range: expected [low, high] with low < high, or [], found {low_high}"
    names = data["modalities"]
    if len(set(names)) != len(names):
        yield f"data.modalities: a name occurs twice in {names}"
    try:
        settings_of(data)
    except ValueError as error:
        yield str(error)


def _of_resume(resume: str) -> Iterator[str]:
    if resume not in ("auto", "off") and not Path(resume).is_dir():
        yield f"resume: no run directory {resume!r}{suggest(resume, ['auto', 'off'])}; expected auto, off or one"


def missing_files(config: Mapping[str, Any]) -> Iterator[str]:
    """One line if the store that the run would read is not there."""
    try:
        find_store(config)
    except ValueError as error:
        yield str(error)
