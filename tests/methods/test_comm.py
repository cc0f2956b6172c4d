"""CoMM and its baselines against a plain implementation, numpy, and what must hold of presence, padding and ranks."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from benchmarks.plain_comm import PlainCoMM, two_views
from driver import here, rows
from ranks import on_ranks
from trivium.core.seeding import derive
from trivium.data.batch import Batch, Stream
from trivium.encoders.lstm import LSTM
from trivium.encoders.transformer import Transformer
from trivium.fusions.concat import Concat
from trivium.fusions.transformer import TransformerFusion
from trivium.methods.base import Parts
from trivium.methods.comm import CoMM
from trivium.methods.contrasts import AugmentedViews, contrasts
from trivium.objectives.task import L1, CrossEntropy

DIMS = {"vision": 5, "text": 7, "audio": 3}
TWO, THREE = ["vision", "text"], ["vision", "text", "audio"]
ALL_TERMS = ["comm", "cross", "cross_self", "self", "supcon"]


def method_of(modalities=TWO, *, encoder=None, fusion=None, objective=None, dropout=0.0, **keys):
    torch.manual_seed(2)
    comm = {"positions": "none", "input_bias": False, "final_norm": False}
    make = encoder or (lambda size: Transformer(size, dim=8, heads=2, feedforward=16, dropout=dropout, **comm))
    encoders = {name: make(DIMS[name]) for name in modalities}
    dims = {name: part.dim for name, part in encoders.items()}
    joint = fusion(dims) if fusion else TransformerFusion(dims, dim=8, heads=4)
    parts = Parts(encoders, joint, objective or L1(), 100, 3.0, 11)
    return CoMM(parts, **{"head_hidden": (12, 10), "head_out": 6, **keys}).double()


def batch_of(modalities=TWO, clips=9, *, present=None, steps=0, seed=0, shares=None, rank=0, indices=None):
    """Random clips; each one's content, length and target are a function of its index alone."""
    indices = list(range(clips)) if indices is None else indices
    present = torch.ones(len(indices), len(modalities), dtype=torch.bool) if present is None else present
    streams = {}
    for m, name in enumerate(modalities):
        made = []
        for row, index in enumerate(indices):
            generator = torch.Generator().manual_seed(1000 * seed + 10 * index + m)
            length = int(torch.randint(1, 8, (1,), generator=generator)) if present[row, m] else 1
            clip = torch.randn(length, DIMS[name], generator=generator, dtype=torch.float64)
            made.append(clip * present[row, m])
        lengths = torch.tensor([len(clip) for clip in made])
        values = torch.zeros(len(indices), max(steps, int(lengths.max())), DIMS[name], dtype=torch.float64)
        for row, clip in enumerate(made):
            values[row, : len(clip)] = clip
        streams[name] = Stream(values, torch.arange(values.shape[1]) < lengths[:, None], lengths)
    target = torch.tensor([float(index % 5) - 2 for index in indices], dtype=torch.float64)
    shares = (len(indices),) if shares is None else shares
    weight = torch.full((len(indices),), float(shares[rank] > 0), dtype=torch.float64)
    return Batch(streams, present, {"multimodal": target}, torch.tensor(indices), weight, shares, rank)


def some_absent(clips, modalities):
    """Every clip has another non-empty subset."""
    subsets = [[bool(n >> m & 1) for m in range(modalities)] for n in range(1, 2**modalities)]
    return torch.tensor([subsets[n % len(subsets)] for n in range(clips)])


# The loss


@pytest.mark.parametrize("modalities", [TWO, THREE], ids=["two", "three"])
def test_one_pass_for_all_views_and_masks_is_one_after_another_losses_and_gradients(modalities):
    method = method_of(modalities)
    plain = PlainCoMM(method)
    for batch in (batch_of(modalities), batch_of(modalities, steps=12)):
        terms = method.losses(batch)
        expected = plain.losses(two_views(method, batch))
        assert list(terms) == [*modalities, "joint", "accuracy", "loss"]
        for name, value in zip([*modalities, "joint"], expected, strict=True):
            torch.testing.assert_close(terms[name], value, rtol=0, atol=1e-10)
        loss = torch.stack(expected).mean()
        torch.testing.assert_close(terms["loss"], loss, rtol=0, atol=1e-10)
        weights = list(method.parameters())
        mine, theirs = torch.autograd.grad(terms["loss"], weights), torch.autograd.grad(loss, weights)
        for found, wanted in zip(mine, theirs, strict=True):
            torch.testing.assert_close(found, wanted, rtol=0, atol=1e-10)
        assert all(float(found.abs().max()) > 0 for found in theirs)


