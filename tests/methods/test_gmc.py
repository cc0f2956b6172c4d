"""GMC: its loss by hand, representations of incomplete clips, parameter counts, ranks."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from gmc_cases import DIMS, batch_of, gradients, method_of

from driver import here, record
from ranks import on_ranks
from trivium.config.compose import compose_config
from trivium.data.store import StoreSchema
from trivium.data.target import Target
from trivium.fusions.concat import Concat
from trivium.methods.build import build_method
from trivium.methods.gmc import GMC
from trivium.objectives.task import CrossEntropy


@pytest.mark.parametrize(
    ("experiment", "dims", "count"),
    [("gmc_mosei", (300, 74, 35), 1_411_081), ("gmc_mosi", (300, 5, 20), 1_401_001)],
)
def test_parameters_are_as_many_as_in_gmc(experiment, dims, count):
    sizes = dict(zip(("text", "audio", "vision"), dims, strict=True))
    schema = StoreSchema(
        "d", "d/f", sizes, {"train": 9}, dict.fromkeys(sizes, 50), {"multimodal": Target("score", range=(-3.0, 3.0))}
    )
    for name in (experiment, experiment.replace("gmc", "m3ixup")):
        method = build_method(compose_config([f"experiment={name}"]), schema, dict.fromkeys(sizes, "values"))
        assert sum(p.numel() for p in method.parameters()) == count


def test_loss_is_task_plus_the_contrast_of_each_modality_with_the_joint_vector():
    method, batch = method_of(GMC), batch_of(5)
    terms = {name: term.detach() for name, term in method.losses(batch).items()}
    unit = {name: v.detach().numpy() for name, v in method.vectors(batch).items()}
    np.testing.assert_allclose([np.linalg.norm(v, axis=1) for v in unit.values()], 1, atol=1e-12)
    total = 0.0
    for name in DIMS:  # section 5 of the specification
        x = np.concatenate([unit["joint"], unit[name]])
        scores = np.exp(x @ x.T / 0.3)
        for r in range(10):
            total += (np.log(scores[r].sum() - scores[r, r]) - np.log(scores[r, (r + 5) % 10])) / 10
    assert float(terms["gmc"]) == pytest.approx(total, abs=1e-12)
    z = torch.from_numpy(unit["joint"])
    head = method.predictor
    hidden = z + head.linear2(torch.relu(head.linear1(z)))
    score = hidden @ head.out.weight[0] + head.out.bias
    assert float(terms["task"]) == pytest.approx(
        float((score - batch.targets["multimodal"]).detach().abs().mean()), abs=1e-12
    )
    assert float(terms["loss"]) == pytest.approx(float(terms["task"]) + float(terms["gmc"]), abs=1e-12)


def test_a_clip_with_every_modality_is_its_joint_vector_any_other_the_plain_mean():
    method = method_of(GMC).eval()
    present = torch.tensor([[1, 1, 1], [1, 0, 1], [0, 1, 0], [1, 1, 0]]).bool()
    whole, part = batch_of(4), batch_of(4).without(~present)
    own = method.vectors(whole)
    found = method.predict(part).features
    np.testing.assert_allclose(found[0].detach(), own["joint"][0].detach(), atol=1e-12)
    by_hand = {
        1: (own["text"][1] + own["vision"][1]) / 2,
        2: own["audio"][2],
        3: (own["text"][3] + own["audio"][3]) / 2,
    }
    for clip, mean in by_hand.items():
        np.testing.assert_allclose(found[clip].detach(), mean.detach(), atol=1e-12)
    assert not np.allclose(found[1].detach().norm(), 1)  # not normalised again


def test_incomplete_clips_have_a_task_loss_and_no_part_in_the_contrast():
    method = method_of(GMC)
    present = torch.ones(6, 3, dtype=torch.bool)
    present[1, 0] = present[4, 1] = present[4, 2] = False
    mixed, kept = batch_of(6, present=present), [0, 2, 3, 5]
    alone = batch_of(indices=kept)
    seen, alone_seen = method.to_common_space(mixed), method.to_common_space(alone)
    with torch.no_grad():
        found, expected = method.contrast_and_task(seen, mixed), method.contrast_and_task(alone_seen, alone)
    np.testing.assert_allclose(found["task"][kept], expected["task"], atol=1e-12)
    assert found["task"][1].item() > 0
    assert found["gmc"][[1, 4]].tolist() == [0.0, 0.0]
    np.testing.assert_allclose(float(found["gmc"].mean()), float(expected["gmc"].mean()), atol=1e-12)


def test_no_complete_clip_is_no_contrast_and_no_nan():
    method = method_of(GMC)
    terms, grads = gradients(method, batch_of(4, present=torch.tensor([[1, 0, 0]] * 4).bool()))
    assert float(terms["gmc"]) == 0
    assert all(g is None or bool(g.isfinite().all()) for g in grads.values())


@pytest.mark.parametrize("steps", ["inputs", "encoded"])
def test_the_joint_encoder_reads_what_it_is_told(steps):
    """`inputs`: no gradient of the task loss reaches a modality's encoder through the joint one."""
    method = method_of(GMC, joint=steps, weights={"gmc": 0.0})
    _, grads = gradients(method, batch_of())
    through = sum(float(g.abs().sum()) for name, g in grads.items() if name.startswith("encoders") and g is not None)
    assert (through > 0) == (steps == "encoded")


