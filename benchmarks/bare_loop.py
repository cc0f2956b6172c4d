"""A run's epochs beside those of a bare loop over the same batches: `python -m benchmarks.bare_loop compare JSON`.

The bare loop has the same store, batches, network and optimiser, and validates after each epoch. It has no Trainer, no
checkpoints, no record, no check for values that are not finite, and no metric but the validation MAE.
"""

from __future__ import annotations

import itertools
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch

from benchmarks.child_process import Report, reports
from benchmarks.training_steps import LONGEST, MEAN, SHAPE, optimizer_of

# Clips of CMU-MOSI's official split, and the features of its word vectors and audio functionals here.
COUNTS = {"train": 1284, "valid": 229, "test": 686}
DIMS = {"text": 300, "audio": 74}


class _EpochStarts(L.Callback):
    """Notes the processor time at the start of each epoch, and at the end of the last one's validation."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.times.append(time.process_time())


def compare(report: Report, *, method: str, store: str, epochs: int, repeats: int) -> None:
    """Reports {"run": [seconds of processor time an epoch, ...], "bare": the same}, an entry a repeat, in turn.

    The first epoch of each side does not count. store: a prepared one with scores, or "" for random clips in the shape
    of MOSI's text and audio.
    """
    with tempfile.TemporaryDirectory(prefix="trivium-bench-") as folder:
        file = Path(store) if store else _make_store(Path(folder) / "mosi_shape.h5")
        sides: dict[str, list[float]] = {"run": [], "bare": []}
        for repeat in range(repeats):
            overrides = _overrides(method, file, epochs + 2, Path(folder) / f"run{repeat}")
            sides["run"].append(_run_epoch(overrides))
            sides["bare"].append(_bare_epoch(overrides, epochs + 1))
    report(sides)


def _overrides(method: str, store: Path, epochs: int, run_dir: Path) -> list[str]:
    return [
        *(f"method={method}", "data=mosi", f"data.store={store}", f"run.dir={run_dir}", "data.batch_size=32"),
        *(f"trainer.max_epochs={epochs}", "trainer.patience=0", "trainer.threads=1", "trainer.accelerator=cpu"),
        "trainer.progress=off",
    ]


def _run_epoch(overrides: Sequence[str]) -> float:
    """Trains a run, and returns the median of its epochs' seconds of processor time."""
    from trivium.config.compose import compose_config
    from trivium.runs.assemble import assemble
    from trivium.runs.resume import open_run
    from trivium.runs.trainer import make_trainer

    config = compose_config(list(overrides))
    run = open_run(config, list(overrides))
    torch.set_num_threads(1)
    _, data, method = assemble(config)
    trainer, _ = make_trainer(config, run)
    starts = _EpochStarts()
    trainer.callbacks.append(starts)  # type: ignore[attr-defined]
    assert isinstance(method, L.LightningModule)
    assert isinstance(data, L.LightningDataModule)
    trainer.fit(method, datamodule=data)
    run.release()
    return _median_of_epochs(starts.times)


def _bare_epoch(overrides: Sequence[str], epochs: int) -> float:
    """Trains by a bare loop, and returns the median of its epochs' seconds of processor time."""
    from trivium.config.compose import compose_config
    from trivium.runs.assemble import assemble

    _, data, method = assemble(compose_config(list(overrides)))
    train, valid = data.loader("train", training=True), data.loader("valid")
    optimizer, times = optimizer_of(method), []
    for epoch in range(epochs):
        times.append(time.process_time())
        train.sampler.set_epoch(epoch)
        method.train()
        for batch in train:
            optimizer.zero_grad()
            method.losses(batch)["loss"].backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        method.eval()
        with torch.no_grad():
            errors = [(method.predict(batch).score - batch.target).abs() for batch in valid]
            float(torch.cat(errors).mean())
    times.append(time.process_time())
    return _median_of_epochs(times)


def _median_of_epochs(starts: Sequence[float]) -> float:
    """Returns the median time from one start to the next, without the first, in which caches are filled."""
    return statistics.median(after - before for before, after in itertools.pairwise(starts[1:]))


def _make_store(path: Path) -> Path:
    """Writes random clips with MOSI's counts and lengths, and one step of audio a clip."""
    from trivium.data.clips import Clips, Ragged, Source
    from trivium.data.store import write_store

    rng = np.random.default_rng(0)
    splits = {}
    for split, count in COUNTS.items():
        lengths = rng.gamma(SHAPE, MEAN / SHAPE, count).round().clip(1, LONGEST).astype(int)
        text = [rng.normal(size=(length, DIMS["text"])).astype(np.float32) for length in lengths]
        audio = [rng.normal(size=(1, DIMS["audio"])).astype(np.float32) for _ in range(count)]
        streams = {"text": Ragged.pack(text), "audio": Ragged.pack(audio)}
        scores = rng.uniform(-3, 3, size=count).astype(np.float32)
        splits[split] = Clips([f"{split}{n}" for n in range(count)], streams, {"multimodal": scores})
    write_store(path, Source(splits, "random", []), data="mosi", feature_set="mosi/random", label_range=(-3.0, 3.0))
    return path


TASKS: dict[str, Callable[..., Any]] = {"compare": compare}

if __name__ == "__main__":
    TASKS[sys.argv[1]](reports(), **json.loads(sys.argv[2]))
