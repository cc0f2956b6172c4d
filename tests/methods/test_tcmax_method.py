"""TCMax's method: its factors are the model's own scores of modalities from different clips; every objective trains.

The references run the whole model on recombined clips, encoders included; nothing of the factors is used in them.
"""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from driver import here, record, rows, run
from trivium.config.compose import compose_config
from trivium.data.batch import Batch, Stream
from trivium.methods.tcmax import TCMax
from trivium.objectives.factored import FactoredScores
from trivium.objectives.task import CrossEntropy
from trivium.runs.assemble import assemble

B, MODALITIES = 4, ("text", "audio", "vision")
SMALL = ["encoder=lstm", "encoder.hidden=3", "debug=exact", "trainer.accelerator=cpu"]
NO_DROPOUT = [f"fusion.{key}=0" for key in ("dropout", "embed_dropout", "memory_dropout")]
NO_DROPOUT += ["fusion.input_dropout.text=0", "fusion.attention_dropout.text=0"]
ADDITIVE = {
    "share": ["fusion=share"],
    "cosine": ["fusion=cosine"],
    "concat": ["fusion=concat", "fusion.out=0"],
    "concat-linear": ["fusion=concat", "fusion.activation=none", "fusion.out=6"],
    "sum": ["fusion=sum", "fusion.out=6"],
}
MIXING = {
    "concat-relu": ["fusion=concat", "fusion.out=6", "fusion.hidden=[5]"],
    "gmu": ["fusion=gmu", "fusion.out=6"],
    "tensor": ["fusion=tensor", "fusion.out=6", "fusion.project=2"],
    "lowrank": ["fusion=lowrank", "fusion.out=6", "fusion.rank=2"],
    "film": ["fusion=film"],
    "gated": ["fusion=gated", "fusion.out=6"],
    "bigated": ["fusion=bigated", "fusion.out=6"],
    "transformer": ["fusion=transformer", "fusion.dim=6", "fusion.heads=2"],
    "mult": ["fusion=mult", "fusion.dim=6", "fusion.width=4", "fusion.heads=2", "fusion.layers=1", *NO_DROPOUT],
    "hidden": ["fusion=share", "method.head_hidden=[5]"],
}
HEADS = {**ADDITIVE, **MIXING}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tcmax")


def made(folder: Path, *overrides: str) -> tuple[TCMax, Batch]:
    """The method in float64 and the first B clips of an epoch, some of which lack a modality."""
    settings = [*SMALL, f"data.batch_size={B}", f"paths.data={folder}", "method=tcmax", *overrides]
    _, data, method = assemble(compose_config(settings))
    assert isinstance(method, TCMax)
    method.double()
    batch: Batch = next(iter(data.loader("train", training=True)))
    streams = {name: replace(stream, values=stream.values.double()) for name, stream in batch.streams.items()}
    present = torch.tensor([[True, True, True], [True, False, True], [True, True, True], [False, True, False]])
    return method, replace(batch, streams=streams, present=present)


def recombined(batch: Batch) -> Batch:
    """B^M clips: every way to take text, audio and vision from different clips; vision varies fastest."""
    picks = torch.cartesian_prod(*[torch.arange(B)] * len(MODALITIES)).unbind(1)
    streams = {
        name: Stream(stream.values[rows], stream.mask[rows], stream.lengths[rows])
        for rows, (name, stream) in zip(picks, batch.streams.items(), strict=True)
    }
    present = torch.stack([batch.present[rows, m] for m, rows in enumerate(picks)], dim=1)
    return replace(batch, streams=streams, present=present)


def diagonal(scores: FactoredScores) -> Tensor:
    total = torch.stack([factor.score(factor.parts, factor.present) for factor in scores.factors]).sum(dim=0)
    return total if scores.bias is None else total + scores.bias


