"""A killed run, started again, ends as if it had never been killed: bit for bit, timings aside."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from driver import here, record, run

# 320 clips in batches of 72: 5 steps an epoch, the last one short; 15 in all. Small models: sizes change nothing here.
LSTM = ["encoder.hidden=8", "encoder.out=8", "fusion.out=16"]
TINY = ["encoder.dim=10", "encoder.feedforward=32", "encoder.layers=1", "fusion.dim=8"]
HEAD = ["method.head_hidden=[32,32]", "method.head_out=16"]
MULT = ["fusion.layers=1", "fusion.width=4", "fusion.heads=2", "fusion.dim=8", "encoder.hidden=4", "encoder.out=8"]
TETFN = ["fusion.layers=1", "fusion.width=4", "fusion.heads=2", "fusion.dim=8", "fusion.kernels.audio=3"]
ALMT = ["fusion.dim=8", "fusion.heads=2", "fusion.head_dim=4", "fusion.feedforward=8"]
LNLN = ["method.dim=8", "method.heads=2", "method.head_dim=4", "method.feedforward=8", "method.hidden=4"]
# Validation is worse after the third epoch, which tells whether the schedule and the record remember the best one.
PLATEAU = ["scheduler=plateau", "scheduler.patience=0", "optimizer.lr=0.03"]
SETTINGS = {
    "supervised": ["method=supervised", *LSTM, *PLATEAU, "fusion.dropout=0.1"],
    "supervised_mixup": ["method=supervised", *LSTM, "method.mixup=series", "method.modality_dropout=0.2"],
    "almt": ["fusion=almt", "encoder=identity", *ALMT, "scheduler=warmup_cosine", "method.modality_dropout=0.2"],
    "selfmi": [
        *("method=selfmi", *LSTM, "trainer.accumulate_grad_batches=2", "scheduler=cosine", "fusion.dropout=0.1"),
        "run.learning_imbalance=true",
    ],
    "selfmi_exact": ["method=selfmi", *LSTM, "debug=exact"],
    "selfmi_ba": [
        "method=selfmi",
        *LSTM,
        "method.pair_estimator=ba",
        "method.features=projected",
        "optimizer.lr=0.002",
    ],
    "selfmi_mixup": ["method=selfmi", *LSTM, "method.mixup=one", "fusion.dropout=0.1"],
    "tetfn": ["method=tetfn", "encoder.hidden=4", "encoder.out=8", *TETFN, "method.modality_dropout=0.2"],
    "mmim": ["method=mmim", *LSTM, "trainer.gradient_clip=1"],
    "mmim_all": [
        *("method=mmim", *LSTM, "trainer.gradient_clip=0.2", "method.clip_norm=all"),
        "trainer.accumulate_grad_batches=2",
    ],
    "lnln": ["method=lnln", *ALMT, *LNLN, "scheduler=cosine", "method.modality_dropout=0.2"],
    "tcmax": ["method=tcmax", *LSTM, "scheduler=cosine", "objective.negatives=500", "objective.chunk=64"],
    "tcmax_all": ["method=tcmax", *LSTM, "fusion=bigated"],
    "comm": ["method=comm", *TINY, *HEAD, "trainer.select=last"],
    "gmc": ["method=gmc", *MULT, "method.modality_dropout=0.2", "method.modality_dropout_law=imder"],
    "m3ixup": ["method=m3ixup", *MULT, "trainer.gradient_clip=0.8", "method.adapt_members=learned"],
    "mag_bert": ["method=mag_bert", "encoder.dim=8", "encoder.layers=1", "method.modality_dropout=0.2"],
    "misa": [
        "method=misa",
        "encoder.hidden=4",
        "method.dim=8",
        "fusion.feedforward=16",
        "trainer.gradient_clip=0.5",
        "trainer.gradient_clip_by=value",
    ],
    "m3ixup_two": ["method=m3ixup", *MULT, "method.steps=two", "method.unimodal_mix=series", "trainer.select=last"],
}
SLOW = {  # by their own verb: variants, and methods that test_target_kinds.py interrupts
    *("selfmi_exact", "misa", "mag_bert", "selfmi_ba", "supervised_mixup", "tcmax_all", "m3ixup_two"),
    *("almt", "selfmi_mixup", "tetfn", "mmim", "mmim_all", "lnln", "tcmax", "m3ixup"),
}


@pytest.fixture(
    scope="module", params=[pytest.param(name, marks=[pytest.mark.slow] * (name in SLOW)) for name in SETTINGS]
)
def whole(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[list[str], dict[str, Any]]:
    """The settings, and the record of a run that nobody killed."""
    return whole_run(request.param, tmp_path_factory.mktemp(request.param))


def whole_run(name: str, folder: Path) -> tuple[list[str], dict[str, Any]]:
    settings = [*SETTINGS[name], "data.batch_size=72", "run.checkpoint_every=2", "trainer.progress=off"]
    settings.append(f"paths.data={folder / 'data'}")
    here(folder, *settings, f"run.dir={folder / 'whole'}")
    whole = record(folder / "whole")
    assert "scheduler=plateau" not in settings or whole["best"] == (2, 3)
    return settings, whole


@pytest.mark.slow  # the next test has it too, and tells less when it fails
def test_the_same_command_in_another_process_gives_the_same_weights(
    whole: tuple[list[str], dict[str, Any]], tmp_path: Path
) -> None:
    settings, expected = whole
    assert run(tmp_path, *settings, f"run.dir={tmp_path / 'again'}") == 0
    assert record(tmp_path / "again") == expected


# Where each process is killed, one after the other on one run; counts begin with the process. Behind it: after how many
# batches the next one begins.
IN_TURN = [
    ("step", 1),  # before any checkpoint: 0
    ("saved", 2),  # right after the first epoch's end: 5
    ("step", 3),  # in the second epoch, after a checkpoint inside it: 7
    ("validation", 0),  # the second epoch's validation: 9
    ("unsaved", 0),  # the second epoch's end, its weights and metrics written, its checkpoint not: 9
    ("step", 1),  # the third epoch's first step: 10
    ("finish", 0),  # trained, not tested: 15
]
BEGINNINGS = [0, 1, 2, 3, 3, 4, 5]  # the order of those numbers: steps are fewer where gradients are accumulated


def killed_in_turn(whole: tuple[list[str], dict[str, Any]], folder: Path, moments: list[tuple[str, int]]) -> list[int]:
    """After how many batches each process but the first began, in a run killed at each moment that ends bit-equal."""
    settings, expected = whole
    settings = [*settings, f"run.dir={folder / 'run'}", "resume=auto"]
    for moment in moments:
        assert run(folder, *settings, kill=moment) == -9
        assert not (folder / "run" / "result.json").exists()
    assert run(folder, *settings) == 0
    assert record(folder / "run") == expected
    resumed: list[int] = json.loads((folder / "run" / "result.json").read_text())["resumed_at"]
    return resumed


def test_killed_in_the_second_epoch_and_before_the_final_test_it_ends_bit_equal(
    whole: tuple[list[str], dict[str, Any]], tmp_path: Path
) -> None:
    inside, trained = killed_in_turn(whole, tmp_path, [("step", 8), ("finish", 0)])
    assert 0 < inside < trained


@pytest.mark.slow  # of every method; the next test is of one
def test_killed_at_each_of_seven_moments_in_turn_it_ends_bit_equal(
    whole: tuple[list[str], dict[str, Any]], tmp_path: Path
) -> None:
    resumed = killed_in_turn(whole, tmp_path, IN_TURN)
    assert [sorted(set(resumed)).index(step) for step in resumed] == BEGINNINGS


def test_self_mi_killed_at_each_of_seven_moments_in_turn_ends_bit_equal(tmp_path: Path) -> None:
    resumed = killed_in_turn(whole_run("selfmi", tmp_path / "whole"), tmp_path, IN_TURN)
    assert [sorted(set(resumed)).index(step) for step in resumed] == BEGINNINGS


@pytest.mark.slow  # the moments above, each alone
@pytest.mark.parametrize(
    ("where", "count"),
    [("step", 1), ("step", 8), ("step", 10), ("validation", 1), ("unsaved", 5), ("saved", 2), ("finish", 0)],
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


@pytest.mark.parametrize("whole", ["selfmi"], indirect=True)  # which run is found is no matter of the method
def test_killed_twice_and_found_without_run_dir(whole: tuple[list[str], dict[str, Any]], tmp_path: Path) -> None:
    settings, expected = whole
    assert run(tmp_path, *settings, kill=("step", 3)) == -9
    assert run(tmp_path, *settings, "resume=auto", kill=("step", 6)) == -9
    assert run(tmp_path, *settings, "seed=9", "resume=auto") == 0  # another seed is another run
    assert run(tmp_path, *settings, "resume=auto") == 0
    runs = {p.name.split("_s")[1][0]: p for p in (tmp_path / "outputs" / "runs").iterdir()}
    assert set(runs) == {"1", "9"}
    assert record(runs["1"]) == expected
    assert len(json.loads((runs["1"] / "result.json").read_text())["resumed_at"]) == 2


def test_checkpoints_load_with_weights_only_and_hold_the_banks(tmp_path: Path) -> None:
    here(tmp_path, "method=selfmi", *LSTM, "trainer.max_epochs=1", f"run.dir={tmp_path / 'run'}")
    files = list((tmp_path / "run" / "checkpoints").iterdir())
    assert [f.name for f in files] == ["last.ckpt"]
    state = torch.load(files[0], weights_only=True)
    assert state["trivium"]["bank"]["labels_joint"].shape == (320,)
    assert not any(key.startswith("bank") for key in state["state_dict"])
