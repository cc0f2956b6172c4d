"""Loggers beside the CSV: one wandb run a job, ended with the job's status; TensorBoard events; neither unasked."""

import json
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from driver import command, here, in_folder, spawn

QUICK = ["encoder=identity", "trainer.max_epochs=2", "optimizer.lr=0.01", "trainer.progress=off"]


def wandb_records(file: Path) -> Iterator[bytes]:
    """The records of an offline run's file, which is in LevelDB's log format behind a header of 7 bytes."""
    content, at, parts = file.read_bytes(), 7, b""
    while at + 7 <= len(content):
        if 32768 - at % 32768 < 7:  # a block's last bytes hold no header
            at += 32768 - at % 32768
            continue
        length, kind = struct.unpack("<HB", content[at + 4 : at + 7])
        parts += content[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield parts
            parts = b""


def test_wandb_one_run_a_job_with_the_job_s_status(tmp_path: Path) -> None:
    from wandb.proto import wandb_internal_pb2

    settings = in_folder(tmp_path, *QUICK, "logger=wandb", "logger.group=grid")
    offline = {"WANDB_MODE": "offline", "WANDB_SILENT": "true", "WANDB_CONSOLE": "off"}
    code, printed = command(tmp_path, "-m", *settings, "optimizer.lr=1e30,0.02", **offline)
    assert code != 0
    ended = {}
    for job in ("0", "1"):
        (file,) = tmp_path.glob(f"outputs/sweeps/*/{job}/wandb/offline-run-*/*.wandb")
        records = [wandb_internal_pb2.Record.FromString(part) for part in wandb_records(file)]
        (run,) = [r.run for r in records if r.WhichOneof("record_type") == "run"]
        (ended[job],) = [r.exit.exit_code for r in records if r.WhichOneof("record_type") == "exit"]
        assert run.run_group == "grid"
        lr = next(json.loads(item.value_json) for item in run.config.update if item.key == "optimizer")["lr"]
        assert lr == {"0": 1e30, "1": 0.02}[job]
        logged = {item.key or item.nested_key[0] for r in records for item in r.history.item}
        assert ("val/loss" in logged) == ("test/mae" in logged) == (job == "1")
    assert ended == {"0": 1, "1": 0}, printed
    assert len(list(tmp_path.rglob("*.wandb"))) == 2


def _train_and_look(folder: Path, *loggers: str) -> None:
    import sys

    here(folder, *QUICK, *loggers)
    assert not [name for name in sys.modules if name.partition(".")[0] in ("wandb", "tensorboard")]


def test_neither_is_imported_unasked(tmp_path: Path) -> None:
    assert spawn(_train_and_look, tmp_path) == 0


def test_tensorboard_writes_events(tmp_path: Path) -> None:
    event_accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    result = here(tmp_path, *QUICK, "logger=tensorboard", f"run.dir={tmp_path / 'run'}")
    events = event_accumulator.EventAccumulator(str(tmp_path / "run" / "tensorboard")).Reload()
    losses = [event.value for event in events.Scalars("val/loss")]
    assert len(losses) == 2
    assert min(losses) == pytest.approx(result["val"]["loss"], abs=1e-6)
    (test_mae,) = events.Scalars("test/mae")
    assert test_mae.value == pytest.approx(result["test"]["mae"], abs=1e-6)