@pytest.mark.parametrize("head", HEADS)
def test_scores_are_the_models_own(folder: Path, head: str) -> None:
    """matched: the diagonal of the table and the head on the fusion's forward; unimodal: the batch restricted."""
    method, batch = made(folder, "objective=unimodal", *HEADS[head])
    scores = method.scores(batch)
    assert list(scores.unimodal) == list(MODALITIES)
    encoded = method.encode(batch)
    torch.testing.assert_close(scores.matched, method.head(method.fusion(encoded, batch.present)), rtol=0, atol=1e-12)
    torch.testing.assert_close(scores.matched, method.predict(batch).outputs, rtol=0, atol=1e-12)
    torch.testing.assert_close(diagonal(scores), scores.matched, rtol=0, atol=1e-12)
    assert len(scores.factors) == (len(MODALITIES) if head in ADDITIVE else 1)
    if head in ADDITIVE:
        torch.testing.assert_close(torch.stack(list(scores.unimodal.values())).sum(dim=0), scores.matched)
        return
    for name, alone in scores.unimodal.items():
        torch.testing.assert_close(alone, method.predict(batch.restrict([name])).outputs, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("head", "chunk"), [*((head, 7) for head in HEADS), ("share", 10**6), ("gated", 10**6)])
def test_loss_and_gradient_are_those_of_the_whole_model_on_all_recombined_clips(
    folder: Path, head: str, chunk: int
) -> None:
    method, batch = made(folder, *HEADS[head], f"objective.chunk={chunk}")
    objective = method.objective
    assert isinstance(objective, CrossEntropy)
    loss = method.losses(batch)["loss"]
    own = torch.autograd.grad(loss, list(method.parameters()))

    table_nC = method.predict(recombined(batch)).outputs
    labels = objective.classes(batch.targets["multimodal"])
    matched = method.predict(batch).outputs[torch.arange(B), labels].mean()
    expected = table_nC.logsumexp(dim=(0, 1)) - math.log(table_nC.numel()) - matched
    assert table_nC.shape == (B**3, 7)
    assert loss.item() == pytest.approx(expected.item(), abs=1e-11)
    for found, wanted in zip(own, torch.autograd.grad(expected, list(method.parameters())), strict=True):
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-11)


@pytest.mark.parametrize("head", ["share", "concat-relu", "hidden"])
@pytest.mark.parametrize("objective", ["tcmax", "unimodal"])
def test_what_an_absent_modality_holds_changes_no_bit(folder: Path, head: str, objective: str) -> None:
    method, batch = made(folder, *HEADS[head], f"objective={objective}")
    results = []
    for junk in (0.0, 5.0):
        streams = {
            name: replace(s, values=torch.where(batch.present[:, m, None, None], s.values, junk))
            for m, (name, s) in enumerate(batch.streams.items())
        }
        terms = method.losses(replace(batch, streams=streams))
        results.append([*terms.values(), *torch.autograd.grad(terms["loss"], list(method.parameters()))])
    assert all(torch.equal(one, other) for one, other in zip(*results, strict=True))


def test_dropout_of_the_parts_is_the_same_in_positives_and_pairings(folder: Path) -> None:
    method, batch = made(folder, "fusion=share", "fusion.dropout=0.5", "debug=none")
    method.train()
    scores = method.scores(batch)
    torch.testing.assert_close(diagonal(scores), scores.matched, rtol=0, atol=1e-12)
    assert not torch.equal(method.scores(batch).matched, scores.matched)


def test_autocast_leaves_the_scores_in_float32(folder: Path) -> None:
    method, batch = made(folder, "objective=unimodal", "fusion=gated")
    method.float()
    streams = {name: replace(s, values=s.values.float()) for name, s in batch.streams.items()}
    with torch.autocast("cpu", dtype=torch.bfloat16):
        scores = method.scores(replace(batch, streams=streams))
    assert scores.matched.dtype == torch.float32
    assert all(alone.dtype == torch.float32 for alone in scores.unimodal.values())
    torch.testing.assert_close(diagonal(scores), scores.matched, rtol=0, atol=1e-6)


