"""Directories of finished runs, made of numbers instead of trainings; a table and a search of them."""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from trivium.data.clips import Clips, Ragged, Source
from trivium.data.store import open_store, write_store
from trivium.evaluation.metrics import compute_metrics
from trivium.runs.config_hash import config_hash

EVIL = "</script><script>document.title='taken'</script> <img src=x onerror=\"document.title='taken'\"> & \u2028 'x'"
SAID = ("what a lovely film", "rather dull", EVIL, "the plot is thin", "great cast & crew", "")


def store_at(path: Path, clips: int = 40, *, transcripts: bool = True) -> Path:
    """A store of three splits whose test clips say SAID in turn; their scores are `targets`."""
    splits = {}
    for name in ("train", "valid", "test"):
        audio = Ragged.pack([np.ones((1, 2), np.float32)] * clips)
        ids = [f"{name}$_${k + 1}" for k in range(clips)]
        said = [SAID[k % len(SAID)] for k in range(clips)] if transcripts else None
        splits[name] = Clips(ids, {"audio": audio}, {"multimodal": targets(clips)}, said)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_store(path, Source(splits, "made", []), data="made", feature_set="made/v1", label_range=(-3.0, 3.0))
    return path


def targets(clips: int) -> Any:
    return np.linspace(-3, 3, clips).astype(np.float32)


def predicted(seed: int, clips: int = 40) -> Any:
    return targets(clips) + np.random.default_rng(seed).normal(0, 0.5, clips)


def run_at(
    path: Path,
    store: Path,
    seed: int = 1,
    *,
    method: str = "supervised",
    clips: int = 40,
    epochs: int = 5,
    finished: bool = True,
    terms: Sequence[str] = (),
    **settings: Any,
) -> Path:
    """settings: of the method, beside its name. terms: names of loss terms, beside loss."""
    path.mkdir(parents=True)
    config = {
        "seed": seed,
        "run": {"dir": str(path)},
        "paths": {"data": "data"},
        "data": {"name": "made", "batch_size": 32},
        "trainer": {"max_epochs": epochs, "devices": 1},
        "logger": {"name": "csv"},
        "method": {"_target_": "trivium.methods.x.X", "name": method, **settings},
    }
    checksum = open_store(store).provenance["checksum"]
    record = {
        "created": f"2026-01-0{min(seed, 9)}T10:00:00+00:00",
        "status": "finished" if finished else "interrupted",
        "git_commit": hashlib.sha1(method.encode()).hexdigest(),
        "versions": {"python": "3.11.7", "torch": "2.13.0"},
        "hardware": {"machine": "x86_64", "cpus": 2, "gpus": []},
        "resumed_at": [],
    }
    (path / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    (path / "overrides.yaml").write_text(yaml.safe_dump([f"method={method}", f"seed={seed}", "data.note=a b"]))
    (path / "run.json").write_text(json.dumps(record))
    (path / "model.json").write_text(json.dumps({"store": str(store.resolve())}))
    _write(path / "metrics.csv", [_epoch(seed, k, terms) for k in range(1, epochs + 1)])
    scores = {split: {**scored(seed, clips), "loss": 0.5 + seed / 10} for split in ("val", "test")}
    _write(path / "predictions.csv", [row for split in ("valid", "test") for row in _clips(split, seed, clips)])
    result = {
        **scores,
        "method": method,
        "seed": seed,
        "config_hash": config_hash(config),
        "feature_set": "made/v1",
        "store_checksum": checksum,
        "seconds": 1.5,
        "resumed_at": [],
        "best_epoch": epochs,
        "epochs": epochs,
        "parameters": 1234,
        "modalities": ["audio"],
        "metrics": "mosi",
        "train_mean_mae": {"val": 1.5, "test": 1.6},
    }
    if finished:
        (path / "result.json").write_text(json.dumps(result))
    return path


def scored(seed: int, clips: int = 40) -> dict[str, float]:
    return compute_metrics("mosi", predicted(seed, clips), targets(clips))


def epoch_value(seed: int, epoch: int) -> float:
    return 2.0 / epoch + 0.1 * seed


def _epoch(seed: int, epoch: int, terms: Sequence[str]) -> dict[str, float]:
    value = epoch_value(seed, epoch)
    row = {"epoch": epoch, "step": 10 * epoch, **{f"train/{term}": value / 2 for term in terms}}
    return {**row, "train/loss": value, "val/loss": value + 0.2, "val/mae": value + 0.2, "val/corr": 1 - value / 3}


def _clips(split: str, seed: int, clips: int) -> list[dict[str, Any]]:
    pairs = zip(targets(clips).tolist(), predicted(seed, clips).tolist(), strict=True)
    return [
        {"split": split, "id": f"{split}$_${k + 1}", "target": t, "prediction": p} for k, (t, p) in enumerate(pairs)
    ]


VALUES = {"Ours": (0.49, 0.51), "Base": (0.62, 0.63)}  # of table_at, MAE of seeds 1 and 2
TESTED = {"Ours": (0.49, 0.51, 0.5), "Base": (0.62, 0.63, 0.625)}  # as many seeds as a test needs


def table_at(
    folder: Path, store: Path, *, runs: Path | None = None, maes: Mapping[str, Sequence[float]] = VALUES
) -> Path:
    """Rows Ours and Base (the baseline), two seeds each, one more run that was interrupted, and a table's files.

    runs: where its runs lie, if not in its folder; values.csv then names them. maes: row -> MAE of seeds 1, 2, ...
    """
    values = []
    for label, method in (("Ours", "selfmi"), ("Base", "supervised")):
        for seed, value in enumerate(maes[label], 1):
            name = f"{label.lower()}_s{seed}_{seed}bc12f"
            run = run_at((runs or folder / "runs") / name, store, seed, method=method)
            values.append({"row": label, "measure": "MAE", "seed": seed, "value": value})
            values[-1] |= {"run": str(run)} if runs else {}
    run_at(folder / "runs" / "base_s9_9bc12f", store, 9, finished=False)
    rows = [{"row": "Ours", "measure": "MAE", "mean": 0.5, "std": 0.01, "n": 2, "difference": -0.125}]
    _write(folder / "table.csv", [*rows, {**rows[0], "row": "Base", "mean": 0.625, "difference": ""}])
    _write(folder / "values.csv", values)
    (folder / "table.md").write_text("# Ours beside Base\n\n## MAE\n")
    return folder


TRIALS = [(k, 0.001 * 4**k, 16 * (k % 3 + 1), "gru" if k % 2 else "lstm") for k in range(6)]


def search_at(folder: Path, objective: str = "val/loss") -> Path:
    """Six trials with values, the lowest last, and one that was pruned."""
    folder.mkdir(parents=True)
    rows: list[dict[str, Any]] = [
        {
            "number": k,
            "state": "complete",
            "value": 1.0 - k / 10,
            "optimizer.lr": lr,
            "fusion.out": size,
            "encoder": name,
        }
        for k, lr, size, name in TRIALS
    ]
    rows.append({**rows[0], "number": 6, "state": "pruned", "value": ""})
    _write(folder / "trials.csv", [{**row, "seconds": 2.5, "run": "", "error": ""} for row in rows])
    best = {"objective": objective, "value": 0.5, "command": "trivium train optimizer.lr=1.024"}
    (folder / "best.json").write_text(json.dumps(best))
    return folder


def _write(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