def test_running_statistics_are_those_of_a_call_a_mask_and_view():
    method = method_of()
    plain = PlainCoMM(method)
    batch = batch_of()
    plain.losses(two_views(method, batch))
    method.losses(batch)
    for mine, theirs in zip(method.head.norms, plain.batch_norms, strict=True):
        torch.testing.assert_close(mine.running_mean, theirs.running_mean, rtol=0, atol=1e-12)
        torch.testing.assert_close(mine.running_var, theirs.running_var, rtol=0, atol=1e-12)


def numpy_nt(first, second, temperature):
    """Of each clip: the mean of its two rows."""
    rows_ = np.concatenate([first, second])
    rows_ = rows_ / np.linalg.norm(rows_, axis=1, keepdims=True)
    scores, count = rows_ @ rows_.T / temperature, len(first)
    out = np.zeros(2 * count)
    for r in range(2 * count):
        others = np.delete(scores[r], r)
        out[r] = np.log(np.exp(others - others.max()).sum()) + others.max() - scores[r, (r + count) % (2 * count)]
    return (out[:count] + out[count:]) / 2


def numpy_clip(first, second, temperature):
    first, second = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (first, second))
    scores = first @ second.T / temperature
    picks = [np.log(np.exp(s).sum(axis=1)) - np.diag(s) for s in (scores, scores.T)]
    return (picks[0] + picks[1]) / 2


def embeddings(modalities, clips=7, present=None):
    generator = torch.Generator().manual_seed(4)
    both = torch.randn(2, len(modalities) + 1, clips, 5, generator=generator, dtype=torch.float64)
    present = torch.ones(clips, len(modalities), dtype=torch.bool) if present is None else present
    return AugmentedViews(modalities, both[0], both[1], present, torch.arange(clips) % 3), both.numpy(), present.numpy()


@pytest.mark.parametrize("absent", [False, True])
@pytest.mark.parametrize("modalities", [TWO, THREE], ids=["two", "three"])
def test_terms_from_embeddings_are_numpys(modalities, absent):
    given, (first, second), here_ = embeddings(modalities, present=some_absent(7, len(modalities)) if absent else None)

    def mean(kind, x, y, rows_):
        return kind(x[rows_], y[rows_], 0.2).mean()

    n = len(modalities)
    comm, cross, alone = {}, {}, {}
    for m, name in enumerate(modalities):
        rows_ = here_[:, m]
        comm[name] = (mean(numpy_nt, first[m], second[n], rows_) + mean(numpy_nt, second[m], first[n], rows_)) / 2
        alone[name] = mean(numpy_nt, first[m], second[m], rows_)
        for k in range(m + 1, n):
            both = here_[:, m] & here_[:, k]
            pair = [mean(numpy_clip, view[m], view[k], both) for view in (first, second)]
            cross[f"{name}_{modalities[k]}"] = sum(pair) / 2
    comm["joint"] = numpy_nt(first[n], second[n], 0.2).mean()
    for terms, expected in (("comm", comm), ("cross", cross), ("self", alone), ("cross_self", cross | alone)):
        used = given if terms == "comm" else replace(given, first=given.first[:-1], second=given.second[:-1])
        found, accuracy = contrasts(terms, used, temperature=0.2, rows=slice(0, 7))
        assert list(found) == list(expected)
        for name, value in expected.items():
            assert float(found[name].mean()) == pytest.approx(value, abs=1e-12), (terms, name)
        assert 0 <= float(accuracy) <= 1


def test_far_apart_temperature_is_chance():
    given, _, _ = embeddings(TWO)
    found, _ = contrasts("comm", given, temperature=1e9, rows=slice(0, 7))
    assert all(float(value.mean()) == pytest.approx(np.log(13)) for value in found.values())


