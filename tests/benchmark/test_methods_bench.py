"""Tests what is timed beside a plain way: both sides compute the same, and their processes report."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
import torch

from benchmarks import comm_step, m3ixup_step, measure, suites, tcmax_loss
from benchmarks import run as bench
from benchmarks.child_process import timed
from benchmarks.measure import BenchmarkSettings, TCMaxSizes
from benchmarks.plain_comm import PlainCoMM, plain_view, two_views
from benchmarks.ratio_table import Measurement, comm_rows, gmc_rows, show, tcmax_rows
from benchmarks.training_steps import batches, described, our_step
from trivium.methods.build import turn_off_dropout

TINY_COMM = ("encoder.layers=1", "encoder.feedforward=16", "method.head_hidden=[16]", "method.head_out=8")
TINY = BenchmarkSettings(fraction=1.0, repeats=1, steps=1, threads=1, mmsa=None, comm=TINY_COMM)
SMALL_TABLES = TCMaxSizes((8, 3), (32, 309), (256, 512), 256, fusions=())


@pytest.mark.parametrize(("clips", "classes"), [(512, 7), (64, 309)])
def test_dense_table_and_ours_are_one_loss_with_the_same_gradients(clips, classes):
    result = []
    for side in ("ours", "dense"):
        first, second, labels = tcmax_loss._scores(clips, classes)
        loss = tcmax_loss.SIDES[side](first, second, labels)
        result.append([loss.detach(), *torch.autograd.grad(loss, (first, second))])
    for mine, theirs in zip(*result, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-5)
    assert abs(float(result[0][0])) > 0.1  # constant scores would give 0 on both sides
    assert float(result[0][1].abs().max()) > 1e-4


def test_plain_comm_and_ours_are_one_loss_with_the_same_gradients():
    batch = batches("mosi", comm_step.DIMS, comm_step.CLIPS, 1)[0]
    result = []
    for plain in (False, True):
        method = comm_step.build(TINY_COMM)
        turn_off_dropout(method)
        if plain:
            loss = torch.stack(PlainCoMM(method).losses(two_views(method, batch))).mean()
        else:
            loss = method.losses(batch)["loss"]
        loss.backward()
        gradients = {name: p.grad for name, p in method.named_parameters() if not name.startswith("readout")}
        result.append((loss.detach(), gradients))
    (ours, mine), (plain, theirs) = result
    torch.testing.assert_close(ours, plain, rtol=0, atol=1e-5)
    assert mine.keys() == theirs.keys()
    for name, gradient in theirs.items():
        torch.testing.assert_close(mine[name], gradient, rtol=1e-3, atol=1e-5, msg=name)


def test_both_sides_train_every_weight():
    batch = batches("mosi", comm_step.DIMS, comm_step.CLIPS, 1)[0]
    for make in (our_step, comm_step.plain_step):
        method = comm_step.build(TINY_COMM)
        before = {name: p.detach().clone() for name, p in method.named_parameters()}
        make(method)(batch)
        stuck = {name for name, p in method.named_parameters() if torch.equal(p, before[name])}
        assert {name for name in stuck if not name.startswith("readout")} <= {
            name for name in before if name.endswith("bias") and "linears" in name
        }, make  # a bias before batch normalisation has no effect


def test_plain_augmentation_is_ours_by_its_statistics():
    """Share of steps that are 0 before the noise, share of clips with noise and its size."""
    batch = batches("full", comm_step.DIMS, comm_step.CLIPS)[0]
    streams = {name: replace(s, values=torch.ones_like(s.values)) for name, s in batch.streams.items()}
    method = comm_step.build(TINY_COMM)
    torch.manual_seed(0)
    views = {
        "plain": [plain_view(streams) for _ in range(20)],
        "ours": [method.augment(streams, batch.index, key) for key in range(20)],
    }
    for name in streams:
        of = {side: torch.stack([view[name].values for view in made]) for side, made in views.items()}
        for side, values in of.items():
            dropped = (values.mean(dim=-1) < 0.5).float().mean()
            assert float(dropped) == pytest.approx(0.5 * 0.4, abs=0.02), side  # a coin, and U(0, 0.8) of the steps
            noisy = values.std(dim=-1).mean(dim=-1) > 0.05
            assert float(noisy.float().mean()) == pytest.approx(0.5, abs=0.04), side
            assert float(values.std(dim=-1)[noisy].mean()) == pytest.approx(0.1, abs=0.01), side


def test_padding_of_a_plain_view_stays_zero():
    stream = batches("mosi", comm_step.DIMS, comm_step.CLIPS, 1)[0].streams["text"]
    view = plain_view({"text": stream})["text"]
    assert not torch.equal(view.values, stream.values)
    assert float(view.values[~stream.mask].abs().max()) == 0.0


def test_lengths_are_mosis():
    steps = described(batches("mosi", comm_step.DIMS, comm_step.CLIPS))
    assert steps["mean"] == pytest.approx(12, abs=0.2)
    assert steps["p90"] == pytest.approx(23, abs=1)
    assert steps["max"] == 50
    assert described(batches("full", comm_step.DIMS, comm_step.CLIPS)) == {
        "mean": 50,
        "p90": 50,
        "max": 50,
        "padded": 50,
    }


def test_comm_rows_come_out():
    result = {}
    for lengths in measure.LENGTHS:
        reported = []
        comm_step.compare(reported.append, lengths=lengths, steps=1, warm_up=0, overrides=TINY_COMM)
        (result[lengths],) = reported
    rows = comm_rows(result)
    assert [row.target for row in rows] == [1.5, None, 1.0, None]
    assert all(len(row.ours) == len(row.theirs) == 1 and row.ours[0] > 0 for row in rows)
    assert "mean 50.0 steps, padded to 50.0" in rows[2].name


@pytest.mark.slow
def test_comm_is_measured_in_processes():
    result = measure.comm(TINY)
    assert [len(result[lengths][side]) for lengths in measure.LENGTHS for side in ("ours", "plain")] == [1] * 4


@pytest.mark.parametrize("fusion", ["gated", "gmu"])
def test_three_mixed_modalities_are_measured(fusion):
    result = []
    tcmax_loss.mixing(result.append, clips=6, classes=7, size=4, fusion=fusion)
    sizes = TCMaxSizes((8, 3), (8, 3), (), mixing=(6, 7), size=4)
    times = {
        name: {side: [{"seconds": 1.0, "cpu_seconds": 1.0}] for side in tcmax_loss.SIDES} for name in ("small", "large")
    }
    rows = tcmax_rows(times, {"ours": [], "dense": []}, {fusion: result}, sizes)[-2:]
    assert [row.name for row in rows] == [
        f"three modalities, {fusion} of 4, B=6, C=7, {what}" for what in ("peak memory", "forward and backward")
    ]
    assert rows[0].limit == 512
    assert 0 < rows[1].ours[0] < 60


@pytest.mark.parametrize(
    "mode", ["float32", "bf16-mixed", pytest.param("compiled", marks=pytest.mark.slow)]
)  # compiling takes minutes
def test_steps_on_a_device_are_timed_in_each_mode(mode):
    result = []
    keys = {"steps": 2, "warm_up": 1, "mode": mode, "device": "cpu", "overrides": TINY_COMM}
    comm_step.alone(result.append, lengths="mosi", **keys)
    assert [step["seconds"] > 0 for step in result[0]] == [True, True]


@pytest.mark.slow  # 11 s
def test_command_prints_and_writes_the_chosen_suite(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(suites.measure, "TCMaxSizes", lambda: SMALL_TABLES)
    out = tmp_path / "out.json"
    assert bench.main(["suite=tcmax", "repeats=1", "steps=2", f"out={out}"]) == 0
    assert "dense table" in capsys.readouterr().out
    result = json.loads(out.read_text())["suites"]
    assert list(result) == ["tcmax"]
    assert result["tcmax"]["against"] == "dense table"
    rows = {row["measure"]: row for row in result["tcmax"]["rows"]}
    assert len(rows) == len(result["tcmax"]["rows"]) == 4 + 2 + 1
    for name, n, target in (("B=8, C=3", 2, 20), ("B=32, C=309", 1, 1000)):
        row = rows[f"TCMax forward and backward, {name}"]
        assert (row["n"], row["target"]) == (n, target)
        # That of the medians of two lies between the two ratios, however far these are apart on a busy machine.
        of_medians = row["theirs"]["median"] / row["ours"]["median"]
        assert row["ratio"]["least"] * (1 - 1e-9) <= of_medians <= row["ratio"]["most"] * (1 + 1e-9)
    assert rows["its peak memory, B=256, C=309"]["ratio"]["median"] > 10
    assert "theirs" not in rows["its peak memory, B=512, C=309"]
    assert 1.5 < rows["growth of that where B doubles (2 is linear)"]["ours"]["median"] < 3  # 4 is quadratic


def test_suite_without_gpu_rows_is_refused_there(capsys):
    assert bench.main(["suite=tcmax", "gpu=true"]) == 2
    assert "expected one of mmsa, comm" in capsys.readouterr().err


def test_verdict_on_a_limit(capsys):
    show(
        [Measurement("memory", "MiB", [500.0], limit=512), Measurement("memory", "MiB", [600.0], limit=512)],
        "",
        "dense",
    )
    first, second = (line for line in capsys.readouterr().out.splitlines() if "MiB" in line)
    assert "at most 512 met" in first
    assert "at most 512 missed" in second


def test_short_work_is_a_mean_of_many():
    calls = []
    taken = timed(lambda: calls.append(1), least=0.01)
    assert len(calls) > 10
    assert taken["seconds"] * len(calls) >= 0.01
    assert not math.isnan(taken["cpu_seconds"])
    calls.clear()
    timed(lambda: calls.append(1))
    assert len(calls) == 1


def test_m3ixup_is_measured_beside_gmc_on_the_same_weights():
    overrides = ("fusion=transformer", "encoder.hidden=4")
    first, second = (m3ixup_step.build(name, overrides).state_dict() for name in ("gmc", "m3ixup"))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
    reported = []
    m3ixup_step.compare(reported.append, lengths="mosi", steps=2, warm_up=0, overrides=overrides)
    rows = gmc_rows({"mosi": reported[0]})
    assert [(len(row.ours), len(row.theirs), row.target) for row in rows] == [(2, 2, 0.5), (2, 2, None)]
