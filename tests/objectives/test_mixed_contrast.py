"""The mixed contrastive loss against the specification's formulas, written out clip by clip in numpy."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from trivium.objectives.mixed_contrast import MixedContrast, mixed_contrast
from trivium.objectives.nt_xent import nt_xent

TAU = 0.3


def unit(*shape, seed):
    x = torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return x / x.norm(dim=-1, keepdim=True)


def mixing(clips, seed, parts=2):
    """A row-stochastic matrix whose row i has its largest entry at i."""
    random = np.random.default_rng(seed)
    matrix = np.zeros((clips, clips))
    own = random.uniform(0.5, 1, clips)
    matrix[np.arange(clips), np.arange(clips)] += own
    for _ in range(parts - 1):
        matrix[np.arange(clips), random.permutation(clips)] += (1 - own) / (parts - 1)
    return torch.from_numpy(matrix)


def contrast(clips=7, modalities=3, target=None, allowed=None, rows=slice(None)):
    allowed = torch.ones(clips, dtype=torch.bool) if allowed is None else allowed
    target = mixing(clips, 1) if target is None else target
    return MixedContrast(unit(clips, 6, seed=2), unit(modalities, clips, 6, seed=3), target, allowed, rows, TAU)


def log_sum(values):
    values = np.array(values)
    return values.max() + np.log(np.exp(values - values.max()).sum())


def loss_by_hand(view, joint, unimodal, target, weight, allowed):
    """Section 7 of the specification, for one view; a list of one value a clip."""
    clips = len(joint)
    ok = [j for j in range(clips) if allowed[j]]
    column = target.sum(axis=0)
    values = []
    for i in range(clips):
        back = [view[j] @ joint[i] / TAU for j in ok] + [joint[j] @ joint[i] / TAU for j in ok if j != i]
        second = log_sum(back) - sum(target[j, i] / column[i] * (view[j] @ joint[i]) / TAU for j in range(clips))
        total = 0.0
        for u in range(len(unimodal)):
            scores = [view[i] @ joint[j] / TAU for j in ok]
            scores += [view[i] @ unimodal[u, j] / TAU for j in ok if target[i, j] == 0]
            first = log_sum(scores) - sum(target[i, j] * (view[i] @ joint[j]) / TAU for j in range(clips))
            total += weight[i, u] * (first + second) / 2
        values.append(total)
    return values


@pytest.mark.parametrize("parts", [1, 2, 4])
@pytest.mark.parametrize("clips", [2, 7])
def test_equals_the_formulas_clip_by_clip(clips, parts):
    found = contrast(clips, target=mixing(clips, 5, parts))
    views, weights = unit(4, clips, 6, seed=8), torch.rand(4, clips, 3, dtype=torch.float64)
    weights = weights / weights.sum(dim=-1, keepdim=True)
    loss = found.loss(views, weights)
    for v in range(4):
        parts_np = [x.numpy() for x in (views[v], found.joint, found.unimodal, found.target, weights[v], found.allowed)]
        np.testing.assert_allclose(loss[v].numpy(), loss_by_hand(*parts_np), rtol=0, atol=1e-12)


@pytest.mark.parametrize("clips", [2, 3, 24])
def test_without_mixing_it_is_gmc(clips):
    """V = z_u, Y = I, W = one-hot(u), summed over u."""
    found = contrast(clips, target=torch.eye(clips, dtype=torch.float64))
    one_hot = torch.eye(3, dtype=torch.float64)[:, None].expand(3, clips, 3)
    mixed = found.loss(found.unimodal, one_hot).sum(dim=0)
    gmc = sum(nt_xent(found.joint, own, temperature=TAU) for own in found.unimodal)
    assert abs(float(mixed.mean() - gmc.mean())) < 1e-12
    # and NT-Xent by GMC's own words: 2B anchors, the positive is the partner, the anchor itself is left out
    stacked = [torch.cat([found.joint, own]).numpy() for own in found.unimodal]
    by_hand = 0.0
    for x in stacked:
        scores = x @ x.T / TAU
        for r in range(2 * clips):
            others = [scores[r, q] for q in range(2 * clips) if q != r]
            by_hand += (log_sum(others) - scores[r, (r + clips) % (2 * clips)]) / (2 * clips)
    assert abs(float(mixed.mean()) - by_hand) < 1e-12


def test_clips_that_are_not_allowed_are_nobodys_candidates():
    """The others' values are those of a batch without them, whatever the left-out clips hold."""
    clips, out = 6, [1, 4]
    keep = [i for i in range(clips) if i not in out]
    target = torch.eye(clips, dtype=torch.float64)
    target[keep[0], keep[0]], target[keep[0], keep[2]] = 0.7, 0.3
    allowed = torch.tensor([i in keep for i in range(clips)])
    found = contrast(clips, target=target, allowed=allowed)
    views, weights = unit(2, clips, 6, seed=4), torch.full((2, clips, 3), 1 / 3, dtype=torch.float64)
    whole = found.loss(views, weights)
    small = MixedContrast(
        found.joint[keep], found.unimodal[:, keep], target[keep][:, keep], allowed[keep], slice(None), TAU
    )
    np.testing.assert_allclose(whole[:, keep], small.loss(views[:, keep], weights[:, keep]), rtol=0, atol=1e-12)
    other = replace(found, joint=found.joint.clone(), unimodal=found.unimodal.clone())
    other.joint[out], other.unimodal[:, out] = unit(2, 6, seed=70), unit(3, 2, 6, seed=71)
    assert torch.equal(other.loss(views, weights)[:, keep], whole[:, keep])
    assert bool(whole.isfinite().all())


