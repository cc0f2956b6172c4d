"""Tests agreement of neighbours against scikit-learn and plain sorting, and at its ends."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from sklearn.metrics.pairwise import cosine_similarity
from sklearn.neighbors import NearestNeighbors

from trivium.evaluation.representation_alignment import align, mutual_neighbours, retrieval

MANY = 1100  # three blocks, the last one short


def noisy_pair(clips: int, noise: float, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(seed)
    joint = rng.normal(size=(clips, 16))
    return torch.from_numpy(joint + noise * rng.normal(size=joint.shape)), torch.from_numpy(joint)


def neighbours(vectors: torch.Tensor, k: int) -> np.ndarray:
    """(N, k) by scikit-learn, the clip itself taken out."""
    search = NearestNeighbors(n_neighbors=k, metric="cosine", algorithm="brute").fit(vectors.numpy())
    return search.kneighbors(return_distance=False)


@pytest.mark.parametrize("noise", [0.3, 1.5])
def test_mutual_neighbours_equal_scikit_learns(noise: float) -> None:
    modality, joint = noisy_pair(MANY, noise)
    pairs = zip(neighbours(modality, 10), neighbours(joint, 10), strict=True)
    expected = np.mean([len({*first} & {*second}) / 10 for first, second in pairs])
    assert mutual_neighbours(modality, joint, 10) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("noise", [0.8, 3.0])
def test_retrieval_equals_sorting(noise: float) -> None:
    modality, joint = noisy_pair(MANY, noise)
    order = np.argsort(-cosine_similarity(modality.numpy(), joint.numpy()), axis=1)
    ranks = np.array([1 + [*row].index(n) for n, row in enumerate(order)])
    result = retrieval(modality, joint)
    assert_allclose([result["top1"], result["mrr"]], [(ranks == 1).mean(), (1 / ranks).mean()], rtol=1e-12)
    assert 0 < result["top1"] < result["mrr"] < 1


def test_same_vectors_agree_wholly_whatever_their_lengths_and_axes() -> None:
    """Cosine knows no lengths; neighbours, unlike retrieval, know no axes either."""
    _, joint = noisy_pair(200, 0.0)
    lengths = torch.rand(200, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) + 0.1
    turned = torch.linalg.qr(torch.randn(16, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(0)))[0]
    assert retrieval(lengths * joint, joint) == {"top1": 1.0, "mrr": 1.0}
    assert mutual_neighbours(lengths * joint @ turned, joint, 10) == 1.0
    assert retrieval(joint @ turned, joint)["top1"] < 0.1


def test_unrelated_vectors_come_out_at_chance() -> None:
    pairs = [[noisy_pair(400, 0.0, seed=2 * pair + one)[1] for one in (0, 1)] for pair in range(20)]
    result = [align(*pair) for pair in pairs]
    assert result[0]["chance_knn"] == 10 / 399
    assert result[0]["chance_top1"] == 1 / 400
    assert result[0]["chance_mrr"] == pytest.approx((1 / np.arange(1, 401)).mean())
    for measure, chance in {"mutual_knn": "chance_knn", "mrr": "chance_mrr", "top1": "chance_top1"}.items():
        values = [one[measure] for one in result]
        assert np.mean(values) == pytest.approx(result[0][chance], abs=4 * np.std(values) / np.sqrt(20))


def test_a_collapsed_space_retrieves_nothing() -> None:
    """All joint vectors the same: every one is as near as the clip's own."""
    modality, joint = noisy_pair(50, 0.1)
    assert retrieval(modality, joint[:1].expand(50, -1)) == {"top1": 0.0, "mrr": pytest.approx(1 / 50)}


def test_vectors_of_other_sizes_are_compared_by_neighbours_alone() -> None:
    modality, joint = noisy_pair(40, 0.5)
    result = align(modality[:, :9], joint)
    assert "top1" not in result
    assert result["mutual_knn"] == mutual_neighbours(modality[:, :9], joint, 10)


def test_few_clips_have_fewer_neighbours_and_one_has_none() -> None:
    modality, joint = noisy_pair(4, 0.5)
    result = align(modality, joint)
    assert (result["k"], result["mutual_knn"], result["chance_knn"]) == (3, 1.0, 1.0)
    with pytest.raises(ValueError, match="1 clips with every modality; neighbours need two"):
        align(modality[:1], joint[:1])
