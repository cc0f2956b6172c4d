"""Processes that are given from outside: an outer torchrun's ranks train together and write one directory."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from driver import ROOT, here, in_folder

QUICK = ["encoder=identity", "trainer.max_epochs=2", "trainer.progress=off", "optimizer.lr=0.01", "debug=exact"]


@pytest.mark.slow  # three processes that each import torch
def test_two_ranks_of_an_outer_torchrun_write_one_run_a_job(tmp_path: Path) -> None:
    settings = in_folder(tmp_path, *QUICK, "trainer.accelerator=cpu", "data.batch_size=45")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*command, str(ROOT / "train.py"), "-m", *settings, "trainer.devices=2", "seed=1,2"],
        capture_output=True, text=True, timeout=280, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    directories = {path.parent for path in tmp_path.rglob("config.yaml")}
    results = {path.parent: json.loads(path.read_text()) for path in tmp_path.rglob("result.json")}
    assert len(directories) == 2
    assert directories == results.keys()
    assert done.stdout.count("predicting the train mean") == 2  # one table a run, not one a rank
    for result in results.values():
        alone = here(tmp_path, *QUICK, "data.batch_size=45", f"seed={result['seed']}")
        assert result["world_size"] == 2
        assert result["test"] == pytest.approx(alone["test"], abs=1e-6)
        assert result["config_hash"] == alone["config_hash"]
    assert {result["seed"] for result in results.values()} == {1, 2}


def test_a_number_of_processes_that_contradicts_the_config_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    with pytest.raises(ValueError, match=r"2 processes were started .* trainer.devices x trainer.num_nodes is 1"):
        here(tmp_path, *QUICK)
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("devices", [1, 2])
def test_more_nodes_than_this_one_are_not_launched_from_here(tmp_path: Path, devices: int) -> None:
    with pytest.raises(ValueError, match=r"trainer.num_nodes=2: .*; start trivium train on every node with torchrun"):
        here(tmp_path, *QUICK, "trainer=ddp", "trainer.num_nodes=2", f"trainer.devices={devices}")
    assert not any(tmp_path.iterdir())