def test_a_plain_objective_is_supervised_training(folder: Path) -> None:
    method, batch = made(folder, "objective=cross_entropy", "fusion=share")
    (loss,) = method.losses(batch).values()
    outputs = method.head(method.fusion(method.encode(batch), batch.present))
    expected = torch.nn.functional.cross_entropy(outputs, batch.targets["multimodal"].round().long() + 3)
    torch.testing.assert_close(loss, expected)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["fusion=cosine", "method.head_hidden=[4]"],
            r"method\.head_hidden: expected \[\], as Cosine has a head of it",
        ),
        (
            ["fusion=tensor", "fusion.dropout=0.1"],
            r"fusion\.dropout: TensorFusion drops what it has mixed.* fusion\.dr",
        ),
        (["fusion=concat", "fusion.hidden=[4]", "fusion.dropout=0.1"], r"fusion\.dropout: Concat drops"),
        (
            ["fusion=mult", "fusion.dropout=0"],
            r"fusion\.dropout: MulT drops what it has mixed.* every dropout of it at 0",
        ),
        (
            ["fusion=share", "encoder@encoders.text=identity"],
            r"fusion=share adds pooled vectors, .* text 16, audio 64,",
        ),
    ],
)
def test_what_does_not_go_together_is_refused(folder: Path, overrides: list[str], message: str) -> None:
    config = compose_config([*SMALL, f"paths.data={folder}", "method=tcmax", *overrides])
    with pytest.raises(ValueError, match=message):
        assemble(config)


def test_mixing_dropout_is_allowed_where_scores_are_asked_for_once(folder: Path) -> None:
    made(folder, "fusion=tensor", "fusion.dropout=0.1", "objective=cross_entropy")


# Whole runs

FAST = [
    "method=tcmax",
    "data.batch_size=40",
    "encoder=identity",
    "trainer.progress=off",
    "optimizer.lr=0.01",
    "encoder.out=16",
]
OBJECTIVES = {
    "tcmax": [],
    "tcmax_sampled": ["objective=tcmax", "objective.negatives=256", "fusion=concat"],
    "joint": ["objective=joint"],
    "unimodal": ["objective=unimodal"],
    "tcmax_regression": ["objective=tcmax_regression", "objective.negatives=512"],
    "l1": ["objective=l1"],
}


@pytest.mark.parametrize("name", OBJECTIVES)
def test_every_objective_learns(folder: Path, name: str) -> None:
    result: dict[str, Any] = here(folder, *FAST, *OBJECTIVES[name], "trainer.max_epochs=6")
    assert result["method"] == "tcmax"
    assert result["test"]["corr"] > 0.7
    assert result["test"]["mae"] < 0.7 * result["train_mean_mae"]["test"]


@pytest.mark.slow  # with another head; test_resume.py's tcmax draws negatives too
def test_killed_and_resumed_draws_the_same_negatives(tmp_path: Path) -> None:
    settings = [*FAST, "fusion=gated", "objective.negatives=64", "run.checkpoint_every=3", "trainer.max_epochs=2"]
    assert run(tmp_path, *settings, f"run.dir={tmp_path / 'whole'}") == 0
    assert run(tmp_path, *settings, f"run.dir={tmp_path / 'cut'}", kill=("step", 9)) == -9
    assert run(tmp_path, *settings, f"run.dir={tmp_path / 'cut'}", "resume=auto") == 0
    assert record(tmp_path / "cut") == record(tmp_path / "whole")


@pytest.mark.parametrize("head", ["share", "gated"])
def test_steps_log_the_estimate_and_each_reading(tmp_path: Path, head: str) -> None:
    here(tmp_path, *FAST, f"fusion={head}", "trainer.max_epochs=1", f"run.dir={tmp_path / 'run'}")
    (row,) = rows(tmp_path / "run" / "metrics.csv")
    assert float(row["train/tc_estimate"]) == pytest.approx(-float(row["train/loss"]), abs=1e-6)
    assert {f"train/reading_{name}" for name in MODALITIES} <= row.keys()
