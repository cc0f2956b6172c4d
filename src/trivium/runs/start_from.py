"""Begins a training with another run's encoders and fusion (start_from): fine-tuning after a pretraining."""

from __future__ import annotations

import warnings
from pathlib import Path

import safetensors
from safetensors.torch import load_file
from torch import Tensor

from trivium.encoders.old_names import with_current_names
from trivium.methods.base import Method
from trivium.runs.directory import RunDirectory


def start_from(method: Method, path: Path) -> None:
    """Puts the encoders' weights of the finished run at `path` into `method`, and its fusion's if that is the same.

    Heads and banks stay as they are. Warns if the fusion is another, or has its modalities in another order, which
    fusions go by. Raises ValueError, naming the run and the first weight that differs, if an encoder is another.
    """
    run = RunDirectory(path)
    try:
        saved = with_current_names(method, load_file(run.weights))
    except (OSError, safetensors.SafetensorError) as error:
        raise ValueError(f"start_from: {run.weights}: cannot be read as a run's weights ({error})") from error
    weights = method.state_dict()
    encoders = _below(weights, "encoders.")
    differs = _first_difference(encoders, saved)
    if differs:
        raise ValueError(f"start_from: {path}: {differs}; both runs need the same encoders on the same features")
    chosen = list(encoders)
    fusion = _below(weights, "fusion.")
    order = list(run.model()["reads"])
    differs = (
        f"modalities are {order} there and {list(method.encoders)} here"
        if order != list(method.encoders)
        else _first_difference(fusion, saved) or _first_difference(_below(saved, "fusion."), fusion)
    )
    if differs:
        warnings.warn(f"start_from: the fusion begins anew, as {path} has another one ({differs})", stacklevel=2)
    else:
        chosen += list(fusion)
    method.load_state_dict({name: saved[name].to(weights[name].dtype) for name in chosen}, strict=False)


def _below(weights: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name: value for name, value in weights.items() if name.startswith(prefix)}


def _first_difference(needed: dict[str, Tensor], saved: dict[str, Tensor]) -> str:
    """Returns a line for the first of `needed` that `saved` lacks or has in another shape, "" if there is none."""
    for name, value in needed.items():
        if name not in saved:
            return f"no {name}"
        if saved[name].shape != value.shape:
            return f"{name} is {tuple(saved[name].shape)} there and {tuple(value.shape)} here"
    return ""
