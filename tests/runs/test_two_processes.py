"""Two processes give one process's loss at every step, banks and an uneven last batch included."""

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from driver import record, rows, run

ROOT = Path(__file__).parents[2]
EXACT = ["debug=exact", "trainer.max_epochs=3", "trainer.patience=0", "trainer.progress=off", "optimizer.lr=0.005"]
# 320 clips in batches of 45: 8 steps an epoch, the last of 5 clips, 3 on one rank and 2 on the other.
TINY = ["encoder.feedforward=32", "encoder.layers=2", "method.head_hidden=[32,32]", "method.head_out=16"]
CLASSES = ["objective=cross_entropy", "trainer.accumulate_grad_batches=3"]
DROPPING = ["method.modality_dropout=0.2"]
MULT = ["fusion.layers=1", "fusion.width=10", "fusion.dim=12", "encoder.hidden=6", "encoder.out=12"]
METHODS = {
    "supervised": ["method=supervised", "data.batch_size=45"],
    "supervised_mixup": ["method=supervised", "method.mixup=series", "data.batch_size=29", *DROPPING],
    "selfmi": ["method=selfmi", "data.batch_size=45", "trainer.accumulate_grad_batches=3"],
    "selfmi_ba": ["method=selfmi", "method.pair_estimator=ba", "data.batch_size=45", "method.direction=symmetric"],
    # the last batch is one clip: the second rank runs a clip of weight 0
    "selfmi_filler": ["method=selfmi", "data.batch_size=29", "method.features=projected"],
    "selfmi_mixup": ["method=selfmi", "method.mixup=one", "data.batch_size=45", "trainer.accumulate_grad_batches=3"],
    "ogm_ge": ["method=supervised", *CLASSES, "method.balance=ogm_ge", "data.batch_size=45", "trainer.gradient_clip=1"],
    "mmpareto": ["method=supervised", *CLASSES, "method.balance=mmpareto", "data.batch_size=29"],
    "tcmax": ["method=tcmax", "data.batch_size=45"],
    "tcmax_mixing": ["method=tcmax", "fusion=film", "objective.chunk=4000", "data.batch_size=29"],
    "tcmax_drawn": ["method=tcmax", "fusion=gmu", "objective.negatives=300", "data.batch_size=45"],
    "tcmax_tokens": [
        "method=tcmax",
        "fusion=transformer",
        "fusion.dim=8",
        "objective.negatives=50",
        "data.batch_size=29",
    ],
    "comm": ["method=comm", *TINY, "data.batch_size=45"],
    "comm_filler": ["method=comm", *TINY, "data.batch_size=29", "trainer.accumulate_grad_batches=2"],
    "gmc": ["method=gmc", *MULT, "data.batch_size=45", "method.modality_dropout=0.3"],
    "m3ixup": ["method=m3ixup", *MULT, "data.batch_size=29", "trainer.accumulate_grad_batches=2"],
    "m3ixup_two": ["method=m3ixup", *MULT, "method.steps=two", "method.unimodal_mix=series", "data.batch_size=45"],
    "supcon": ["method=supcon", "encoder.feedforward=32", "encoder.layers=2", "data.batch_size=45"],
}


def _alone(folder: Path, *overrides: str) -> None:
    assert run(folder, *overrides, *EXACT) == 0


def _command(folder: Path, *overrides: str) -> list[str]:
    command = [sys.executable, str(ROOT / "train.py"), *overrides, *EXACT]
    return [*command, f"paths.data={folder / 'data'}", f"paths.outputs={folder / 'outputs'}", "trainer.accelerator=cpu"]


def _train(folder: Path, *overrides: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(_command(folder, *overrides), capture_output=True, text=True, timeout=280, cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def _losses(run_dir: Path) -> np.ndarray:  # type: ignore[type-arg]
    return np.array([float(row["loss"]) for row in rows(run_dir / "steps.csv")])


SLOW = {  # by their own verb: each is a variant of one that stands beside it
    "selfmi_ba",
    "mmpareto",
    "tcmax_mixing",
    "tcmax_drawn",
    "tcmax_tokens",
    "comm",
    "supcon",
    "supervised_mixup",
    "m3ixup_two",
}


@pytest.mark.parametrize("method", [pytest.param(m, marks=[pytest.mark.slow] * (m in SLOW)) for m in METHODS])
def test_two_gloo_processes_equal_one(tmp_path: Path, method: str) -> None:
    _alone(tmp_path, *METHODS[method], f"run.dir={tmp_path / 'one'}")
    _train(tmp_path, *METHODS[method], "trainer=ddp", "trainer.devices=2", f"run.dir={tmp_path / 'two'}")
    one, two = _losses(tmp_path / "one"), _losses(tmp_path / "two")
    assert len(one) == len(two) >= 24
    np.testing.assert_allclose(two, one, atol=1e-8)
    first, second = record(tmp_path / "one"), record(tmp_path / "two")
    assert first["scores"]["test"]["mae"] == pytest.approx(second["scores"]["test"]["mae"], abs=1e-8)
    for a, b in zip(first["epochs"], second["epochs"], strict=True):
        assert a.keys() == b.keys()
        assert [float(v) for v in a.values()] == pytest.approx([float(v) for v in b.values()], abs=1e-8)


def test_two_processes_under_a_sweep(tmp_path: Path) -> None:
    """Each job of -m trains its own config on both ranks."""
    settings = ["method=selfmi", "data.batch_size=45"]
    _train(tmp_path, "-m", *settings, "method.alpha=0.1,0.3", "trainer=ddp", "trainer.devices=2")
    for number, alpha in enumerate(("0.1", "0.3")):
        _alone(tmp_path, *settings, f"method.alpha={alpha}", f"run.dir={tmp_path / alpha}")
        (job,) = (tmp_path / "outputs" / "sweeps").glob(f"*/{number}")
        np.testing.assert_allclose(_losses(job), _losses(tmp_path / alpha), atol=1e-8)


def test_killed_parent_takes_its_workers_along_and_the_run_resumes_bit_equal(tmp_path: Path) -> None:
    settings = ["method=selfmi", "data.batch_size=45", "trainer=ddp", "trainer.devices=2", "run.checkpoint_every=2"]
    settings += ["run.log_steps=false", "fusion.dropout=0.1"]
    _train(tmp_path, *settings, f"run.dir={tmp_path / 'whole'}")
    process = subprocess.Popen(_command(tmp_path, *settings, f"run.dir={tmp_path / 'cut'}"), cwd=tmp_path)
    while not (tmp_path / "cut" / "metrics.csv").is_file():  # the first epoch is done
        assert process.poll() is None
        time.sleep(0.05)
    process.kill()
    process.wait()
    _train(tmp_path, *settings, f"run.dir={tmp_path / 'cut'}", "resume=auto")
    assert record(tmp_path / "cut") == record(tmp_path / "whole")
