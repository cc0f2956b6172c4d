"""Writes checkpoints and weights whole or not at all, and reads them without executing anything in them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import safetensors
import torch
from lightning.fabric.plugins.io import CheckpointIO
from safetensors.torch import load_file, save
from torch import nn

from trivium.core.files import atomic_file


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


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Returns a checkpoint's content on the CPU, memory-mapped. Raises ValueError naming a file that is damaged."""
    try:
        content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:
        raise ValueError(f"{path}: cannot be read as a checkpoint ({error})") from error
    return content


def save_weights(module: nn.Module, path: Path, **notes: Any) -> None:
    """Writes the module's weights as safetensors, atomically; `notes` go into the file's metadata."""
    # All notes are JSON under one key, because safetensors writes several keys in no fixed order, and equal weights
    # should be equal files.
    tensors = {name: value.detach().cpu().contiguous().clone() for name, value in module.state_dict().items()}
    with atomic_file(path) as file:
        file.write(save(tensors, metadata={"trivium": json.dumps(notes)}))


def load_weights(module: nn.Module, path: Path) -> dict[str, Any]:
    """Puts safetensors weights into `module`, and returns the file's notes.

    Raises ValueError naming the file if it is missing, damaged, or holds another model.
    """
    try:
        with safetensors.safe_open(path, "pt") as file:
            notes: dict[str, Any] = json.loads((file.metadata() or {}).get("trivium", "{}"))
        module.load_state_dict(load_file(path))
    except (OSError, RuntimeError, safetensors.SafetensorError) as error:
        raise ValueError(f"{path}: cannot be read as this model's weights: {error}") from error
    return notes
