"""Makes the callbacks and the profiler of Lightning that trainer.callbacks and trainer.profiler name."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import (
    Callback,
    DeviceStatsMonitor,
    LearningRateMonitor,
    RichModelSummary,
    Timer,
)
from lightning.pytorch.profilers import AdvancedProfiler, Profiler, PyTorchProfiler, SimpleProfiler

from trivium.config.callbacks import OBSERVERS
from trivium.config.instantiate import build

_CALLBACKS: dict[str, type[Callback]] = {
    "lr_monitor": LearningRateMonitor,
    "device_stats": DeviceStatsMonitor,
    "timer": Timer,
    "model_summary": RichModelSummary,
}
_PROFILERS: dict[str, type[Profiler]] = {
    "simple": SimpleProfiler,
    "advanced": AdvancedProfiler,
    "pytorch": PyTorchProfiler,
}
assert tuple(_CALLBACKS) == OBSERVERS


class KeepHandler(Callback):
    """Puts the handler of SIGTERM that somebody else had set, such as submitit, into the place of Lightning's.

    Lightning's calls it too, but ends the training afterwards. handler: as signal.signal takes it.
    """

    def __init__(self, handler: Any) -> None:
        self._handler = handler

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        signal.signal(signal.SIGTERM, self._handler)


def make_callbacks(chosen: list[Any], accelerator: str) -> list[Callback]:
    """Returns the callbacks of trainer.callbacks: those of names, and of nodes whose `_target_` is this package's.

    Raises ValueError for a node that builds something else, and for a package that is missing.
    """
    if "device_stats" in chosen and accelerator == "cpu" and find_spec("psutil") is None:
        raise ValueError("trainer.callbacks: device_stats needs the package psutil on a CPU: pip install psutil")
    callbacks = []
    for entry in chosen:
        callback = build(entry) if isinstance(entry, Mapping) else _CALLBACKS[entry]()
        if not isinstance(callback, Callback):
            raise ValueError(
                f"trainer.callbacks: {entry['_target_']} is a {type(callback).__name__}; expected a callback of "
                "Lightning (lightning.pytorch.callbacks.Callback)"
            )
        callbacks.append(callback)
    return callbacks


def make_profiler(name: str, folder: Path) -> Profiler | None:
    """Returns the profiler of trainer.profiler, which writes its report into `folder`; None for "none"."""
    return _PROFILERS[name](dirpath=folder, filename="profile") if name in _PROFILERS else None
