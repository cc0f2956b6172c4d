"""Says what trainer.callbacks may hold. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from trivium.core.choices import suggest

# Callbacks of Lightning that look on and change no number; a run's hash leaves them out.
OBSERVERS = ("lr_monitor", "device_stats", "timer", "model_summary")
# Those that write to wandb or TensorBoard, and to nothing else.
_NEED_A_LOGGER = ("lr_monitor", "device_stats")


def wrong_callbacks(config: Mapping[str, Any]) -> Iterator[str]:
    """Yields a line for each entry of trainer.callbacks that is neither a name nor a node, or that lacks a logger."""
    for entry in config["trainer"]["callbacks"]:
        if isinstance(entry, Mapping):
            if "_target_" not in entry:
                yield f"trainer.callbacks: expected a name or a node with _target_, found {dict(entry)!r}"
        elif entry not in OBSERVERS:
            yield (
                f"trainer.callbacks: no callback {entry!r}{suggest(str(entry), OBSERVERS)}; expected "
                f"{', '.join(OBSERVERS)}, or a node with _target_"
            )
        elif entry in _NEED_A_LOGGER and not has_logger(config):
            yield f"trainer.callbacks: {entry} writes to a logger alone; add logger=tensorboard or logger=wandb"


def has_logger(config: Mapping[str, Any]) -> bool:
    """Tells whether the run has a logger beside metrics.csv."""
    return bool(config["logger"].get("send_to")) or "_target_" in config["logger"]


def that_decide(callbacks: Sequence[Any]) -> list[Any]:
    """Returns the entries that may change a run's numbers: nodes, whose code is a user's own."""
    return [entry for entry in callbacks if isinstance(entry, Mapping)]
