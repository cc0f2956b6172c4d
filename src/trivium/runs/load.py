"""Loads a finished run as a model, without Hydra."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from trivium.config.trust import trust as trust_modules
from trivium.data.datamodule import DataModule
from trivium.data.store import Statistics, Store, StoreSchema
from trivium.evaluation.predict import predict_split, score_split
from trivium.evaluation.predictions import Predictions
from trivium.methods.base import Method
from trivium.methods.build import build_method
from trivium.runs.assemble import open_data
from trivium.runs.directory import RunDirectory
from trivium.runs.weights import load_weights

# The type of the weights that a precision leaves, where it is not float32.
_WEIGHTS = {"64-true": torch.float64, "bf16-true": torch.bfloat16}


@dataclass
class Run:
    """Holds a finished run: its config, its result, and its method with the selected weights, in evaluation mode.

    schema, store, statistics: of the store that it was trained on; `statistics` standardise what it predicts.
    """

    path: Path
    config: dict[str, Any]
    result: dict[str, Any]
    method: Method
    schema: StoreSchema
    store: Path
    statistics: dict[str, Statistics] = field(repr=False)

    def data(self, store: str | os.PathLike[str] | None = None) -> tuple[Store, DataModule]:
        """Opens the run's store, or another one of the same modalities and feature sizes; standardised as in training.

        Raises ValueError naming the file and what differs, and if the run's store was prepared anew since the run: that
        one is read only where `store` names it.
        """
        # The run's store where it was then, from whatever folder this is called; else where the config looks now.
        trained_on = self.store if self.store.is_file() else None
        opened, module = open_data(self.config, trained_on if store is None else Path(store), self.statistics)
        if store is None:
            opened.refuse_other_than(self.result["store_checksum"], self.path)
        for name, dim in self.schema.dims.items():
            stored = opened.schema.dims.get(name)
            if name in self.method.encoders and stored not in (dim, None):
                raise ValueError(f"{opened.path}: {name!r} has {stored} features, the run was trained on {dim}")
        if list(module.reads) != list(self.method.encoders):
            raise ValueError(
                f"{opened.path}: serves {list(module.reads)}, the run was trained on {list(self.method.encoders)}"
            )
        return opened, module

    def predict(
        self,
        split: str = "test",
        *,
        store: str | os.PathLike[str] | None = None,
        modalities: Sequence[str] | None = None,
    ) -> Predictions:
        """Returns the predictions of a split, in the store's order, from all or some modalities."""
        _, module = self.data(store)
        return predict_split(self.method, module.loader(split, device=self.method.device), modalities)

    def evaluate(
        self,
        split: str = "test",
        *,
        store: str | os.PathLike[str] | None = None,
        modalities: Sequence[str] | None = None,
    ) -> dict[str, float]:
        """Returns the protocol's metrics of `predict`."""
        _, module = self.data(store)
        loader = module.loader(split, device=self.method.device)
        return score_split(self.method, loader, predict_split(self.method, loader, modalities))


def describe_model(store: Store, data: DataModule, method: Method) -> dict[str, Any]:
    """Returns model.json: what, beside config and weights, `load_run` needs to build the method and to feed it."""
    return {
        "schema": store.schema.to_dict(),
        "reads": data.reads,
        "assets": {name: encoder.assets() for name, encoder in method.encoders.items()},  # type: ignore[operator]
        "store": str(store.path.resolve()),
        "statistics": {
            name: {"mean": each.mean.tolist(), "std": each.std.tolist()} for name, each in store.statistics.items()
        },
    }


def load_run(path: str | os.PathLike[str], device: str = "cpu", trust: Sequence[str] = ()) -> Run:
    """Opens a finished run's directory and returns the run with its model.

    trust: modules of the user's or of somebody else's whose classes the run's config names, and whose code is thereby
    run; they are trusted from then on. Raises ValueError, naming the file, if it is no finished run, for a class of a
    module that is not trusted, and for a device that is not there.
    """
    trust_modules(trust)
    run = RunDirectory(Path(path))
    config, result = run.config(), run.result()
    model = run.model()
    schema = StoreSchema.from_dict(model["schema"])
    statistics = {
        name: Statistics(np.array(each["mean"]), np.array(each["std"])) for name, each in model["statistics"].items()
    }
    try:
        method = build_method(config, schema, model["reads"], model["assets"])
    except ValueError as error:
        raise ValueError(f"{run.path}: {error}") from error
    method.to(_WEIGHTS.get(config["trainer"]["precision"], torch.float32))
    load_weights(method, run.weights)
    return Run(run.path, config, result, method.to(_device(device)).eval(), schema, Path(model["store"]), statistics)


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:  # unknown, or none on this machine, or left out of this torch
        reason = str(error).splitlines()[0]
        raise ValueError(f"device={name}: cannot be used here ({reason}); expected cpu, or cuda with a GPU") from error
    return device
