"""M3ixup's reading R1: the acceptance tests of its specification, every switch, ranks, and what is left of GMC."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from gmc_cases import batch_of, gradients, method_of
from test_gmc import equal_on_ranks

from driver import here, rows
from trivium.data.mixing import draw_mixing
from trivium.methods.gmc import GMC
from trivium.methods.m3ixup import M3ixup
from trivium.methods.mixed_views import adapt_to_joint, draw_coefficients, explore
from trivium.objectives.task import CrossEntropy

OFF = {"unimodal": 0.0, "adapt": 0.0, "explore": 0.0}


def views_of(method, batch):
    """What a step mixes: the method's own pieces, in its own order."""
    space = method.to_common_space(batch)
    mixing, views, contrast = method.mixed_views(space, batch, ["unimodal", "adapt", "explore"])
    return space, mixing, views["unimodal"].vectors, contrast, views


def start_of(method, contrast, unimodal):
    key = method.step_key("coefficients")
    return draw_coefficients(method.settings, key, len(contrast.joint), len(unimodal), contrast.rows, unimodal)


def inner(contrast, vectors, weights):
    """(V, b): sum over u of W_u l1_u."""
    return (weights.transpose(1, 2) * contrast.detached().toward_joint(vectors.detach())).sum(dim=1)


# Section 14 of the specification, by its numbers


@pytest.mark.parametrize("clips", [2, 5, 24])
def test_2_mixing_matrices_are_stochastic_with_the_clip_itself_on_top(clips):
    for key in range(20):
        matrix = draw_mixing(key, 1.0, torch.ones(clips, dtype=torch.bool)).matrix()
        np.testing.assert_allclose(matrix.sum(dim=1), 1, atol=1e-15)
        assert float(matrix.diagonal().min()) >= 0.5
        assert float(matrix.sum(dim=0).min()) > 0


def test_3_without_mixing_weights_it_is_gmc_gradient_for_gradient():
    batch = batch_of()
    terms, grads = gradients(method_of(M3ixup, weights=OFF), batch)
    gmc_terms, gmc_grads = gradients(method_of(GMC), batch)
    assert {k: float(v) for k, v in terms.items()} == {k: float(v) for k, v in gmc_terms.items()}
    assert grads.keys() == gmc_grads.keys()
    for name, gradient in gmc_grads.items():
        assert torch.equal(grads[name], gradient) if gradient is not None else grads[name] is None, name


@pytest.mark.parametrize("interpolation", ["linear", "slerp"])
def test_4_coefficients_stay_in_their_sets_and_exploring_never_helps(interpolation):
    for number in range(8):
        method = method_of(batch=number, interpolation=interpolation)
        _, _mixing, unimodal, contrast, views = views_of(method, batch_of(9))
        still, start = contrast.detached(), start_of(method, contrast, unimodal)
        assert float(start.share.min()) >= 0
        assert float(start.share.max()) <= 0.5
        np.testing.assert_allclose(start.explore.sum(dim=1), 1, atol=1e-12)
        labels = explore(unimodal, still, start.explore, method_of(explore_labels="perturbed").settings).weights
        np.testing.assert_allclose(labels.sum(dim=-1), 1, atol=1e-6)
        assert float(labels.min()) >= 0
        before = inner(contrast, (start.explore.T[..., None] * unimodal).sum(dim=0, keepdim=True), start.explore[None])
        assert torch.equal(views["explore"].weights[0], start.explore)  # what the loss weighs with: before the step
        vectors = (start.explore.T[..., None] * unimodal.detach()).sum(dim=0, keepdim=True)
        before = inner(contrast, vectors / vectors.norm(dim=-1, keepdim=True), start.explore[None])
        after = inner(contrast, views["explore"].vectors, start.explore[None])
        assert bool((after >= before - 1e-12).all())
        assert bool((after > before).any())


