"""Begins a training with another run's encoders and fusion (start_from): fine-tuning after a pretraining."""

from __future__ import annotations

import warnings
from pathlib import Path

import safetensors
from safetensors.torch import load_file
from torch import Tensor

from trivium.data.store import Store
from trivium.encoders.old_names import with_current_names
from trivium.methods.base import Method
from trivium.runs.directory import RunDirectory


def start_from(method: Method, path: Path) -> None:
    """Loads the encoders' weights of the finished run at `path` into `method`, and its fusion's if both have the same.

    Heads and banks stay as they are. Warns if the fusion is another, or has its modalities in another order, on which
    fusions depend. Raises ValueError, naming the run and the first weight that differs, if an encoder is another.
    """
    run = RunDirectory(path)
    try:
        saved = with_current_names(method, load_file(run.weights))
    except (OSError, safetensors.SafetensorError) as error:
        raise ValueError(f"start_from: {run.weights}: cannot be read as a run's weights ({error})") from error
    weights = method.state_dict()
    encoders = _with_prefix(weights, "encoders.")
    difference = _first_difference(encoders, saved)
    if difference:
        raise ValueError(f"start_from: {path}: {difference}; both runs need the same encoders on the same features")
    names = list(encoders)
    fusion = _with_prefix(weights, "fusion.")
    order = list(run.model()["reads"])
    difference = (
        f"modalities are {order} there and {list(method.encoders)} here"
        if order != list(method.encoders)
        else _first_difference(fusion, saved) or _first_difference(_with_prefix(saved, "fusion."), fusion)
    )
    if difference:
        warnings.warn(f"start_from: the fusion begins anew, as {path} has another one ({difference})", stacklevel=2)
    else:
        names += list(fusion)
    method.load_state_dict({name: saved[name].to(weights[name].dtype) for name in names}, strict=False)


def refuse_another_fold(path: Path, store: Store) -> None:
    """Raises ValueError if the run at `path` was trained on another fold of `store`, and so on clips that are tested.

    path: a finished run.
    """
    result = RunDirectory(path).result()
    fold, this_fold = result.get("fold"), store.schema.fold
    if result.get("store_checksum") == store.provenance["checksum"] and fold != this_fold:
        raise ValueError(
            f"start_from: {path} is of data.fold={fold}, this run of data.fold={this_fold}, some of whose test clips "
            "that run was trained on; begin from a run of the same fold"
        )


def _with_prefix(weights: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name: value for name, value in weights.items() if name.startswith(prefix)}


def _first_difference(needed: dict[str, Tensor], saved: dict[str, Tensor]) -> str:
    """Returns a text on the first of `needed` that `saved` lacks or has in another shape, or "" if there is none."""
    for name, value in needed.items():
        if name not in saved:
            return f"no {name}"
        if saved[name].shape != value.shape:
            return f"{name} is {tuple(saved[name].shape)} there and {tuple(value.shape)} here"
    return ""
