"""Planned runs made finished by hand: the files that tables read of a run, without a training."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from trivium.config.compose import compose_config
from trivium.core.files import write_json
from trivium.tables.plan import Planned

SCORES = {"mae": 1.0, "corr": 0.5, "acc7": 0.4, "acc5": 0.4, "acc2_has0": 0.7, "acc2_non0": 0.7, "f1_has0": 0.7}


def finish(run: Planned, seconds: float = 10.0, epochs: int = 2, **changes: Any) -> None:
    """changes: of result.json; "test" adds to the scores."""
    begin(run, epochs)
    test = {
        **SCORES,
        "f1_non0": 0.7,
        "mae": 1.0 + 0.01 * run.seed + 0.001 * len(run.row.label),
        **changes.pop("test", {}),
    }
    result = {
        "test": test,
        "val": {"loss": 1.0},
        "metrics": "mosi",
        "epochs": epochs,
        "method": run.method,
        "seed": run.seed,
        "config_hash": run.identity,
        "feature_set": f"{run.data}/{(run.table.data.partition('/')[2] or 'own')}",
        "store_checksum": "",
        "git_commit": "0123456789abcdef",
        "seconds": seconds,
        "best_epoch": 1,
        "modalities": ["text", "audio"],
        "parameters": 1234,
        "train_mean_mae": {"test": 1.4},
        "hardware": {"cpus": 2, "gpus": []},
        **changes,
    }
    write_json(run.directory.result_file, result)


def begin(run: Planned, epochs: int, whole: bool = False) -> None:
    """As a run that was interrupted after `epochs`, of 3 s each. whole: its config; composing it takes a while."""
    path = run.directory.path
    path.mkdir(parents=True, exist_ok=True)
    brief = {
        "seed": run.seed,
        "data": {"name": run.data, "fold": run.fold},
        "method": {"_target_": "trivium.methods.supervised.Supervised", "name": run.method},
        "run": {},
        "paths": {},
        "start_from": "",
        "trainer": {"max_epochs": run.epochs, "devices": 1, "select": "best", "monitor": "auto"},
    }
    config = compose_config(list(run.overrides)) if run.start or whole else brief
    (path / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    (path / "run.json").write_text(json.dumps({"created": "2026-01-02T03:04:05", "status": "interrupted"}))
    rows = [f"{epoch},{2 / epoch},{3 / epoch},{3 * epoch}" for epoch in range(1, epochs + 1)]
    (path / "metrics.csv").write_text("\n".join(["epoch,train/loss,val/loss,seconds", *rows]) + "\n")


def write_table(folder: Path, rows: Sequence[dict[str, Any]], **more: Any) -> Path:
    """folder/own.yaml: MAE and Corr of `rows` on mosi, one seed."""
    measures = [{"name": "MAE", "metric": "mae"}, {"name": "Corr", "metric": "corr"}]
    values = {"title": "T", "datasets": ["mosi"], "seeds": 1, "rows": list(rows), "measures": measures, **more}
    (folder / "own.yaml").write_text(yaml.safe_dump(values))
    return folder / "own.yaml"
