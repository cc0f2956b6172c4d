"""Loads a finished run as a model, without Hydra."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from trivium.config.trust import trust as trust_modules
from trivium.core.metric_names import LABELS, METRICS
from trivium.data.datamodule import BatchLoader, DataModule, standardized
from trivium.data.new_clips import RunData
from trivium.data.own_clips import clips_of, columns_of
from trivium.data.sampler import GlobalBatchSampler
from trivium.data.store import Statistics, Store, StoreSchema
from trivium.data.target import choose_target
from trivium.data.train_labels import ALL_LABELS
from trivium.evaluation.predict import predict_split, score_split
from trivium.evaluation.predictions import Predictions
from trivium.evaluation.vectors import collect_vectors
from trivium.methods.base import Method
from trivium.methods.build import build_method
from trivium.runs.assemble import open_data
from trivium.runs.directory import RunDirectory
from trivium.runs.run_files import require_loadable, require_whole
from trivium.runs.weights import load_weights

if TYPE_CHECKING:
    import pandas as pd

# The type of the weights after training in a precision, where it is not float32.
_WEIGHTS = {"64-true": torch.float64, "bf16-true": torch.bfloat16}


@dataclass(repr=False)
class Run:
    """Holds a finished run: its config, its result, and its method with the selected weights, in evaluation mode.

    schema, store, statistics: those of the store that it was trained on; `statistics` standardise what it predicts.
    """

    path: Path
    config: dict[str, Any]
    result: dict[str, Any]
    method: Method
    schema: StoreSchema
    store: Path
    statistics: dict[str, Statistics]

    @property
    def reads(self) -> dict[str, str]:
        """Returns modality -> "values" or "tokens", in the order of the method's encoders."""
        return {name: str(encoder.reads) for name, encoder in self.method.encoders.items()}

    def expects(self) -> RunData:
        """Returns what the run expects of clips of new files."""
        name = choose_target(self.schema.targets, self.config["data"].get("target", ""), str(self.path))
        return RunData(self.schema, self.reads, name, self.method.objective.target)

    def data(
        self, store: str | os.PathLike[str] | None = None, modalities: Sequence[str] | None = None
    ) -> tuple[Store, DataModule]:
        """Opens the run's store, or another one of the same modalities and feature sizes, standardised as in training.

        modalities: those to predict from, if not all; a store may lack the others.
        Raises ValueError naming the file and what differs, and also if the run's own store was prepared anew since the
        run, unless `store` names it.
        """
        # model.json has the absolute path of the store. If no file is there any more, the config finds the store.
        trained_on = self.store if self.store.is_file() else None
        read = {name: self.schema.dims.get(name, 0) for name, encoder in self.method.encoders.items()}
        widened = read if modalities and all(read.values()) else None
        # The train clips of another store are evaluated with the labels that they have.
        config = self.config if store is None else {**self.config, "data": {**self.config["data"], **ALL_LABELS}}
        opened, module = open_data(
            config, trained_on if store is None else Path(store), self.statistics, absent=widened
        )
        lacking = [name for name in modalities or () if name in getattr(opened, "absent", {})]
        if lacking:
            raise ValueError(f"{opened.path}: no features of {', '.join(lacking)}; leave them out of modalities=")
        if store is None:
            opened.refuse_other_than(self.result["store_checksum"], self.path)
        for name, dim in self.schema.dims.items():
            stored = opened.schema.dims.get(name)
            if name in self.method.encoders and stored not in (dim, None):
                raise ValueError(f"{opened.path}: {name!r} has {stored} features, the run was trained on {dim}")
        if list(module.reads) != list(self.method.encoders):
            raise ValueError(
                f"{opened.path}: serves {list(module.reads)}, the run was trained on {list(self.method.encoders)}; "
                f"modalities={','.join(module.reads)} predicts from those alone"
            )
        return opened, module

    def predict(
        self,
        clips: str | Mapping[str, Sequence[Any]] | pd.DataFrame = "test",
        *,
        store: str | os.PathLike[str] | None = None,
        modalities: Sequence[str] | None = None,
        ids: Any = None,
        targets: Any = None,
    ) -> Predictions:
        """Returns predictions with ids and targets, in the order of the clips; `.to_frame()` makes a pandas frame.

        clips: a split of the run's store, or of `store`; or clips of your own, with any of the run's modalities:
        modality -> one array (T, D) a clip, None where a clip lacks it, or a pandas frame with such a column a
        modality. They are standardised as in training. modalities: those to predict from; all if None.
        ids, targets: of clips of your own, one a clip, or the name of a frame's column; a frame's columns "id" and
        "target" are taken without being named. Without targets there are predictions and no losses.
        Raises ValueError for arrays that do not fit, naming modality and clip, and for a split or store as `data` does.
        """
        loader, split = self._loader(clips, store, ids, targets, modalities)
        return replace(predict_split(self.method, loader, modalities), split=split)

    def evaluate(
        self,
        clips: str | Mapping[str, Sequence[Any]] | pd.DataFrame = "test",
        *,
        store: str | os.PathLike[str] | None = None,
        modalities: Sequence[str] | None = None,
        targets: Any = None,
    ) -> dict[str, float]:
        """Returns the protocol's metrics of `predict`, which takes the same clips. Clips of your own need targets."""
        loader, _ = self._loader(clips, store, None, targets, modalities)
        if not loader.split.targets:
            raise ValueError("targets are missing: one score a clip, by which to evaluate; predict() does without")
        return score_split(self.method, loader, predict_split(self.method, loader, modalities))

    def vectors(
        self,
        clips: str | Mapping[str, Sequence[Any]] | pd.DataFrame = "test",
        *,
        store: str | os.PathLike[str] | None = None,
        modalities: Sequence[str] | None = None,
    ) -> dict[str, Tensor]:
        """Returns the vectors that probes read, of the clips that `predict` takes, in their order.

        Name -> (N, E), float64 on the CPU: "joint", and each modality's own, which is 0 where a clip lacks it.
        """
        return collect_vectors(self.method, self._loader(clips, store, None, None, modalities)[0], modalities)

    def __repr__(self) -> str:
        config, result = self.config, self.result
        # A search shows no test scores: nobody is to choose by them.
        split = "val" if config["run"].get("study") or "test" not in result else "test"
        metric = METRICS[self.method.metrics][0]
        run = f"{result['method']} on {result['feature_set']}, seed {result['seed']}"
        epoch = f"epoch {result['best_epoch']} of {result['epochs']}"
        return f"Run({run}, {epoch}, {split} {LABELS[metric]} {result[split][metric]:.3f}, {str(self.path)!r})"

    def _loader(
        self,
        clips: Any,
        store: str | os.PathLike[str] | None,
        ids: Any,
        targets: Any,
        modalities: Sequence[str] | None = None,
    ) -> tuple[BatchLoader, str]:
        """Returns the batches of a split, or of clips of the user's own, and the split's name."""
        device = self.method.device
        if isinstance(clips, str):
            if ids is not None or targets is not None:
                raise ValueError(f"ids and targets belong to clips of your own; split {clips!r} of a store has them")
            return self.data(store, modalities)[1].loader(clips, device=device), clips
        if store is not None:
            raise ValueError("store goes with the name of a split; leave it out for clips of your own")
        reads = self.reads
        if not isinstance(clips, Mapping):
            if not hasattr(clips, "columns"):
                raise ValueError(
                    f"clips: expected a split's name, a dict of modality -> arrays, or a pandas frame; found a "
                    f"{type(clips).__name__}"
                )
            clips, ids, targets = columns_of(clips, list(reads), ids, targets)
        schema, node = self.schema, self.config["data"]
        own_clips = clips_of(clips, reads, schema.dims, ids=ids, targets=targets, target=self.method.objective.target)
        resident = standardized(own_clips, reads, device, node["standardize"], self.statistics, schema.source_format)
        sampler = GlobalBatchSampler(len(resident), node["eval_batch_size"], self.config["seed"], shuffle=False)
        return BatchLoader(resident, sampler), ""


