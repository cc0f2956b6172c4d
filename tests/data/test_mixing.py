"""Mixup of clips against dense matrices and plain loops; its random numbers; one process for two.

Legend: N clips of the global batch, A (N, N) the dense mixing matrix.
"""

from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
import numpy.typing as npt
import pytest
import torch
from scipy import stats
from torch import Tensor

from batches import batch_of, share_of
from ranks import on_ranks
from trivium.data.batch import Batch
from trivium.data.mixing import Mixing, draw_mixing, gather_steps, mix_batch, mix_streams

N = 7
ALL = slice(0, N)
EVERY = torch.ones(N, dtype=torch.bool)
SOME = torch.tensor([True, False, True, True, False, True, True])


def dense(mixing: Mixing) -> npt.NDArray[np.float64]:
    """A, entry by entry: a source that occurs twice counts twice."""
    weights, sources = mixing.weights.numpy(), mixing.sources.numpy()
    a = np.zeros((weights.shape[1], weights.shape[1]))
    for k, i in np.ndindex(*weights.shape):
        a[i, sources[k, i]] += weights[k, i]
    return a


def chained(keys: tuple[int, ...], eligible: Tensor = EVERY) -> Mixing:
    first, *others = [draw_mixing(key, 1.0, eligible) for key in keys]
    for other in others:
        first = first.then(other)
    return first


# The mixing itself


@pytest.mark.parametrize("keys", [(1,), (1, 2), (3, 4, 5)])
def test_mixing_is_the_product_of_dense_matrices_chained_ones_included(keys: tuple[int, ...]) -> None:
    mixing = chained(keys)
    expected = np.eye(N)
    for key in keys:
        expected = dense(draw_mixing(key, 1.0, EVERY)) @ expected
    np.testing.assert_allclose(dense(mixing), expected, atol=1e-15)
    np.testing.assert_allclose(mixing.matrix().numpy(), expected, atol=1e-15)
    assert mixing.sources[0].tolist() == list(range(N))
    for shape in ((N,), (N, 3), (N, 4, 2)):
        values = np.random.default_rng(0).normal(size=shape)
        wanted = np.einsum("ij,j...->i...", expected, values)
        np.testing.assert_allclose(mixing.mix(torch.from_numpy(values), ALL).numpy(), wanted, atol=1e-14)
        part = mixing.mix(torch.from_numpy(values), slice(2, 5))
        np.testing.assert_allclose(part.numpy(), wanted[2:5], atol=1e-14)


def test_values_keep_their_dtype_and_get_the_matrix_transposed_as_gradient() -> None:
    mixing = chained((1, 2))
    assert mixing.mix(torch.ones(N, 2), ALL).dtype == torch.float32
    values = torch.randn(N, 3, dtype=torch.float64, requires_grad=True)
    wish = torch.randn(N, 3, dtype=torch.float64)
    (found,) = torch.autograd.grad(mixing.mix(values, ALL), values, wish)
    np.testing.assert_allclose(found.numpy(), dense(mixing).T @ wish.numpy(), atol=1e-14)


def test_none_is_every_clip_as_it_is() -> None:
    mixing = Mixing.none(N, torch.device("cpu"))
    assert torch.equal(mixing.matrix(), torch.eye(N, dtype=torch.float64))
    other = draw_mixing(1, 1.0, EVERY)
    assert torch.equal(mixing.then(other).matrix(), other.matrix())
    assert torch.equal(other.then(mixing).matrix(), other.matrix())


@pytest.mark.parametrize("alpha", [1.0, 1e-4])  # with the smaller most shares are exactly 1: nothing is mixed in
def test_flags_are_those_of_what_is_mixed_in(alpha: float) -> None:
    flags = torch.arange(2 * N).view(N, 2) % 3 > 0
    unmixed = 0
    for key in range(20):
        mixing = draw_mixing(key, alpha, EVERY).then(draw_mixing(key + 100, alpha, EVERY))
        parts = [np.flatnonzero(row) for row in dense(mixing)]
        unmixed += sum(len(part) == 1 for part in parts)
        for rows in (ALL, slice(3, 6)):
            every = [flags.numpy()[part].all(axis=0) for part in parts][rows]
            some = [flags.numpy()[part].any(axis=0) for part in parts][rows]
            assert mixing.all_of(flags, rows).tolist() == np.array(every).tolist()
            assert mixing.any_of(flags, rows).tolist() == np.array(some).tolist()
        assert mixing.all_of(flags[:, 0], ALL).shape == (N,)
    assert unmixed > (100 if alpha < 1 else 0)


