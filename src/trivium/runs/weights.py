"""Writes a model's weights whole or not at all, and reads them; without Lightning, as loading a run needs none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import safetensors
from safetensors.torch import load_file, save
from torch import nn

from trivium.core.files import atomic_file
from trivium.core.structure import parse_json


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
    if not path.is_file():
        # A pipe in its place would be waited for without end.
        raise ValueError(f"{path}: {'no file' if path.exists() else 'not there'}; copy the run's directory whole")
    try:
        with safetensors.safe_open(path, "pt") as file:
            notes: dict[str, Any] = dict(parse_json((file.metadata() or {}).get("trivium", "{}")))
        module.load_state_dict(load_file(path))
    except (OSError, RuntimeError, ValueError, TypeError, safetensors.SafetensorError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"{path}: cannot be read as this model's weights: {reason}") from error
    return notes
