"""Writes checkpoints whole or not at all, and reads them without executing anything in them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.io import CheckpointIO

from trivium.core.files import atomic_file
from trivium.core.structure import Keys, require


class AtomicCheckpointIO(CheckpointIO):
    """Saves to a file that appears when it is complete, and loads with weights_only=True."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        with atomic_file(path) as file:
            torch.save(checkpoint, file)

    def load_checkpoint(
        self, path: Any, map_location: Callable[..., Any] | None = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        return load_checkpoint(Path(path))

    def remove_checkpoint(self, path: Any) -> None:
        Path(path).unlink(missing_ok=True)


# What is read of a checkpoint before Lightning takes it.
_ROWS = [Keys(other=float)]
_RECORDER = Keys({"history": _ROWS, "stopped": bool}, {"steps": _ROWS, "best_epoch": int, "seconds": float})
_CONTENT = Keys({"global_step": int, "state_dict": dict, "callbacks": Keys({"Recorder": _RECORDER})})


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Returns a checkpoint's content on the CPU, memory-mapped.

    Raises ValueError naming a file that is damaged, or that is no checkpoint of a run.
    """
    try:
        content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:
        raise ValueError(f"{path}: cannot be read as a checkpoint ({' '.join(str(error).split()):.300})") from error
    require(content, _CONTENT, f"{path}: no checkpoint of a run")
    return content
