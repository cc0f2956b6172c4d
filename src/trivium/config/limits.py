"""Finds values that no run could use. Their types have been checked before. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from trivium.config.callbacks import wrong_callbacks
from trivium.config.generator_settings import settings_of
from trivium.config.monitor import monitor_of
from trivium.config.store_path import find_store
from trivium.config.trust import PACKAGE, check_modules, is_trusted, refusal
from trivium.core.choices import suggest

# The smallest value of each number that has one.
MINIMUM: dict[str, float] = {
    "seed": 0,
    "run.checkpoint_every": 0,
    "data.batch_size": 1,
    "data.eval_batch_size": 1,
    "trainer.max_epochs": 1,
    "trainer.patience": 0,
    "trainer.min_delta": 0,
    "trainer.devices": 1,
    "trainer.num_nodes": 1,
    "trainer.lost_after": 0,
    "trainer.accumulate_grad_batches": 1,
    "trainer.gradient_clip": 0,
    "trainer.threads": 0,
    "trainer.limit_batches": 0,
    "optimizer.lr": 0,
    "optimizer.weight_decay": 0,
}

# What a number may be in an encoder, fusion, objective or method of this package, by the last part of its key.
_SHARES = ("dropout", "label_smoothing")
_POSITIVE = ("temperature", "heads", "rank")


def out_of_range(config: Mapping[str, Any]) -> Iterator[str]:
    """Yields a line for each value that is too small, contradicts another or names what does not exist."""
    for key, minimum in MINIMUM.items():
        group, _, name = key.partition(".")
        node = config[group] if name else config
        if (name or key) not in node:
            # An optimiser of the user's own may have other keys.
            continue
        value = node[name or key]
        # Written with `not`, so that NaN is refused too.
        if not value >= minimum:
            yield f"{key}: expected at least {minimum:g}, found {value}"
    for group in ("encoder", "encoders", "fusion", "objective", "method"):
        yield from _impossible_numbers(config[group] or {}, f"{group}.")
    try:
        check_modules(config["trust"])
        yield from _foreign_targets(config, "", config["trust"])
    except ValueError as error:
        yield str(error)
    yield from wrong_callbacks(config)
    try:
        monitor_of(config)
    except ValueError as error:
        yield str(error)
    yield from _of_data(config["data"])
    resume, start = str(config["resume"]), str(config["start_from"])
    if resume not in ("auto", "off") and not Path(resume).is_dir():
        hint = suggest(resume, ["auto", "off"])
        yield f"resume: no run directory {resume!r}{hint}; expected auto, off or a run's directory"
    if start and not (Path(start) / "result.json").is_file():
        yield f"start_from: no result.json in {start!r}; expected a finished run's directory, or start_from= for none"


def _impossible_numbers(node: Mapping[str, Any], prefix: str, name: str = "") -> Iterator[str]:
    """Yields a line for each number that no part takes. name: of the setting, where the node holds it by modality."""
    if not str(node.get("_target_", PACKAGE)).startswith(PACKAGE):
        # The user's own parts may mean something else by these names.
        return
    for key, value in node.items():
        setting = name or key
        if isinstance(value, dict):
            yield from _impossible_numbers(value, f"{prefix}{key}.", key if "default" in value else "")
        elif isinstance(value, bool) or not isinstance(value, int | float):
            continue
        elif setting.endswith(_SHARES) and not 0 <= value <= 1:
            yield f"{prefix}{key}: expected a number from 0 to 1, found {value}"
        elif setting.endswith(_POSITIVE) and not value > 0:
            yield f"{prefix}{key}: expected a number above 0, found {value}"


def _foreign_targets(node: Mapping[str, Any], prefix: str, trusted: Sequence[str]) -> Iterator[str]:
    for name, value in node.items():
        if isinstance(value, dict):
            yield from _foreign_targets(value, f"{prefix}{name}.", trusted)
        elif isinstance(value, list):
            for entry in (entry for entry in value if isinstance(entry, dict)):
                yield from _foreign_targets(entry, f"{prefix}{name}.", trusted)
        elif name == "_target_" and not is_trusted(str(value), trusted):
            yield f"{prefix}{refusal(str(value))}"


def _of_data(data: Mapping[str, Any]) -> Iterator[str]:
    low_high = data["label_range"]
    if low_high and not (len(low_high) == 2 and low_high[0] < low_high[1]):
        yield f"data.label_range: expected [low, high] with low < high, or [], found {low_high}"
    if (data.get("fold") or 0) < 0:
        yield f"data.fold: expected a fold's number, 0 or more, found {data['fold']}"
    if not 0 < data.get("labelled", 1.0) <= 1:
        yield f"data.labelled: expected a share above 0 and at most 1, found {data['labelled']:g}"
    if not 0 <= data.get("label_noise", 0.0) <= 1:
        yield f"data.label_noise: expected a probability from 0 to 1, found {data['label_noise']:g}"
    names = data["modalities"]
    if len(set(names)) != len(names):
        yield f"data.modalities: a name occurs twice in {names}"
    try:
        settings_of(data)
    except ValueError as error:
        yield str(error)


def missing_files(config: Mapping[str, Any]) -> Iterator[str]:
    """Yields a line if the store that the run would read is not there."""
    try:
        find_store(config)
    except ValueError as error:
        yield str(error)
