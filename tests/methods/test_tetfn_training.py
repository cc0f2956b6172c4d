"""TETFN in a training: when its unimodal losses begin, what its labels are clamped to, and which rate trains what."""

from __future__ import annotations

from pathlib import Path

import torch

from driver import here, rows
from trivium.config.compose import compose_config
from trivium.methods.base import Method
from trivium.methods.selfmi import SelfMI
from trivium.runs.assemble import assemble

BASE = ["method=tetfn", "trainer.accelerator=cpu", "trainer.progress=off", "trainer.limit_batches=3"]
BASE += ["encoder.hidden=6", "encoder.out=0", "fusion.width=10", "fusion.layers=1", "data.batch_size=64"]


def _method(tmp_path: Path, *overrides: str) -> Method:
    return assemble(compose_config([*BASE, f"paths.data={tmp_path}", f"paths.outputs={tmp_path}", *overrides]))[2]


def test_3_and_4_unimodal_losses_begin_in_the_third_epoch_and_labels_stay_in_their_limit(tmp_path: Path) -> None:
    settings = [*BASE, "trainer.max_epochs=3", "trainer.patience=0", "method.label_limit=0.5"]
    here(tmp_path, *settings, f"run.dir={tmp_path / 'run'}")
    found = [
        [float(row[f"train/{s}"]) for s in ("text", "audio", "vision")]
        for row in rows(tmp_path / "run" / "metrics.csv")
    ]
    assert found[:2] == [[0.0] * 3] * 2
    assert min(found[2]) > 0
    bank = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)["trivium"]["bank"]
    human = bank["labels_joint"]
    assert human.abs().max() > 2  # the human labels never change
    moved = bank["labels_text"] != human
    assert moved.any()
    # A label in epoch n is the mean of the human one and the generated ones so far: (h + 2 g_2 + 3 g_3) / 6, |g| <= .5.
    assert (bank["labels_text"] - human / 6)[moved].abs().max() <= 0.5 * 5 / 6 + human.abs().max() / 3


def test_labels_are_clamped_to_the_data_s_range_unless_told_otherwise(tmp_path: Path) -> None:
    for settings, high in ((["data=fixture_sims"], 1.0), (["data=fixture_sims", "method.label_limit=3"], 3.0)):
        method = _method(tmp_path, *settings)
        assert isinstance(method, SelfMI)
        assert method.bank.high == high


def test_the_convolutions_of_audio_and_vision_have_their_encoders_rate_and_that_of_text_has_not(tmp_path: Path) -> None:
    method = _method(tmp_path, "optimizer.groups.text.lr=0.1", "optimizer.groups.vision.lr=0.2", "optimizer.lr=0.3")
    assert method.make_optimizer is not None
    optimizer = method.make_optimizer(method)
    rate = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    assert [rate[id(c.weight)] for c in method.fusion.convolutions] == [0.3, 0.005, 0.2]  # type: ignore[union-attr]
    assert rate[id(next(method.encoders["text"].parameters()))] == 0.1
    assert len(rate) == sum(parameter.requires_grad for parameter in method.parameters())