def test_weights_scale_terms_and_do_not_change_what_is_logged():
    batch = batch_of()
    plain = method_of().losses(batch)
    weighed = method_of(weights={"default": 1.0, "joint": 3.0, "text": 0.0}).losses(batch)
    assert torch.equal(weighed["text"], plain["text"])
    expected = (plain["vision"] + 3 * plain["joint"]) / 3
    torch.testing.assert_close(weighed["loss"], expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("terms", ALL_TERMS)
def test_every_term_trains_what_it_looks_at(terms):
    method = method_of(THREE, terms=terms, dropout=0.1)
    found = method.losses(batch_of(THREE, present=some_absent(9, 3)))
    assert list(found)[-2:] == ["accuracy", "loss"]
    assert not found["accuracy"].requires_grad
    found["loss"].backward()
    for name, parameter in method.named_parameters():
        assert parameter.grad is not None, name  # DDP would wait for it
        assert torch.isfinite(parameter.grad).all(), name
    assert (method.head is None) == (terms == "supcon")


def test_supcon_takes_the_objectives_classes_or_the_labels_sign():
    batch = batch_of()
    sign = method_of(terms="supcon", temperature=0.07)._classes(batch)
    assert sign.tolist() == [int(t > 0) for t in batch.targets["multimodal"].tolist()]
    seven = method_of(terms="supcon", objective=CrossEntropy((-3.0, 3.0)))._classes(batch)
    assert seven.tolist() == [int(t) + 3 for t in batch.targets["multimodal"].tolist()]


def test_views_differ_between_steps_and_the_validation_loss_does_not():
    method, batch = method_of(dropout=0.3), batch_of()
    method.eval()
    first = method.losses(batch)["loss"]
    assert torch.equal(method.losses(batch)["loss"], first)
    method.position = (0, 1)
    assert not torch.equal(method.losses(batch)["loss"], first)
    out = method.validation_step(batch, 0)
    method.position = (3, 5)
    again = method.validation_step(batch, 0)
    assert out["prediction"] is None
    assert out["loss"].shape == (9,)
    assert torch.equal(out["loss"], again["loss"])


def test_accuracy_is_1_without_noise_and_rises_above_chance():
    method = method_of(noise_std=0.0, augment={"default": "noise"})
    assert float(method.losses(batch_of())["accuracy"]) == 1.0


# What probes read


@pytest.mark.parametrize("terms", ALL_TERMS)
def test_vectors_are_unaugmented_and_the_readout_reads_the_joint_one(terms):
    method, batch = method_of(terms=terms, dropout=0.3).eval(), batch_of()
    vectors = method.vectors(batch)
    assert list(vectors) == ["joint", *TWO]
    assert vectors["joint"].shape == (9, 8 if terms in ("comm", "supcon") else 16)
    encoded = method.encode(batch)
    for m, name in enumerate(TWO):
        only = torch.zeros(9, 2, dtype=torch.bool)
        only[:, m] = True
        torch.testing.assert_close(vectors[name], method.fusion(encoded, only), rtol=0, atol=1e-12)
    if terms in ("comm", "supcon"):
        torch.testing.assert_close(vectors["joint"], method.fusion(encoded, batch.present), rtol=0, atol=1e-12)
    else:
        assert torch.equal(vectors["joint"], torch.cat([vectors[name] for name in TWO], dim=1))
    weight = torch.randn_like(method.readout.weight)
    method.readout.set(weight, torch.tensor([0.5]))
    prediction = method.predict(batch)
    torch.testing.assert_close(prediction.score, vectors["joint"] @ weight[0] + 0.5, rtol=0, atol=1e-12)
    assert torch.equal(prediction.features, vectors["joint"])


def test_a_modalitys_vector_does_not_know_the_others():
    method, batch, other = method_of(THREE).eval(), batch_of(THREE), batch_of(THREE, seed=1)
    mixed = replace(batch, streams={**batch.streams, "audio": other.streams["audio"]})
    ours, theirs = method.vectors(batch), method.vectors(mixed)
    assert torch.equal(ours["vision"], theirs["vision"])
    assert torch.equal(ours["text"], theirs["text"])
    assert (ours["audio"] - theirs["audio"]).abs().max() > 1e-3
    assert (ours["joint"] - theirs["joint"]).abs().max() > 1e-3


def test_company_changes_no_vector_unless_faithful():
    batch = batch_of(steps=30)
    short = batch_of(clips=1)
    for faithful, same in ((False, True), (True, False)):
        method = method_of(faithful=faithful).eval()
        together, alone = method.vectors(batch), method.vectors(short)
        for name, rows_ in together.items():
            difference = float((rows_[0] - alone[name][0]).abs().max().detach())
            assert (difference < 1e-12) == same, (faithful, name, difference)


def test_faithful_is_every_step_of_the_batch_real():
    batch = batch_of(steps=10)
    full = {
        name: Stream(s.values, torch.ones_like(s.mask), torch.full_like(s.lengths, 10))
        for name, s in batch.streams.items()
    }
    public = method_of(faithful=True).eval().vectors(batch)
    whole = method_of().eval().vectors(replace(batch, streams=full))
    assert all(torch.equal(public[name], whole[name]) for name in whole)
    method = method_of(faithful=True)
    method.losses(batch)["loss"].backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in method.parameters())


