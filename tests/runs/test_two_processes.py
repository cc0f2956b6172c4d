"""Two processes give one process's loss at every step, banks and an uneven last batch included."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from driver import ROOT, command, here, in_folder, record, rows, run, run_ranks, run_ranks_each
from trivium.runs.directory import RunDirectory

DDP = ["trainer=ddp", "trainer.devices=2"]
EXACT = ["debug=exact", "trainer.max_epochs=2", "trainer.patience=0", "trainer.progress=off", "optimizer.lr=0.005"]
LSTM = "encoder.hidden=8 encoder.out=8"  # small models: sizes change nothing here
TINY = "encoder.dim=10 encoder.feedforward=32 encoder.layers=1 fusion.dim=8"
HEAD = "method.head_hidden=[32,32] method.head_out=16"
MULT = "fusion.layers=1 fusion.width=4 fusion.heads=2 fusion.dim=8 encoder.hidden=4 encoder.out=8"
ALMT = "fusion.dim=8 fusion.heads=2 fusion.head_dim=4 fusion.feedforward=8"
LNLN = "method.dim=8 method.heads=2 method.head_dim=4 method.feedforward=8 method.hidden=4"
IMBALANCE = "run.learning_imbalance=true"
IMDER = "method.modality_dropout=0.3 method.modality_dropout_law=imder"
CLASSES = "objective=cross_entropy trainer.accumulate_grad_batches=3"
# Of 320 clips: 8 steps an epoch, the last of 5 clips, 3 on one rank and 2 on the other
BY45 = "data.batch_size=45"
# 12 steps, the last of one clip: the second rank runs a clip of weight 0
BY29 = "data.batch_size=29"
METHODS = {
    "supervised": f"method=supervised {LSTM} {BY45} {IMBALANCE}",
    "supervised_mixup": f"method=supervised {LSTM} {BY29} method.mixup=series method.modality_dropout=0.2",
    "almt": f"fusion=almt encoder=identity {ALMT} {BY29} method.modality_dropout=0.2",
    "selfmi": f"method=selfmi {LSTM} {BY45} trainer.accumulate_grad_batches=3 {IMBALANCE}",
    "selfmi_ba": f"method=selfmi {LSTM} {BY45} method.pair_estimator=ba method.direction=symmetric",
    "selfmi_filler": f"method=selfmi {LSTM} {BY29} method.features=projected",
    "selfmi_mixup": f"method=selfmi {LSTM} {BY45} method.mixup=one trainer.accumulate_grad_batches=3",
    "tetfn": f"method=tetfn {MULT} {BY45} fusion.kernels.audio=3 method.modality_dropout=0.3",
    "mmim": f"method=mmim {LSTM} {BY45} method.pairs=[[text,vision],[audio,vision]] trainer.gradient_clip=1",
    "mmim_all": f"method=mmim {LSTM} {BY29} method.clip_norm=all trainer.gradient_clip=0.2",
    "mmim_filler": f"method=mmim {LSTM} {BY29} method.stand_in=conditional method.modality_dropout=0.3",
    "ogm_ge": f"method=supervised {LSTM} {BY45} {CLASSES} method.balance=ogm_ge trainer.gradient_clip=1",
    "mmpareto": f"method=supervised {LSTM} {BY29} {CLASSES} method.balance=mmpareto",
    "tcmax": f"method=tcmax {LSTM} {BY45} fusion.out=16",
    "tcmax_mixing": f"method=tcmax {LSTM} {BY29} fusion=film objective.chunk=4000",
    "tcmax_drawn": f"method=tcmax {LSTM} {BY45} fusion=gmu objective.negatives=300",
    "tcmax_tokens": f"method=tcmax {LSTM} {BY29} fusion=transformer fusion.dim=8 objective.negatives=50",
    "comm": f"method=comm {TINY} {HEAD} {BY45}",
    "comm_filler": f"method=comm {TINY} {HEAD} {BY29} trainer.accumulate_grad_batches=2",
    "supcon": f"method=supcon {TINY} {BY45}",
    "lnln": f"method=lnln {ALMT} {LNLN} {BY29} method.modality_dropout=0.2",
    "gmc": f"method=gmc {MULT} {BY45} method.modality_dropout=0.3 method.modality_dropout_law=gcnet",
    "m3ixup": f"method=m3ixup {MULT} {BY29} trainer.accumulate_grad_batches=2",
    "mag_bert": f"method=mag_bert encoder.dim=8 encoder.layers=1 {BY29} method.modality_dropout=0.3",
    "misa": f"method=misa encoder.hidden=4 method.dim=8 {BY29} {IMDER}",
    "m3ixup_two": f"method=m3ixup {MULT} {BY45} method.steps=two method.unimodal_mix=series",
}


SLOW = {  # by their own verb: each is a variant of one that stands beside it, or of test_target_kinds.py
    *(
        "supervised_mixup",
        "selfmi_ba",
        "mmim_filler",
        "mmim_all",
        "mmpareto",
        "tcmax_mixing",
        "tcmax_drawn",
        "tcmax_tokens",
    ),
    *("m3ixup_two", "selfmi_filler", "comm_filler", "selfmi_mixup", "supcon", "almt", "lnln", "tetfn"),
}


def _losses(run_dir: Path) -> np.ndarray:  # type: ignore[type-arg]
    return np.array([float(row["loss"]) for row in rows(run_dir / "steps.csv")])


@pytest.fixture(scope="module")
def on_two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the methods' runs on two processes, the same two for all, one method after the other."""
    folder = tmp_path_factory.mktemp("two")
    runs = [[*METHODS[m].split(), *EXACT, f"run.dir={folder / m}"] for m in METHODS if m not in SLOW]
    assert run_ranks_each(folder, runs) == [0, 0]
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("method", sorted(SLOW))
def test_two_gloo_processes_of_their_own_equal_one(tmp_path: Path, method: str) -> None:
    # TETFN's generated labels enter its loss in the third epoch; how far they moved is among the epochs' values.
    longer = ["trainer.max_epochs=3"] if method == "tetfn" else []
    settings = [*METHODS[method].split(), *EXACT, *longer]
    here(tmp_path, *settings, f"run.dir={tmp_path / 'one'}")
    assert run_ranks(tmp_path, *settings, f"run.dir={tmp_path / 'two'}") == [0, 0]
    _compare(tmp_path / "one", tmp_path / "two")


