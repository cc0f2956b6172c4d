"""A finished run as a model, without Hydra."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from trivium.data.datamodule import DataModule
from trivium.data.store import Store, StoreSchema
from trivium.evaluation.predict import predict_split, score_split
from trivium.evaluation.predictions import Predictions
from trivium.methods.base import Method
from trivium.methods.build import build_method
from trivium.runs.assemble import open_data
from trivium.runs.checkpointing import load_weights
from trivium.runs.directory import RunDirectory


@dataclass
class Run:
    """A finished run: its config, its result, and its method with the selected weights, in evaluation mode."""

    path: Path
    config: dict[str, Any]
    result: dict[str, Any]
    method: Method
    schema: StoreSchema

    def data(self, store: str | os.PathLike[str] | None = None) -> tuple[Store, DataModule]:
        """Its store, or another one of the same modalities and feature sizes.

        Raises ValueError naming the file and what differs.
        """
        opened, module = open_data(self.config, None if store is None else Path(store))
        for name, dim in self.schema.dims.items():
            found = opened.schema.dims.get(name)
            if name in self.method.encoders and found not in (dim, None):
                raise ValueError(f"{opened.path}: {name!r} has {found} features, the run was trained on {dim}")
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
        """Predictions of a split, in the store's order, from all or some modalities."""
        _, module = self.data(store)
        return predict_split(self.method, module.loader(split, device=self.method.device), modalities)

    def evaluate(
        self,
        split: str = "test",
        *,
        store: str | os.PathLike[str] | None = None,
        modalities: Sequence[str] | None = None,
    ) -> dict[str, float]:
        """The protocol's metrics of `predict`."""
        _, module = self.data(store)
        loader = module.loader(split, device=self.method.device)
        return score_split(self.method, loader, predict_split(self.method, loader, modalities))


def load_run(path: str | os.PathLike[str], device: str = "cpu") -> Run:
    """Open a finished run's directory. Raises ValueError, naming the file, if it is no finished run."""
    run = RunDirectory(Path(path))
    config, result = run.config(), run.result()
    model = json.loads((run.path / "model.json").read_text())
    schema = StoreSchema.from_dict(model["schema"])
    method = build_method(config, schema, model["reads"], model["assets"])
    if config["trainer"]["precision"] == "64-true":
        method.double()
    load_weights(method, run.weights)
    return Run(run.path, config, result, method.to(torch.device(device)).eval(), schema)