def test_5_adapting_lowers_the_batch_mean_for_small_steps_and_at_the_default_one():
    for number, rate in itertools.product(range(6), (1e-4, 0.1)):
        method = method_of(batch=number, adapt_rate=rate)
        _, mixing, unimodal, contrast, views = views_of(method, batch_of(9))
        start, rows_ = start_of(method, contrast, unimodal), slice(0, 9)
        still = adapt_to_joint(
            unimodal,
            mixing.mix(contrast.joint, rows_),
            contrast.detached(),
            start.share,
            method_of(adapt_rate=0.0).settings,
        )
        before = inner(contrast, still.vectors, still.weights).mean()
        after = inner(contrast, views["adapt"].vectors, views["adapt"].weights).mean()
        assert float(after) <= float(before)


def test_6_inner_steps_leave_no_gradient_and_the_joint_vector_is_taught_as_anchor_alone():
    method, batch = method_of(unimodal_mix="manifold"), batch_of()
    seen, _mixing, _unimodal, _contrast, views = views_of(method, batch)
    assert all(p.grad is None for p in method.parameters())
    (gradient,) = torch.autograd.grad(views["adapt"].vectors.sum(), seen.hidden)
    assert float(gradient[:, :-1].abs().sum()) > 0
    assert float(gradient[:, -1].abs().sum()) == 0


@pytest.mark.parametrize("clips", [2, 3, 7])
@pytest.mark.parametrize("mix", ["one", "series", "none"])
def test_7_views_have_length_one_and_losses_are_finite_in_small_batches(clips, mix):
    for number in range(4):
        method = method_of(unimodal_mix=mix, batch=number)
        *_, views = views_of(method, batch_of(clips))
        for one in views.values():
            np.testing.assert_allclose(one.vectors.detach().norm(dim=-1), 1, atol=1e-12)
        terms, grads = gradients(method, batch_of(clips))
        assert all(bool(v.isfinite()) for v in terms.values())
        assert all(g is None or bool(g.isfinite().all()) for g in grads.values())


def test_9_evaluation_mixes_nothing():
    method, batch = method_of().eval(), batch_of()
    first, second = method.predict(batch), method.predict(batch)
    assert torch.equal(first.score, second.score)
    method.position = (3, 5)
    loss = method.validation_step(batch, 0)["loss"]
    method.position = (4, 6)
    assert torch.equal(method.validation_step(batch, 0)["loss"], loss)
    gmc = method_of(GMC).eval()
    assert torch.equal(gmc.validation_step(batch, 0)["loss"], loss)


# The terms by hand


def test_terms_are_the_specified_sums_over_views():
    method, batch = method_of(), batch_of()
    seen, _mixing, _unimodal, contrast, views = views_of(method, batch)
    mixed = method.mixed_terms(seen, batch)
    for name, one in views.items():
        np.testing.assert_allclose(mixed[name].detach(), contrast.loss(one.vectors, one.weights).sum(dim=0).detach())
    terms = {name: term.detach() for name, term in method.losses(batch).items()}
    weights = {"task": 1, "gmc": 1, "unimodal": 0.5, "adapt": 0.5, "explore": 0.5}
    assert float(terms["loss"]) == pytest.approx(sum(w * float(terms[name]) for name, w in weights.items()), abs=1e-12)


def unit(vectors):
    return vectors / vectors.norm(dim=-1, keepdim=True)


def differences(loss, at, eps=1e-6):
    """The gradient of each clip's loss, by central differences; `at` (b, ...) with one clip a row."""
    gradient = torch.zeros_like(at)
    for place in itertools.product(*map(range, at.shape[1:])):
        step = torch.zeros_like(at)
        step[(slice(None), *place)] = eps
        gradient[(slice(None), *place)] = (loss(at + step) - loss(at - step)) / (2 * eps)
    return gradient


def test_adapting_views_by_hand():
    """v = N((1 - a) z~_u + a A z_M), a = clip(a0 - 0.1 sign(dl/da), 0, 0.5), with a numerical gradient."""
    method, batch = method_of(), batch_of()
    _, mixing, unimodal, contrast, views = views_of(method, batch)
    share_Mb, joint = start_of(method, contrast, unimodal).share, mixing.matrix() @ contrast.joint.detach()
    for m, z in enumerate(unimodal.detach()):

        def view(a_b, z=z):
            return unit((1 - a_b[:, None]) * z + a_b[:, None] * joint)

        def loss(a_b, m=m, view=view):
            return contrast.detached().toward_joint(view(a_b)[None])[0, m]

        a = (share_Mb[m] - 0.1 * differences(loss, share_Mb[m]).sign()).clamp(0, 0.5)
        np.testing.assert_allclose(views["adapt"].vectors[m].detach(), view(a), atol=1e-9)