@pytest.mark.parametrize("method", [method for method in METHODS if method not in SLOW])
def test_two_gloo_processes_equal_one(tmp_path: Path, on_two: Path, method: str) -> None:
    here(tmp_path, *METHODS[method].split(), *EXACT, f"run.dir={tmp_path / 'one'}")
    _compare(tmp_path / "one", on_two / method)


@pytest.mark.parametrize("by", ["torchrun", "srun -n 2"])
def test_who_starts_the_processes_changes_nothing(tmp_path: Path, by: str) -> None:
    settings = [*METHODS["supervised"].split(), *EXACT]
    here(tmp_path, *settings, f"run.dir={tmp_path / 'one'}")
    assert run_ranks(tmp_path, *settings, f"run.dir={tmp_path / 'two'}", by=by) == [0, 0]
    _compare(tmp_path / "one", tmp_path / "two")


def _compare(one_run: Path, two_run: Path) -> None:
    one, two = _losses(one_run), _losses(two_run)
    assert len(one) == len(two) >= 16
    np.testing.assert_allclose(two, one, atol=1e-8)
    first, second = record(one_run), record(two_run)
    assert first["scores"]["test"]["mae"] == pytest.approx(second["scores"]["test"]["mae"], abs=1e-8)
    for a, b in zip(first["epochs"], second["epochs"], strict=True):
        assert a.keys() == b.keys()
        assert [float(v) for v in a.values()] == pytest.approx([float(v) for v in b.values()], abs=1e-8)


