"""Training that begins with another run's encoders and fusion (start_from): fine-tuning after a pretraining."""

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
    """Put the encoders' weights of the finished run at `path` into `method`, and its fusion's where it is the same one.

    Heads and banks stay as they are. Warns if the fusion is another, or has its modalities in another order, which
    fusions go by; raises ValueError, naming the run and the first weight that differs, if an encoder is another.
    """
    run = RunDirectory(path)
    try:
        saved = with_current_names(method, load_file(run.weights))
    except (OSError, safetensors.SafetensorError) as error:
        raise ValueError(f"start_from: {run.weights}: cannot be read as a run's weights ({error})") from error
    own = method.state_dict()
    encoders = _of(own, "encoders.")
    differs = _first_difference(encoders, saved)
    if differs:
        raise ValueError(
            f"start_from: {path}: {differs}; this run and that one need the same encoders on the same features"
        )
    chosen = list(encoders)
    fusion = _of(own, "fusion.")
    order = list(run.model()["reads"])
    differs = (
        f"modalities are {order} there and {list(method.encoders)} here"
        if order != list(method.encoders)
        else _first_difference(fusion, saved) or _first_difference(_of(saved, "fusion."), fusion)
    )
    if differs:
        warnings.warn(f"start_from: the fusion begins anew, as {path} has another one ({differs})", stacklevel=2)
    else:
        chosen += list(fusion)
    method.load_state_dict({name: saved[name].to(own[name].dtype) for name in chosen}, strict=False)


def _of(weights: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name: value for name, value in weights.items() if name.startswith(prefix)}


def _first_difference(wanted: dict[str, Tensor], found: dict[str, Tensor]) -> str:
    """A line for the first of `wanted` that `found` lacks or has in another shape; empty if there is none."""
    for name, value in wanted.items():
        if name not in found:
            return f"no {name}"
        if found[name].shape != value.shape:
            return f"{name} is {tuple(found[name].shape)} there and {tuple(value.shape)} here"
    return ""