@pytest.mark.parametrize("rate", [0.1, 5.0])
def test_exploring_view_by_hand(rate):
    """v = N(sum w_u z~_u), w = Proj(w0 + rate g / |g|), g the centred numerical gradient; w0 where that lowers l1."""
    method, batch = method_of(explore_rate=rate), batch_of(24)
    _, _, unimodal, contrast, views = views_of(method, batch)
    start = start_of(method, contrast, unimodal).explore

    def view(w_bM):
        return unit(torch.einsum("bm,mbd->bd", w_bM, unimodal.detach()))

    def loss(w_bM):
        return (start.T * contrast.detached().toward_joint(view(w_bM)[None])[0]).sum(dim=0)

    g = differences(loss, start)
    g = g - g.mean(dim=1, keepdim=True)
    w = start + rate * g / g.norm(dim=1, keepdim=True)
    for _ in range(3):  # to the simplex: entries below 0 become 0, what they took is given back by the others evenly
        w = w - (w.sum(dim=1, keepdim=True) - 1) * (w > 0) / (w > 0).sum(dim=1, keepdim=True)
        w = w.clamp(min=0)
    kept = loss(w) >= loss(start)
    assert bool(kept.any())
    assert rate < 1 or not bool(kept.all())  # a long step may overshoot
    w = torch.where(kept[:, None], w, start)
    np.testing.assert_allclose(views["explore"].vectors[0].detach(), view(w), atol=1e-6)
    assert torch.equal(views["explore"].weights[0], start)


@pytest.mark.parametrize("mix", ["input", "manifold", "series"])
def test_mixed_vectors_are_those_of_mixed_inputs_or_of_mixed_vectors(mix):
    method, batch = method_of(unimodal_mix=mix), batch_of()
    seen, mixing, *_ = views_of(method, batch)
    _, hidden = method.mix_unimodal(seen, batch)
    first = draw_mixing(method.step_key("mixing"), 1.0, seen.complete).matrix()
    second = draw_mixing(method.step_key("second mixing"), 1.0, seen.complete).matrix()
    for m, (name, encoder) in enumerate(method.encoders.items()):
        stream = batch.streams[name]
        values = torch.einsum("ij,jtd->itd", first, stream.values)
        mask = (first > 0).double() @ stream.mask.double() > 0
        at_input = encoder(type(stream)(values, mask, mask.sum(dim=1))).pooled
        expected = {"input": at_input, "manifold": first @ seen.hidden[:, m], "series": second @ at_input}[mix]
        np.testing.assert_allclose(hidden[m].detach(), expected.detach(), atol=1e-12)
    expected_matrix = second @ first if mix == "series" else first
    np.testing.assert_allclose(mixing.matrix(), expected_matrix, atol=1e-12)


def test_one_mixes_each_modality_at_the_input_or_behind_the_encoder_half_of_the_time():
    found = [method_of(batch=number)._layers() for number in range(200)]
    for name in ("text", "audio", "vision"):
        assert 70 < sum(layers[name] == "input" for layers in found) < 130
    assert len({tuple(layers.values()) for layers in found}) == 8


def test_soft_targets_off_counts_a_mixed_clip_as_itself():
    method, batch = method_of(soft_targets=False), batch_of()
    _, mixing, _, contrast, _ = views_of(method, batch)
    assert torch.equal(contrast.target, torch.eye(7, dtype=torch.float64))
    assert not torch.equal(mixing.matrix(), contrast.target)