# The draw


@pytest.mark.parametrize("eligible", [EVERY, SOME], ids=["all", "some"])
def test_rows_sum_to_1_the_own_share_is_the_larger_and_no_clip_is_lost(eligible: Tensor) -> None:
    for key in range(50):
        mixing = draw_mixing(key, 1.0, eligible)
        a = dense(mixing)
        np.testing.assert_allclose(a.sum(axis=1), 1, atol=1e-15)
        assert (np.diag(a) >= 0.5).all()
        assert (a.sum(axis=0) > 0).all()
        assert ((mixing.weights >= 0) & (mixing.weights <= 1)).all()
        partners = mixing.sources[1]
        assert sorted(partners[eligible].tolist()) == torch.arange(N)[eligible].tolist()
        assert (a[~eligible.numpy()] == np.eye(N)[~eligible.numpy()]).all()


def test_no_eligible_clip_mixes_nothing() -> None:
    assert torch.equal(draw_mixing(3, 1.0, ~EVERY).matrix(), torch.eye(N, dtype=torch.float64))
    one = torch.arange(N) == 4
    assert torch.equal(draw_mixing(3, 1.0, one).matrix(), torch.eye(N, dtype=torch.float64))


@pytest.mark.parametrize("alpha", [0.2, 1.0, 4.0])
def test_the_own_share_is_a_folded_beta(alpha: float) -> None:
    own = draw_mixing(5, alpha, torch.ones(20_000, dtype=torch.bool)).weights[0].numpy()
    beta = stats.beta(alpha, alpha)
    folded = stats.kstest(own, lambda x: np.where(x < 0.5, 0, beta.cdf(x) - beta.cdf(1 - x)))
    assert folded.pvalue > 1e-3
    other = stats.beta(2 * alpha, 2 * alpha)
    assert stats.kstest(own, lambda x: np.where(x < 0.5, 0, other.cdf(x) - other.cdf(1 - x))).pvalue < 1e-6


def test_all_permutations_of_the_eligible_are_equally_likely_and_do_not_go_with_the_shares() -> None:
    eligible = torch.tensor([True, False, True, True, True])
    mixings = [draw_mixing(key, 1.0, eligible) for key in range(2400)]
    drawn = Counter(tuple(mixing.sources[1, eligible].tolist()) for mixing in mixings)
    expected = set(itertools.permutations([0, 2, 3, 4]))
    assert drawn.keys() == expected
    assert stats.chisquare(list(drawn.values())).pvalue > 1e-3
    partner, own = np.array([(int(m.sources[1, 0]), float(m.weights[0, 0])) for m in mixings]).T
    assert stats.kruskal(*(own[partner == p] for p in (0, 2, 3, 4))).pvalue > 1e-3


def test_a_key_draws_the_same_and_another_key_something_else() -> None:
    first, again, other = (draw_mixing(key, 1.0, EVERY).matrix() for key in (8, 8, 9))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


# Batches


def mixed_by_hand(batch: Batch, mixing: Mixing) -> dict[str, list[npt.NDArray[np.float64]]]:
    """Of each clip and modality, the steps of the sum, as long as the longest part."""
    a, out = dense(mixing), {}
    for name, stream in batch.streams.items():
        out[name] = []
        for i in range(len(batch)):
            parts = np.flatnonzero(a[i])
            steps = max(int(stream.lengths[j]) for j in parts)
            total = np.zeros((steps, stream.values.shape[2]))
            for j in parts:
                length = int(stream.lengths[j])
                total[:length] += a[i, j] * stream.values[j, :length].numpy()
            out[name].append(total)
    return out


@pytest.mark.parametrize("absent", [False, True])
def test_a_mixed_batch_is_the_sum_of_its_clips_and_has_what_all_of_them_have(absent: bool) -> None:
    batch, mixing = batch_of(range(N), absent=absent, steps=9), chained((1, 2))
    mixed = mix_batch(batch, mixing)
    a = dense(mixing)
    for m, (name, clips) in enumerate(mixed_by_hand(batch, mixing).items()):
        stream = mixed.streams[name]
        assert stream.lengths.tolist() == [len(clip) for clip in clips]
        assert stream.mask.tolist() == [[t < len(clip) for t in range(stream.values.shape[1])] for clip in clips]
        for i, clip in enumerate(clips):
            np.testing.assert_allclose(stream.values[i, : len(clip)].numpy(), clip, atol=1e-14)
            assert not stream.values[i, len(clip) :].any()
            assert bool(mixed.present[i, m]) == all(bool(batch.present[j, m]) for j in np.flatnonzero(a[i]))
    assert bool(mixed.present.all()) != absent
    for name in ("targets", "index", "weight", "shares"):  # labels are mixed where the loss is known
        assert getattr(mixed, name) is getattr(batch, name)