def test_rows_are_a_part_of_the_whole():
    whole, views = contrast(7), unit(2, 7, 6, seed=4)
    weights = torch.full((2, 7, 3), 1 / 3, dtype=torch.float64)
    part = replace(whole, rows=slice(2, 5))
    # Matrix products of other shapes may round the last bit otherwise.
    torch.testing.assert_close(
        part.loss(views, weights[:, 2:5]), whole.loss(views, weights)[:, 2:5], rtol=1e-13, atol=0
    )


def test_gradients_are_those_of_the_formulas():
    found, views = contrast(4), unit(1, 4, 6, seed=4)
    weights = torch.full((1, 4, 3), 1 / 3, dtype=torch.float64)

    def loss(view, joint, unimodal):
        return replace(found, joint=joint, unimodal=unimodal).loss(view, weights)

    inputs = [x.clone().requires_grad_() for x in (views, found.joint, found.unimodal)]
    assert torch.autograd.gradcheck(loss, inputs)


def test_detached_banks_get_no_gradient_and_views_do():
    found = contrast(4)
    found.joint.requires_grad_(), found.unimodal.requires_grad_()
    view = unit(1, 4, 6, seed=4).requires_grad_()
    found.detached().toward_joint(view).sum().backward()
    assert found.joint.grad is None
    assert found.unimodal.grad is None
    assert view.grad is not None


def test_autocast_changes_nothing():
    found = contrast(5)
    narrow = replace(found, joint=found.joint.float(), unimodal=found.unimodal.float(), target=found.target.float())
    views, weights = unit(3, 5, 6, seed=4).float(), torch.full((3, 5, 3), 1 / 3)
    expected = narrow.loss(views, weights)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(narrow.loss(views, weights), expected)


def test_the_function_on_plain_tensors_is_gmc_without_mixing_and_takes_vectors_of_any_length():
    clips, found = 5, contrast(5)
    by_modality = []
    for u, own in enumerate(found.unimodal):
        one_hot = torch.eye(3, dtype=torch.float64)[u].expand(clips, 3)
        by_modality.append(
            mixed_contrast(4 * own, 2 * found.joint, list(3 * found.unimodal), modalities_NM=one_hot, temperature=TAU)
        )
    gmc = sum(nt_xent(found.joint, own, temperature=TAU) for own in found.unimodal)
    assert abs(float(torch.stack(by_modality).sum(dim=0).mean() - gmc.mean())) < 1e-12
    mixed = contrast(5, target=mixing(5, 3))
    view, share = unit(1, 5, 6, seed=9), torch.full((1, 5, 3), 1 / 3, dtype=torch.float64)
    flat = mixed_contrast(view[0], mixed.joint, list(mixed.unimodal), clips_NN=mixed.target, temperature=TAU)
    np.testing.assert_allclose(flat, mixed.loss(view, share)[0], rtol=0, atol=1e-12)