def test_content_of_absent_modalities_reaches_no_loss_vector_or_gradient():
    present, found = some_absent(9, 3), []
    for junk in (0.0, 50.0):
        batch = batch_of(THREE, present=present)
        for m, stream in enumerate(batch.streams.values()):
            stream.values[~present[:, m], 0] = junk
        method = method_of(THREE)
        terms = method.losses(batch)
        terms["loss"].backward()
        vectors = method.eval().vectors(batch)
        found.append([*terms.values(), *vectors.values(), *(parameter.grad for parameter in method.parameters())])
    for clean, other in zip(*found, strict=True):
        torch.testing.assert_close(clean.detach(), other.detach(), rtol=0, atol=1e-12)


def test_clips_without_a_modality_are_left_out_of_its_term():
    """The text term is over the clips that have text, and only they are each other's negatives."""
    present = torch.ones(9, 2, dtype=torch.bool)
    present[[1, 4], 1] = False
    method, batch = method_of(head_hidden=()), batch_of(present=present)  # batch statistics would mix clips
    having = [index for index in range(9) if index not in (1, 4)]
    expected = method.losses(batch_of(indices=having))
    torch.testing.assert_close(method.losses(batch)["text"], expected["text"], rtol=0, atol=1e-12)


def test_validation_losses_average_to_the_training_loss_on_the_same_views():
    method = method_of(THREE).eval()
    batch = batch_of(THREE, present=some_absent(9, 3))
    per_clip = method.validation_step(batch, 0)["loss"]
    keys = [derive(11, "validation", "view", number) for number in ("1", "2")]
    terms, _ = method._contrast(batch, *keys)
    expected = torch.stack([batch.mean(value) for value in terms.values()]).mean()
    torch.testing.assert_close(batch.mean(per_clip), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("terms", ["comm", "cross"])
def test_any_fusion_and_encoder_will_do(terms):
    """A fusion that takes one mask at a time gives what it gives when the others are absent."""
    method = method_of(
        THREE,
        encoder=lambda size: LSTM(size, hidden=6),
        fusion=lambda dims: Concat(dims, out=9),
        terms=terms,
    )
    batch = batch_of(THREE, present=some_absent(9, 3))
    assert torch.isfinite(method.losses(batch)["loss"])
    vectors, encoded = method.vectors(batch), method.encode(batch.restrict(["text"]))
    alone = method.fusion(encoded, batch.restrict(["text"]).present)
    torch.testing.assert_close(vectors["text"], alone, rtol=0, atol=1e-12)


def test_the_head_has_its_published_size():
    method = method_of(head_hidden=(512, 512), head_out=256)
    width = sum(p.numel() for p in method.head.parameters()) - 8 * 512
    assert width + 40 * 512 == 417_024


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"terms": "clip"}, r"method.terms: expected one of comm, cross, cross_self, self, supcon, found 'clip'"),
        ({"terms": "cross", "modalities": ["text"]}, r"pairs of modalities, and there is \['text'\] alone"),
        ({"temperature": 0.0}, r"method.temperature: expected a number above 0, found 0.0"),
    ],
)
def test_wrong_settings_are_named(keys, message):
    with pytest.raises(ValueError, match=message):
        method_of(**keys)


# Over ranks


CASES = [((5, 3), "comm"), ((2, 0), "comm"), ((5, 3), "cross_self"), ((5, 3), "supcon")]


def _steps_on_rank(rank):
    """All cases in one process: most of the test's time is its start."""
    return [_step(method_of(THREE, terms=terms), _share(shares, rank)) for shares, terms in CASES]


def _step(method, batch):
    found = method.losses(batch)
    found["loss"].backward()
    return (
        {name: value.detach() for name, value in found.items()},
        {name: parameter.grad for name, parameter in method.named_parameters()},
        {name: value for name, value in method.state_dict().items() if "running" in name},
    )