def test_any_fusion_and_classes_will_do():
    method = method_of(
        GMC, joint="encoded", fusion=lambda dims: Concat(dict.fromkeys(dims, 8), out=5), objective=CrossEntropy((-3, 3))
    )
    prediction = method.predict(batch_of())
    assert prediction.probabilities.shape == (7, 7)
    assert bool(method.losses(batch_of())["loss"].isfinite())


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"weights": {"gcm": 1.0}}, "method.weights.gcm: no such term; nearest is gmc"),
        ({"weights": {"task": -1.0}}, "expected a number from 0"),
        ({"weights": {"task": 0.0, "gmc": 0.0}}, "all are 0"),
        ({"joint": "input"}, "expected one of inputs, encoded"),
        ({"temperature": 0.0}, "method.temperature"),
        ({"common": 0}, "method.common"),
    ],
)
def test_wrong_settings_are_named(keys, said):
    with pytest.raises(ValueError, match=said):
        method_of(GMC, **keys)


def _rank(rank, shares, present, kind, keys):
    start = sum(shares[:rank])
    mine = list(range(start, start + shares[rank])) or [0]
    batch = batch_of(indices=mine, present=None if present is None else present[mine], shares=shares, rank=rank)
    terms, grads = gradients(method_of(kind, **keys), batch)
    return terms, {name: g for name, g in grads.items() if g is not None}


def equal_on_ranks(shares, kind=GMC, present=None, **keys):
    """Terms and gradients of the ranks' mean against one process's; shared with test_m3ixup."""
    clips = sum(shares)
    whole, whole_grads = gradients(method_of(kind, **keys), batch_of(clips, present=present))
    parts = on_ranks(len(shares), _rank, shares, present, kind, keys)
    for name, value in whole.items():
        mean = sum(float(terms[name]) for terms, _ in parts) / len(parts)
        assert mean == pytest.approx(float(value), abs=1e-10), name
    for name, gradient in whole_grads.items():
        if gradient is not None:
            mean = sum(grads[name] for _, grads in parts) / len(parts)
            np.testing.assert_allclose(mean, gradient, atol=1e-10, err_msg=name)


@pytest.mark.parametrize("shares", [(4, 3), (1, 0)])
def test_two_ranks_equal_one(shares):
    present = torch.ones(sum(shares), 3, dtype=torch.bool)
    if len(present) > 1:
        present[2, 1] = False
    equal_on_ranks(shares, present=present)


def test_without_labels_it_trains_and_a_probe_gives_the_score(tmp_path):
    settings = ["method=gmc", "method.weights.task=0", "fusion=transformer", "trainer.max_epochs=2"]
    here(tmp_path, *settings, f"run.dir={tmp_path / 'run'}")
    scores = record(tmp_path / "run")["scores"]
    assert scores["test"]["mae"] > 0
    assert set(scores["test"]) >= {"mae", "corr", "loss"}
