"""Measures our side, as a process: `python -m benchmarks.our_side TASK JSON`. Each function in TASKS is a task."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.child_process import BATCHES, Report, paced, peak_mib, reports


def make(
    report: Report, *, pickle: str, model: str, fraction: float, bert: dict[str, int], aligned: bool = False
) -> None:
    """Makes the pickle, and the text model unless it is there, that both sides read."""
    from benchmarks.workload import write_model, write_pickle

    lengths = write_pickle(Path(pickle), fraction, aligned=aligned)
    if not Path(model).exists():
        write_model(Path(model), **bert)
    report({"mean_lengths": lengths, "pickle_mib": Path(pickle).stat().st_size / 2**20})


def prepare(report: Report, *, pickle: str, store: str) -> None:
    """Prepares the pickle as a store, which is done once in a data set's life."""
    from benchmarks.workload import LABEL_RANGE
    from trivium.data.prepare import prepare

    start = time.perf_counter()
    prepare(data="mosei", source=[Path(pickle)], out=Path(store), label_range=LABEL_RANGE)
    seconds = time.perf_counter() - start
    report({"seconds": seconds, "peak_mib": peak_mib(), "store_mib": Path(store).stat().st_size / 2**20})


def data(report: Report, *, store: str, batch_size: int) -> None:
    """Opens the store so that training can start, then reads every value of an epoch of train batches."""
    from trivium.data.datamodule import DataModule
    from trivium.data.store import open_store

    imported = peak_mib()
    start = time.perf_counter()
    reads = {"text": "tokens", "audio": "values", "vision": "values"}
    module = DataModule(open_store(store), reads=reads, batch_size=batch_size)
    loaders = {split: module.loader(split, training=split == "train") for split in ("train", "valid", "test")}
    opened, peak = time.perf_counter() - start, peak_mib()
    start = time.perf_counter()
    total = 0.0
    for batch in loaders["train"]:
        total += sum(float(stream.values.sum()) for stream in batch.streams.values())
    report(
        {
            "imported_mib": imported,
            "open_seconds": opened,
            "open_mib": peak,
            "epoch_seconds": time.perf_counter() - start,
            "epoch_mib": peak_mib(),
            "batches": len(loaders["train"]),
        }
    )


def step(
    report: Report,
    *,
    store: str,
    model: str,
    folder: str,
    batch_size: int,
    overrides: list[str],
    stage: int = 2,
    **trainer: str,
) -> None:
    """Takes training steps in the Trainer that `trivium train` makes, each when it is asked for.

    model: the text model's folder, or "" for a method that reads the file's features.
    stage: 1 for MMIM's first, its pass over the training clips before an epoch's steps; otherwise 2.
    """
    import lightning as L
    import torch

    from trivium.config.compose import compose_config
    from trivium.data.datamodule import BatchLoader
    from trivium.data.training_data import TrainingData
    from trivium.runs.assemble import assemble
    from trivium.runs.resume import open_run
    from trivium.runs.trainer import make_trainer

    text_model = [f"encoders.text.model={model}", "encoders.text.random_init=true"] if model else []
    overrides = [
        *overrides,
        *text_model,
        f"data.store={store}",
        f"data.batch_size={batch_size}",
        f"run.dir={folder}",
        "trainer.accumulate_grad_batches=1",
        "trainer.progress=off",
        *(f"trainer.{key}={value}" for key, value in trainer.items()),
    ]
    config = compose_config(overrides)
    _, original, method = assemble(config)
    fit, _ = make_trainer(config, open_run(config, overrides))

    class Paced(BatchLoader):
        stage = 2

        def again(self) -> BatchLoader:
            loader = super().again()
            loader.stage = 1  # type: ignore[attr-defined]
            return loader

        def __iter__(self) -> Iterator[Any]:
            order = range(len(self.split))[: BATCHES * batch_size]
            places = [torch.tensor(order[n : n + batch_size]) for n in range(0, len(order), batch_size)]
            batches = [self.split.batch(p, p.to(self.split.device), (len(p),), 0) for p in places]
            yield from paced(batches, report, _waiter(self.split.device)) if self.stage == stage else batches[:1]

        def __len__(self) -> int:
            return 1_000_000  # the epoch ends when the parent says so

    class PacedData(TrainingData):
        def loader(self, *args: Any, **keys: Any) -> BatchLoader:
            loader = super().loader(*args, **keys)
            return Paced(loader.split, loader.sampler) if keys["training"] else loader

    assert isinstance(method, L.LightningModule)
    fit.fit(method, datamodule=PacedData(original.store, reads=original.reads, standardize=original.standardize))


def _waiter(device: Any) -> Callable[[], None]:
    import torch

    return torch.cuda.synchronize if device.type == "cuda" else lambda: None


def cuda(report: Report) -> None:
    """Reports the GPU's name, or None."""
    import torch

    report(torch.cuda.get_device_name() if torch.cuda.is_available() else None)


TASKS: dict[str, Callable[..., None]] = {"make": make, "prepare": prepare, "data": data, "step": step, "cuda": cuda}

if __name__ == "__main__":
    TASKS[sys.argv[1]](reports(), **json.loads(sys.argv[2]))