def test_task_mix_is_the_error_against_mixed_labels():
    method = method_of(weights={**OFF, "gmc": 0.0, "task_mix": 1.0})
    batch = batch_of()
    _seen, mixing, _unimodal, _contrast, views = views_of(method, batch)
    target = mixing.matrix() @ batch.targets["multimodal"]
    vectors = [*views["unimodal"].vectors, *views["explore"].vectors]
    by_hand = [(method.predictor(v)[:, 0] - target).abs().mean() for v in vectors]
    found = method.losses(batch)["task_mix"]
    assert float(found) == pytest.approx(float(sum(by_hand) / 4), abs=1e-12)


def test_incomplete_clips_are_neither_mixed_nor_candidates():
    present = torch.ones(7, 3, dtype=torch.bool)
    present[2, 0] = present[5, 1] = False
    method, batch = method_of(), batch_of(present=present)
    seen, mixing, *_ = views_of(method, batch)
    matrix = mixing.matrix()
    for clip in (2, 5):
        assert matrix[clip, clip] == 1
        assert float(matrix[:, clip].sum()) == 1
    mixed = method.mixed_terms(seen, batch)
    assert all(value[[2, 5]].tolist() == [0.0, 0.0] for value in mixed.values())
    # the content of what an incomplete clip has changes no other clip's terms
    other = batch_of(present=present)
    for m, stream in enumerate(other.streams.values()):
        stream.values[2] = stream.values[2] * 3 * present[2, m]
    again = method.mixed_terms(method.to_common_space(other), other)
    assert all(torch.equal(again[name], value) for name, value in mixed.items())


# Switches


SWITCHES = {
    "modalities": {"adapt_members": "modalities"},
    "learned": {"adapt_members": "learned"},
    "features": {"update": "features"},
    "features_modalities": {"update": "features", "adapt_members": "modalities"},
    "no_steps": {"adapt_rate": 0.0, "explore_rate": 0.0},
    "series": {"unimodal_mix": "series"},
    "input": {"unimodal_mix": "input"},
    "none": {"unimodal_mix": "none"},
    "no_gmc": {"weights": {"gmc": 0.0}},
    "task_mix": {"weights": {"task_mix": 0.5}},
    "perturbed": {"explore_labels": "perturbed"},
    "hard": {"soft_targets": False},
    "slerp": {"interpolation": "slerp"},
    "no_labels": {"weights": {"task": 0.0}},
}


@pytest.mark.parametrize("name", SWITCHES)
@pytest.mark.parametrize("modalities", [2, 3])
def test_each_switch_changes_the_loss_and_trains(name, modalities):
    batch = batch_of(modalities=modalities)
    default, _ = gradients(method_of(modalities=modalities), batch)
    method = method_of(modalities=modalities, **SWITCHES[name])
    found, grads = gradients(method, batch)
    changed = float(found["loss"]) != float(default["loss"])
    assert changed or (name == "slerp" and modalities == 1)
    idle = [n for n, g in grads.items() if g is None]
    assert idle == []  # what a step leaves out would stop DDP
    assert all(bool(g.isfinite().all()) for g in grads.values())


def test_learned_members_are_learned():
    _, grads = gradients(method_of(adapt_members="learned"), batch_of())
    assert float(grads["members"].abs().sum()) > 0
    _, grads = gradients(method_of(adapt_members="learned", weights={"adapt": 0.0}), batch_of())
    assert float(grads["members"].abs().sum()) == 0  # and not None, which would stop DDP


def test_features_start_no_nearer_to_the_joint_vector_than_adapt_max():
    method = method_of(update="features", adapt_max=0.0, adapt_rate=0.0)
    _, _, unimodal, _, views = views_of(method, batch_of())
    np.testing.assert_allclose(views["adapt"].vectors.detach(), unimodal.detach(), atol=1e-12)


def test_mixed_terms_alone_are_selected_by_the_contrast():
    method, batch = method_of(weights={"task": 0.0, "gmc": 0.0}).eval(), batch_of()
    loss = method.validation_step(batch, 0)["loss"]
    gmc = method_of(GMC, weights={"task": 0.0}).eval().validation_step(batch, 0)["loss"]
    assert torch.equal(loss, gmc)
    assert float(loss.min()) > 0


