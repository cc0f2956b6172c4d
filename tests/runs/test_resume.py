"""A killed run, started again, ends as if it had never been killed: bit for bit, timings aside."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from driver import record, run

# 320 clips in batches of 48: 7 steps an epoch, the last one short; 21 in all.
TINY = ["encoder.feedforward=32", "encoder.layers=2", "method.head_hidden=[32,32]", "method.head_out=16"]
MULT = ["fusion.layers=1", "fusion.width=10", "fusion.dim=12", "encoder.hidden=6", "encoder.out=12"]
SETTINGS = {
    "supervised": ["method=supervised", "scheduler=plateau", "scheduler.patience=0", "fusion.dropout=0.1"],
    "supervised_mixup": ["method=supervised", "method.mixup=series", "method.modality_dropout=0.2"],
    "selfmi": ["method=selfmi", "trainer.accumulate_grad_batches=2", "scheduler=cosine", "fusion.dropout=0.1"],
    "selfmi_exact": ["method=selfmi", "debug=exact"],
    "selfmi_ba": ["method=selfmi", "method.pair_estimator=ba", "method.features=projected", "optimizer.lr=0.002"],
    "selfmi_mixup": ["method=selfmi", "method.mixup=one", "fusion.dropout=0.1"],
    "tcmax": ["method=tcmax", "scheduler=cosine"],
    "tcmax_mixing": ["method=tcmax", "fusion=bigated", "objective.negatives=500", "objective.chunk=64"],
    "comm": ["method=comm", *TINY, "trainer.select=last"],
    "gmc": ["method=gmc", *MULT, "scheduler=plateau", "scheduler.patience=0", "method.modality_dropout=0.2"],
    "m3ixup": ["method=m3ixup", *MULT, "trainer.gradient_clip=0.8", "method.adapt_members=learned"],
    "m3ixup_two": ["method=m3ixup", *MULT, "method.steps=two", "method.unimodal_mix=series", "trainer.select=last"],
}


SLOW = {"selfmi_exact", "selfmi_ba", "supervised_mixup", "tcmax_mixing", "m3ixup_two"}  # variants, by their own verb


@pytest.fixture(
    scope="module", params=[pytest.param(name, marks=[pytest.mark.slow] * (name in SLOW)) for name in SETTINGS]
)
def whole(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[list[str], dict[str, Any]]:
    """The settings, and the record of a run that nobody killed."""
    folder = tmp_path_factory.mktemp(request.param)
    settings = [*SETTINGS[request.param], "run.checkpoint_every=2"]
    assert run(folder, *settings, f"run.dir={folder / 'whole'}") == 0
    return settings, record(folder / "whole")


def test_the_same_command_twice_gives_the_same_weights(whole: tuple[list[str], dict[str, Any]], tmp_path: Path) -> None:
    settings, expected = whole
    assert run(tmp_path, *settings, f"run.dir={tmp_path / 'again'}") == 0
    assert record(tmp_path / "again") == expected


@pytest.mark.parametrize(
    ("where", "count"),
    [
        ("step", 1),  # before any checkpoint
        ("step", 12),  # in the second epoch, after a checkpoint inside it
        ("step", 14),  # the third epoch's first step: between epochs
        ("validation", 1),  # the second epoch's validation
        ("unsaved", 7),  # the second epoch's end: weights and metrics written, checkpoint not
        ("saved", 3),  # right after the first epoch's end
        ("finish", 0),  # trained, not tested
    ],
)
def test_killed_and_resumed_is_bit_equal(
    whole: tuple[list[str], dict[str, Any]], tmp_path: Path, where: str, count: int
) -> None:
    settings, expected = whole
    settings = [*settings, f"run.dir={tmp_path / 'run'}"]
    assert run(tmp_path, *settings, kill=(where, count)) == -9
    assert not (tmp_path / "run" / "result.json").exists()
    assert run(tmp_path, *settings, "resume=auto") == 0
    assert record(tmp_path / "run") == expected
    assert len(json.loads((tmp_path / "run" / "result.json").read_text())["resumed_at"]) == 1


def test_killed_twice_and_found_without_run_dir(whole: tuple[list[str], dict[str, Any]], tmp_path: Path) -> None:
    settings, expected = whole
    assert run(tmp_path, *settings, kill=("step", 5)) == -9
    assert run(tmp_path, *settings, "resume=auto", kill=("step", 9)) == -9
    assert run(tmp_path, *settings, "seed=9", "resume=auto") == 0  # another seed is another run
    assert run(tmp_path, *settings, "resume=auto") == 0
    runs = {p.name.split("_s")[1][0]: p for p in (tmp_path / "outputs" / "runs").iterdir()}
    assert set(runs) == {"1", "9"}
    assert record(runs["1"]) == expected
    assert len(json.loads((runs["1"] / "result.json").read_text())["resumed_at"]) == 2


def test_checkpoints_load_with_weights_only_and_hold_the_banks(tmp_path: Path) -> None:
    assert run(tmp_path, "method=selfmi", "trainer.max_epochs=1", f"run.dir={tmp_path / 'run'}") == 0
    files = list((tmp_path / "run" / "checkpoints").iterdir())
    assert [f.name for f in files] == ["last.ckpt"]
    state = torch.load(files[0], weights_only=True)
    assert state["trivium"]["bank"]["labels_joint"].shape == (320,)
    assert not any(key.startswith("bank") for key in state["state_dict"])