def describe_model(store: Store, data: DataModule, method: Method) -> dict[str, Any]:
    """Returns the content of model.json, which `load_run` needs beside config and weights to build the method."""
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
    run = RunDirectory(Path(path).expanduser())
    with _unchanged(run):
        return _load(run, device)


@contextlib.contextmanager
def _unchanged(run: RunDirectory) -> Iterator[None]:
    """Raises ValueError, whatever else went wrong, if the run's files are others at the block's end than at its begin.

    A run that is extended, copied over or exchanged meanwhile would otherwise be read as a mixture of two.
    """
    files = (run.config_file, run.result_file, run.path / "model.json", run.weights)
    before = [_stamp(file) for file in files]
    try:
        yield
    finally:
        changed = [file.name for file, stamp in zip(files, before, strict=True) if _stamp(file) != stamp]
        if changed:
            raise ValueError(f"{run.path}: {', '.join(changed)} changed while the run was read; read it again")


def _stamp(file: Path) -> tuple[int, int, int] | None:
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size


def _load(run: RunDirectory, device: str) -> Run:
    config, result = run.config(), run.result()
    require_loadable(run.config_file, config)
    require_whole(run.result_file, result)
    model = run.model()
    try:
        statistics = {
            name: Statistics(np.array(each["mean"]), np.array(each["std"]))
            for name, each in model["statistics"].items()
        }
        schema = StoreSchema.from_dict(model["schema"])
        method = build_method(config, schema, model["reads"], model["assets"])
    except ValueError as error:
        raise ValueError(f"{run.path}: {error}") from error
    except (LookupError, TypeError, AttributeError, ArithmeticError, RuntimeError, AssertionError) as error:
        # Parts trust the settings that their YAML files and the check let through, and this run's may have been edited.
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise ValueError(
            f"{run.path}: no model can be built from its config.yaml and model.json ({reason:.300}); copy both again "
            "from where the run was made, or repeat the run"
        ) from error
    method.to(_WEIGHTS.get(config["trainer"]["precision"], torch.float32))
    load_weights(method, run.weights)
    return Run(run.path, config, result, method.to(_device(device)).eval(), schema, Path(model["store"]), statistics)


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        # The name is unknown, the machine has no such device, or this build of torch does not support it.
        reason = str(error).splitlines()[0]
        raise ValueError(f"device={name}: cannot be used here ({reason}); expected cpu, or cuda with a GPU") from error
    return device