def test_modalities_that_are_not_named_are_not_mixed() -> None:
    batch = batch_of(range(N))
    mixing = chained((1,))
    found = mix_streams(batch, {"audio": mixing})
    assert list(found) == ["audio"]
    assert torch.equal(found["audio"].values, mix_batch(batch, mixing).streams["audio"].values)


# Two ranks

SHARES = [(4, 3), (1, 6), (2, 1), (1, 0), (5, 0)]


def of_rank(rank: int) -> list[dict[str, Tensor]]:
    results = []
    for shares in SHARES:
        batch = share_of(shares, rank, absent=True)
        clips = sum(shares)
        mixing = draw_mixing(1, 1.0, torch.ones(clips, dtype=torch.bool))
        mixed = mix_batch(batch, mixing.then(draw_mixing(2, 1.0, torch.ones(clips, dtype=torch.bool))))
        found = {f"{name} values": stream.values for name, stream in mixed.streams.items()}
        found |= {f"{name} mask": stream.mask for name, stream in mixed.streams.items()}
        found |= {f"{name} lengths": stream.lengths for name, stream in mixed.streams.items()}
        values = batch.streams["text"].values.requires_grad_()
        gathered = gather_steps(values, shares)
        steps = torch.arange(gathered.shape[1], dtype=torch.float64)[:, None]
        ((rank + 1) * gathered * steps).sum().backward()
        assert values.grad is not None
        results.append({**found, "present": mixed.present, "gathered": gathered.detach(), "gradient": values.grad})
    return results


@pytest.fixture(scope="module")
def two() -> list[list[dict[str, Tensor]]]:
    return on_ranks(2, of_rank)


@pytest.mark.parametrize("case", range(len(SHARES)), ids=lambda case: str(SHARES[case]))
def test_two_ranks_mix_what_one_process_mixes(case: int, two: list[list[dict[str, Tensor]]]) -> None:
    shares, clips = SHARES[case], sum(SHARES[case])
    every = torch.ones(clips, dtype=torch.bool)
    whole = batch_of(range(clips), absent=True)
    one = mix_batch(whole, draw_mixing(1, 1.0, every).then(draw_mixing(2, 1.0, every)))
    for rank, share in enumerate(shares):
        found, rows = two[rank][case], slice(sum(shares[:rank]), sum(shares[:rank]) + share)
        if not share:  # it runs one clip of weight 0, as anything that is there
            assert all(len(found[f"{name} values"]) == 1 for name in whole.streams)
            continue
        assert torch.equal(found["present"], one.present[rows])
        for name, stream in one.streams.items():
            steps = stream.values.shape[1]
            torch.testing.assert_close(found[f"{name} values"][:, :steps], stream.values[rows], rtol=0, atol=1e-14)
            assert not found[f"{name} values"][:, steps:].any()
            assert torch.equal(found[f"{name} mask"][:, :steps], stream.mask[rows])
            assert torch.equal(found[f"{name} lengths"], stream.lengths[rows])


@pytest.mark.parametrize("case", range(len(SHARES)), ids=lambda case: str(SHARES[case]))
def test_steps_gathered_are_padded_to_the_longest_rank_and_get_all_ranks_gradients(
    case: int, two: list[list[dict[str, Tensor]]]
) -> None:
    shares = SHARES[case]
    whole = batch_of(range(sum(shares)), absent=True).streams["text"].values
    for rank, share in enumerate(shares):
        found = two[rank][case]
        local = share_of(shares, rank, absent=True).streams["text"].values
        longest = max(share_of(shares, r, absent=True).streams["text"].values.shape[1] for r in (0, 1))
        assert found["gathered"].shape == (sum(shares), longest, 5)
        assert torch.equal(found["gathered"][:, : whole.shape[1]], whole)
        assert not found["gathered"][:, whole.shape[1] :].any()
        wanted = 3.0 * torch.arange(local.shape[1], dtype=torch.float64)[:, None].expand_as(local)
        assert torch.equal(found["gradient"], wanted if share else torch.zeros_like(local))