@pytest.mark.slow
def test_two_processes_under_a_sweep(tmp_path: Path) -> None:
    """Each job of -m starts two processes of its own, and both train that job's config."""
    settings = [*f"method=selfmi {LSTM} {BY45}".split(), *EXACT]
    code, printed = command(tmp_path, "-m", *in_folder(tmp_path, *settings, "method.cpc_weight=0.1,0.3", *DDP))
    assert code == 0, printed
    for number, alpha in enumerate(("0.1", "0.3")):
        here(tmp_path, *settings, f"method.cpc_weight={alpha}", f"run.dir={tmp_path / alpha}")
        (job,) = (tmp_path / "outputs" / "sweeps").glob(f"*/{number}")
        np.testing.assert_allclose(_losses(job), _losses(tmp_path / alpha), atol=1e-8)


def test_killed_parent_takes_its_workers_along_and_the_run_resumes_bit_equal(tmp_path: Path) -> None:
    settings = [*f"method=selfmi {LSTM} {BY45}".split(), *EXACT, "trainer.max_epochs=6", "run.checkpoint_every=2"]
    settings += ["run.log_steps=false", "fusion.dropout=0.1"]
    assert run_ranks(tmp_path, *settings, f"run.dir={tmp_path / 'whole'}") == [0, 0]
    settings = [*settings, *DDP, f"run.dir={tmp_path / 'cut'}"]
    parent = subprocess.Popen([sys.executable, str(ROOT / "train.py"), *in_folder(tmp_path, *settings)], cwd=tmp_path)
    while not (tmp_path / "cut" / "metrics.csv").is_file():  # the first epoch is done
        assert parent.poll() is None
        time.sleep(0.05)
    parent.kill()
    parent.wait()
    assert run(tmp_path, *settings, "resume=auto") == 0
    assert record(tmp_path / "cut") == record(tmp_path / "whole")
    assert json.loads((tmp_path / "cut" / "result.json").read_text())["resumed_at"] > [0]


def test_sigterm_for_all_processes_of_a_job_ends_none_where_the_command_ignores_it(tmp_path: Path) -> None:
    """SLURM sends it to all of them at a preemption; a job that ends by it has failed, and is not queued again."""
    settings = ["encoder=identity", *DDP, "trainer.max_epochs=4", f"run.dir={tmp_path / 'run'}"]
    parent = psutil.Popen(
        [sys.executable, str(ROOT / "train.py"), *in_folder(tmp_path, *settings)],
        cwd=tmp_path,
        preexec_fn=lambda: signal.signal(signal.SIGTERM, signal.SIG_IGN),
    )
    while not (tmp_path / "run" / "metrics.csv").is_file():
        assert parent.poll() is None
        time.sleep(0.02)
    for process in parent.children(recursive=True):
        process.terminate()
    assert parent.wait(timeout=120) == 0
    assert json.loads((tmp_path / "run" / "run.json").read_text())["status"] == "finished"


# Lets a worker's interpreter take seconds to start, as on a loaded machine, before any code of ours has run.
LATE = "import sys, time\nif 'trivium.runs.worker' in ' '.join(sys.orig_argv): time.sleep(4)\n"


def test_a_group_killed_in_its_workers_first_seconds_leaves_none_and_its_lock_until_then(tmp_path: Path) -> None:
    (tmp_path / "late").mkdir()
    (tmp_path / "late" / "sitecustomize.py").write_text(LATE)
    path = os.pathsep.join([str(tmp_path / "late"), *filter(None, [os.environ.get("PYTHONPATH")])])
    settings = in_folder(tmp_path, "encoder=identity", *DDP, f"run.dir={tmp_path / 'run'}")
    parent = psutil.Popen(
        [sys.executable, str(ROOT / "train.py"), *settings], cwd=tmp_path, env={**os.environ, "PYTHONPATH": path}
    )
    workers: list[psutil.Process] = []
    while len(workers) < 2:
        assert parent.poll() is None
        time.sleep(0.02)
        (*_, torchrun), workers = [parent, *parent.children()], parent.children(recursive=True)[1:]
    torchrun.kill()
    parent.kill()
    parent.wait()
    assert RunDirectory(tmp_path / "run").in_use
    _, alive = psutil.wait_procs(workers, timeout=20)
    for worker in alive:
        worker.kill()
    assert not alive
    assert not RunDirectory(tmp_path / "run").in_use