@pytest.mark.parametrize("kind", [GMC, M3ixup])
def test_weights_that_are_not_finite_give_losses_that_are_not(kind):
    method = method_of(kind)
    with torch.no_grad():
        method.encoders["audio"].project.weight[0, 0] = float("nan")
    terms = method.losses(batch_of())
    assert not bool(terms["gmc"].isfinite())
    assert not bool(terms["loss"].isfinite())


def test_classes_are_mixed_as_losses():
    method = method_of(objective=CrossEntropy((-3, 3)), weights={**OFF, "task_mix": 1.0})
    batch = batch_of()
    _seen, mixing, _unimodal, _contrast, views = views_of(method, batch)
    soft = (
        mixing.matrix() @ torch.nn.functional.one_hot(method.objective.classes(batch.targets["multimodal"]), 7).double()
    )
    vectors = torch.stack([*views["unimodal"].vectors, *views["explore"].vectors])
    by_hand = -(soft * method.predictor(vectors).log_softmax(dim=-1)).sum(dim=-1).mean()
    assert float(method.losses(batch)["task_mix"]) == pytest.approx(float(by_hand), abs=1e-12)


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"unimodal_mix": "both"}, "method.unimodal_mix: expected one of one, series"),
        ({"mixup_alpha": 0.0}, "method.mixup_alpha"),
        ({"adapt_members": "all"}, "method.adapt_members"),
        ({"adapt_max": 1.5}, "method.adapt_max"),
        ({"explore_rate": -1.0}, "method.explore_rate"),
        ({"adapt_alpha": 0.0}, "method.adapt_alpha"),
        ({"update": "both"}, "method.update"),
        ({"interpolation": "cubic"}, "method.interpolation"),
        ({"explore_labels": "new"}, "method.explore_labels"),
        ({"steps": "three"}, "method.steps"),
        ({"weights": {"exploring": 1.0}}, "method.weights.exploring: no such term; nearest is explore"),
        ({"weights": {"task": 0.0, "task_mix": 1.0}}, "no predictor"),
        ({"steps": "two", "weights": {"explore": 0.0}}, "weights.explore=0 wants together"),
    ],
)
def test_wrong_settings_are_named(keys, said):
    with pytest.raises(ValueError, match=said):
        method_of(**keys)


# Ranks and runs


@pytest.mark.parametrize(("shares", "mix"), [((4, 3), "one"), ((2, 3), "series"), ((1, 0), "one")])
def test_two_ranks_equal_one(shares, mix):
    present = torch.ones(sum(shares), 3, dtype=torch.bool)
    if len(present) > 3:
        present[1, 2] = False
    equal_on_ranks(shares, M3ixup, present, unimodal_mix=mix, weights={"task_mix": 0.3})


@pytest.mark.parametrize("switch", ["modalities", "learned", "features"])
def test_two_ranks_equal_one_with_other_coefficients(switch):
    equal_on_ranks((2, 3), M3ixup, None, **SWITCHES[switch])


def test_two_steps_a_batch_move_further_than_one_and_log_each_term_once(tmp_path):
    settings = ["method=m3ixup", "fusion=transformer", "trainer.max_epochs=1", "trainer.gradient_clip=0.8"]
    for steps in ("together", "two"):
        here(tmp_path, *settings, f"method.steps={steps}", f"run.dir={tmp_path / steps}")
    together, two = (rows(tmp_path / steps / "metrics.csv")[0] for steps in ("together", "two"))
    assert together.keys() == two.keys()
    names = ["train/task", "train/gmc", "train/unimodal", "train/adapt", "train/explore"]
    weights = [1, 1, 0.5, 0.5, 0.5]
    for row in (together, two):
        total = sum(w * float(row[name]) for name, w in zip(names, weights, strict=True))
        assert float(row["train/loss"]) == pytest.approx(total, rel=1e-5)
    assert float(two["train/loss"]) < float(together["train/loss"])
    assert two["step"] == together["step"]


def test_two_steps_refuse_accumulated_gradients(tmp_path):
    with pytest.raises(ValueError, match="accumulate_grad_batches=1, found 2"):
        here(tmp_path, "method=m3ixup", "fusion=transformer", "method.steps=two", "trainer.accumulate_grad_batches=2")
