"""Self-MI's whole loss on one batch against numpy, for each switch that changes a formula, clips absent or not.

What encoders, fusion and linear layers give is taken from the method; every formula on top of it is written out here.
Legend: N clips, s a modality, present (N, M) bool.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from batches import DIMS, batch_of
from trivium.data.batch import Batch
from trivium.encoders.identity import Identity
from trivium.fusions.concat import Concat
from trivium.methods.base import Parts
from trivium.methods.label_bank import LabelBank
from trivium.methods.selfmi import SelfMI
from trivium.objectives.task import L1

Array = npt.NDArray[np.float64]
CLIPS = 14
PAIRS = [("text", "vision"), ("text", "audio")]
ALPHA, BETA = 0.3, 0.7


def made(**settings: Any) -> SelfMI:
    """float64, on means over time; generated labels as they may stand after some epochs."""
    torch.manual_seed(0)
    encoders = {name: Identity(size, out=4) for name, size in DIMS.items()}
    parts = Parts(encoders, Concat({name: 4 for name in DIMS}, out=6), L1(), CLIPS, 3.0, 5)
    method = SelfMI(parts, cpc_weight=ALPHA, pair_weight=BETA, post_dims={"default": 3}, **settings).double()
    if method.bank is None:
        return method
    method.bank.start(batch_of(range(CLIPS)).targets["multimodal"])
    for n, name in enumerate(DIMS):
        method.bank.labels(name).add_(torch.linspace(-1, 1.5, CLIPS) * (n + 1)).clamp_(-3, 3)
    return method


def batch(absent: bool) -> Batch:
    found = batch_of(range(CLIPS), absent=absent)
    found.targets |= {name: found.targets["multimodal"].cos() * (n + 1) for n, name in enumerate(DIMS)}
    return found


def expected(method: SelfMI, batch: Batch, before: dict[str, tuple[Array, Array]] | None = None) -> dict[str, float]:
    """before: pair -> y' rows and labels of the batch before, for the entropy; it is given this batch's."""
    present, target = batch.present.numpy(), batch.targets["multimodal"].numpy()
    here = dict(zip(DIMS, present.T, strict=True))
    with torch.no_grad():
        encoded = method.encode(batch)
        joint_t = method.fusion(encoded, batch.present)
        score = method.joint_head(joint_t)[:, 0].numpy()
        hidden = method.joint_head.hidden[0](joint_t).relu().numpy()
        pooled = {s: one.pooled.numpy() for s, one in encoded.items()}
        projected = {s: np.maximum(apply(method.project[s], v), 0) for s, v in pooled.items()}
        own = {s: method.heads[s](torch.from_numpy(v))[:, 0].numpy() for s, v in projected.items()}
    terms = {"joint": np.abs(score - target).mean()}
    for s in DIMS:
        label = (batch.targets[s] if method.annotated else method.bank.labels(s)).numpy().astype(float)
        weight = np.ones(CLIPS) if method.annotated else np.tanh(np.abs(label - target))
        terms[s] = (weight * np.abs(own[s] - label))[here[s]].mean()
    total = sum(method.unimodal_weights.get(s, 1.0) * value for s, value in terms.items())
    vectors = projected if method.features == "projected" else pooled
    joint = hidden if method.joint_layer == "hidden" else joint_t.numpy()
    for s in DIMS:
        predicted = apply(method.fusion_mi.predictors[s], joint)
        terms[f"cpc_{s}"] = cpc(predicted, vectors[s], here[s], method.fusion_mi.direction)
        total += ALPHA * terms[f"cpc_{s}"]
    for x, y in PAIRS:
        critic, both = method.pair_mi.critics[f"{x}__{y}"], here[x] & here[y]
        if method.pair_mi.estimator == "cpc":
            value = cpc(apply(critic, vectors[x]), vectors[y], both, method.pair_mi.direction)
        else:
            assert before is not None
            x_rows, y_rows = vectors[x], vectors[y]
            if method.pair_mi.standardised:
                x_rows, y_rows = zscored(x_rows, both), zscored(y_rows, both)
            mu, logvar = apply(critic.mu, x_rows), apply(critic.logvar, x_rows)
            logvar = np.maximum(logvar, np.log(1e-3)) if method.pair_mi.standardised else logvar
            square = -((mu - y_rows) ** 2) / (2 * np.exp(logvar))
            log_q = (square - 0.5 * (logvar + np.log(2 * np.pi)) * method.pair_mi.normalised).mean(axis=1)
            rows = np.tanh(apply(method.pair_mi.entropies[f"{x}__{y}"].linear, y_rows))
            value = -log_q[both].mean() - entropy(rows, target * both, before.get(f"{x}__{y}")) / y_rows.shape[1]
            before[f"{x}__{y}"] = rows, target * both
        terms[f"mi_{x}_{y}"] = value
        total += BETA * value
    return {**terms, "loss": total}


def apply(layers: torch.nn.Module, rows: Array) -> Array:
    with torch.no_grad():
        found: Array = layers(torch.from_numpy(rows)).numpy()
    return found


def zscored(rows: Array, here: Array) -> Array:
    """By mean and deviation of the clips that are there; a feature that is the same for all of them is 0."""
    mean, deviation = rows[here].mean(axis=0), rows[here].std(axis=0)
    return np.where(deviation > 1e-6, (rows - mean) / np.maximum(deviation, 1e-6), 0.0)


def unit(rows: Array) -> Array:
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.where(length > 1e-8, rows / np.maximum(length, 1e-8), 0.0)


def cpc(predicted: Array, modality: Array, here: Array, direction: str) -> float:
    """One after another: each clip that is there, over the clips that are."""
    scores = unit(predicted) @ unit(modality).T
    ways = {"paper": [scores], "code": [scores.T], "symmetric": [scores, scores.T]}[direction]
    losses = [
        np.log(sum(np.exp(way[i, j]) for j in range(CLIPS) if here[j])) - way[i, i]
        for way in ways
        for i in range(CLIPS)
        if here[i]
    ]
    return float(np.mean(losses))


def entropy(rows: Array, labels: Array, before: tuple[Array, Array] | None) -> float:
    if before is None:
        return 0.0
    rows, labels = np.concatenate([rows, before[0]]), np.concatenate([labels, before[1]])
    members = [of for of in (labels > 0, labels < 0) if of.any()]
    parts = [np.atleast_2d(np.cov(rows[of].T, bias=True)) for of in members]
    return 0.25 * sum(float(np.linalg.slogdet(part + 1e-4 * np.eye(len(part)))[1]) for part in parts)


SWITCHES: dict[str, dict[str, Any]] = {
    "default": {},
    "weights": {"unimodal_weights": {"default": 0.5, "text": 2.0, "audio": 0.0}},
    "code": {"direction": "code"},
    "symmetric, deeper": {"direction": "symmetric", "cpc_layers": 2},
    "projected": {"features": "projected"},
    "hidden": {"joint": "hidden"},
    "annotated": {"unimodal_targets": "annotated"},
    "ba": {"pair_estimator": "ba"},
    "ba of projected": {"pair_estimator": "ba", "features": "projected"},
    "ba fitted apart": {"pair_estimator": "ba", "ba_optimisation": "separate"},
    "ba as MMIM": {
        "pair_estimator": "ba",
        "ba_optimisation": "separate",
        "ba_normalised": False,
        "ba_standardised": False,
    },
}


@pytest.mark.parametrize("absent", [False, True], ids=["whole", "absent"])
@pytest.mark.parametrize("switch", SWITCHES)
def test_every_term_and_their_sum_are_numpys(switch: str, absent: bool) -> None:
    method, before = made(**SWITCHES[switch]), {}
    for _ in range(2):  # the entropy is there from the second batch on
        wanted = expected(method, batch(absent), before)
        found = method.losses(batch(absent))
        assert list(found) == list(wanted)
        for name, value in wanted.items():
            assert found[name].item() == pytest.approx(value, rel=1e-9, abs=1e-12), name


def test_a_weight_is_a_modality_s_own_or_the_default_and_never_negative() -> None:
    found = made(unimodal_weights={"default": 0.5, "text": 2.0}).unimodal_weights
    assert found == {name: 2.0 if name == "text" else 0.5 for name in DIMS}
    assert set(made().unimodal_weights.values()) == {1.0}
    with pytest.raises(ValueError, match=r"method\.unimodal_weights\.audio: expected a number from 0, found -1\.0"):
        made(unimodal_weights={"audio": -1.0})


@pytest.mark.parametrize("limit", [-1, 0.0, "abc"])
def test_a_limit_of_labels_that_is_no_number_above_0_is_refused(limit: Any) -> None:
    with pytest.raises(ValueError, match=r"method\.label_limit: expected a number above 0, or null, found"):
        made(label_limit=limit)


def test_separate_fits_q_on_fixed_vectors_and_trains_encoders_by_a_fixed_q() -> None:
    settings = {"pair_estimator": "ba", "pairs": [("text", "audio")]}
    gradients = []
    for how in ("joint", "separate"):
        method = made(ba_optimisation=how, **settings)
        found = method.losses(batch(False))["mi_text_audio"]
        names, weights = zip(*((n, p) for n, p in method.named_parameters() if p.requires_grad), strict=True)
        each = torch.autograd.grad(found, weights, allow_unused=True)
        gradients.append({n: g for n, g in zip(names, each, strict=True) if g is not None and g.abs().sum() > 0})
    joint, separate = gradients
    assert {name.split(".")[0] for name in separate} == {"encoders", "pair_mi"}
    assert {name for name in separate if name.startswith("pair_mi")} == {n for n in separate if ".critics." in n}
    for name, gradient in separate.items():  # of the first batch, which has no entropy
        torch.testing.assert_close(gradient, joint[name], rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("epoch", [1, 2, 5])
def test_a_step_updates_the_bank_as_of_its_epoch(epoch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bank itself is checked in test_label_bank; here that a step gives it its own features, clips and epoch."""
    monkeypatch.setattr(SelfMI, "current_epoch", epoch - 1)
    method, given = made(), batch(True)
    with torch.no_grad():
        encoded = method.encode(given)
        features = {"joint": method.fusion(encoded, given.present), **method._project(encoded)}
    alone = LabelBank(CLIPS, {"joint": 6, **dict.fromkeys(DIMS, 3)}, high=3.0).double()
    alone.load_state(method.bank.state())
    here = dict(zip(DIMS, given.present.unbind(1), strict=True))
    for _ in range(2):
        method.losses(given)
        alone.update(given.index, features, here, epoch)
    assert (epoch == 1) == torch.equal(method.bank.labels("text"), made().bank.labels("text"))
    for name, value in alone.state().items():
        torch.testing.assert_close(method.bank.get_buffer(name), value, rtol=1e-12, atol=1e-12)
    method.eval()
    before = method.bank.state()
    method.losses(given)
    assert all(torch.equal(value, before[name]) for name, value in method.bank.state().items())