def _share(shares, rank):
    clips, start = sum(shares), sum(shares[:rank])
    present = some_absent(clips, 3) if clips > 2 else torch.ones(clips, 3, dtype=torch.bool)
    indices = list(range(start, start + shares[rank])) or [0]  # one clip of weight 0 where a rank has none
    return batch_of(THREE, indices=indices, present=present[indices], shares=shares, rank=rank)


def test_two_ranks_give_one_ranks_losses_gradients_and_statistics():
    on_two = zip(*on_ranks(2, _steps_on_rank), strict=True)
    for (shares, terms), per_rank in zip(CASES, on_two, strict=True):
        values, gradients, running = _step(method_of(THREE, terms=terms), _share((sum(shares),), 0))
        for found, expected in ((0, values), (1, gradients)):
            for name, value in expected.items():
                mean = sum(rank[found][name] for rank in per_rank) / 2  # what DDP logs, and takes for gradients
                torch.testing.assert_close(mean, value, rtol=0, atol=1e-10)
        for name, value in running.items():
            for rank in per_rank:
                torch.testing.assert_close(rank[2][name], value, rtol=0, atol=1e-12)


# Whole runs

SMALL = [
    "encoder.dim=8",
    "encoder.layers=1",
    "encoder.heads=2",
    "encoder.feedforward=16",
    "fusion.dim=8",
    "fusion.heads=2",
]
SMALL += ["method.head_hidden=[16]", "method.head_out=8", "trainer.max_epochs=2", "trainer.progress=off"]


@pytest.mark.parametrize("choice", ["comm", "cross", "cross_self", "simclr", "supcon"])
def test_a_run_ends_with_a_result(choice: str, tmp_path: Path) -> None:
    result = here(tmp_path, f"method={choice}", *SMALL, f"run.dir={tmp_path / 'run'}")
    assert result["method"] == choice
    assert {"mae", "corr", "acc7", "f1_non0"} <= result["test"].keys()
    assert result["test"]["corr"] is not None  # a probe was fitted: without one all scores are 0
    assert result["test"]["mae"] < result["train_mean_mae"]["test"]
    assert result == json.loads((tmp_path / "run" / "result.json").read_text())
    epochs = rows(tmp_path / "run" / "metrics.csv")
    assert len(epochs) == 2
    assert all(np.isfinite(float(epoch["val/loss"])) for epoch in epochs)


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pretrained")
    here(folder, "method=comm", *SMALL, f"run.dir={folder / 'run'}")
    return folder / "run"


@pytest.mark.parametrize(
    "settings",
    [["method=supcon"], ["method=supervised", "encoder=published/comm", "fusion=transformer"]],
    ids=["supcon", "supervised"],
)
def test_fine_tuning_begins_with_the_pretrained_encoders_and_fusion(
    settings: list[str], pretrained: Path, tmp_path: Path
) -> None:
    """At a learning rate of 0 they are what the run ends with."""
    keys = [key for key in SMALL if settings[0] == "method=supcon" or not key.startswith("method.")]
    here(
        tmp_path,
        *settings,
        *keys,
        "optimizer.lr=0",
        f"start_from={pretrained}",
        f"run.dir={tmp_path / 'second'}",
    )
    first, second = (load_file(run / "weights.safetensors") for run in (pretrained, tmp_path / "second"))
    shared = [name for name in second if name.startswith(("encoders.", "fusion."))]
    assert {name.split(".")[0] for name in shared} == {"encoders", "fusion"}
    assert all(torch.equal(first[name], second[name]) for name in shared)


def test_a_weight_of_no_term_is_refused_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"method\.weights\.jiont: no such term.*joint.*the terms of comm are"):
        here(tmp_path, "method=comm", "+method.weights.jiont=2")


def test_sizes_below_one_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"method\.head_hidden, head_out: .* found \[512, 512\], 0"):
        here(tmp_path, "method=comm", "method.head_out=0")


def test_one_modality_alone_is_told_of_simclr(tmp_path: Path) -> None:
    tiny = ["encoder.feedforward=16", "encoder.layers=1", "trainer.max_epochs=1", "trainer.limit_batches=1"]
    with pytest.warns(UserWarning, match="that is method=simclr"):
        here(tmp_path, "method=comm", "data.modalities=[text]", *tiny)
