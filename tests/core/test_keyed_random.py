"""Counter-based random numbers: SplitMix64 in numpy's uint64, their distributions, and what they depend on."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from trivium.core.keyed_random import bits, normal, uniform

COUNT = 100_000
DRAWS = {"uniform": uniform, "normal": normal}


def splitmix64(seed: int, count: int) -> list[int]:
    """The published generator, with its state, in Python's unbounded integers."""
    words, state, mask = [], seed, 2**64 - 1
    for _ in range(count):
        state = (state + 0x9E3779B97F4A7C15) & mask
        z = state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
        words.append(z ^ (z >> 31))
    return words


def as_uint64(words: Tensor) -> list[int]:
    return [int(word) for word in words.numpy().view(np.uint64)]


def test_published_first_words_of_splitmix64() -> None:
    # Steele, Lea and Flood's generator seeded with 1234567, as its ports are checked.
    known = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431, 16408922859458223821]
    assert splitmix64(1234567, 5) == known


@pytest.mark.parametrize("key", [0, 1, 1234567, 2**63 - 1, 2**63, 2**64 - 1])
def test_bits_are_the_published_generator_s(key: int) -> None:
    seed = splitmix64(key, 1)[0]
    assert as_uint64(bits(key, torch.arange(50))) == splitmix64(seed, 50)
    rows = bits(key, torch.arange(3)[:, None], torch.arange(4))
    assert [as_uint64(row) for row in rows] == [splitmix64(word, 4) for word in splitmix64(seed, 3)]


@pytest.mark.parametrize(("dtype", "precision"), [(torch.float32, 24), (torch.float64, 53)])
def test_values_are_the_high_bits(dtype: torch.dtype, precision: int) -> None:
    counters = torch.arange(2000)
    high = np.array(as_uint64(bits(7, counters)), dtype=np.uint64) >> np.uint64(64 - precision)
    np.testing.assert_array_equal(uniform(7, counters, dtype=dtype).double(), high / 2.0**precision)
    signed = bits(7, counters).numpy() >> (64 - precision)
    expected = stats.norm.ppf(0.5 + (signed + 0.5) / 2.0**precision)
    np.testing.assert_allclose(normal(7, counters, dtype=dtype), expected, rtol=2e-6 if precision == 24 else 1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_distributions(seed: int, dtype: torch.dtype) -> None:
    counters = torch.arange(COUNT // 100)[:, None], torch.arange(100)
    u, z = (draw(seed, *counters, dtype=dtype).flatten().double().numpy() for draw in (uniform, normal))
    assert u.min() >= 0
    assert u.max() < 1
    assert np.isfinite(z).all()
    assert stats.kstest(u, "uniform").pvalue > 1e-3
    assert stats.kstest(z, "norm").pvalue > 1e-3


@pytest.mark.parametrize("name", DRAWS)
def test_neighbouring_counters_and_keys_are_uncorrelated(name: str) -> None:
    draw, steps, features = DRAWS[name], torch.arange(1000)[:, None], torch.arange(100)
    table = draw(5, steps, features)
    neighbours = {
        "counter": (table[:, 1:], table[:, :-1]),
        "earlier counter": (table[1:], table[:-1]),
        "swapped counters": (table, draw(5, features, steps)),
        "key": (table, draw(6, steps, features)),
        "key's last bit": (table, draw(5 ^ (1 << 63), steps, features)),
    }
    for what, (a, b) in neighbours.items():
        assert abs(stats.pearsonr(a.flatten(), b.flatten()).statistic) < 4 / np.sqrt(COUNT - 1000), what
    assert len(set(table.flatten().tolist())) > 0.99 * COUNT


@pytest.mark.parametrize("name", DRAWS)
def test_an_entry_depends_on_its_own_counters_only(name: str) -> None:
    draw = DRAWS[name]
    clips, steps, features = torch.tensor([4, 900, 17]), torch.arange(6), torch.arange(5)
    whole = draw(3, clips[:, None, None], steps[:, None], features)
    assert whole.shape == (3, 6, 5)
    for (b, clip), t in itertools.product(enumerate(clips), range(6)):
        assert torch.equal(draw(3, clip.view(1), steps[t : t + 1], features), whole[b, t])
    flat = draw(3, clips.repeat_interleave(6)[:, None], steps.repeat(3)[:, None], features)
    assert torch.equal(flat.view(3, 6, 5), whole)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        assert torch.equal(draw(3, clips[:, None, None], steps[:, None], features), whole)


def test_counters_are_left_as_they_are() -> None:
    counters = torch.arange(4)
    bits(0, counters, counters)
    assert counters.tolist() == [0, 1, 2, 3]


def test_extremes_are_finite() -> None:
    # The inverse distribution function at the outermost of 2^24 points; the draws themselves hardly ever get there.
    counters = torch.arange(2_000_000)
    assert normal(1, counters).abs().max() < 5.42
    assert uniform(1, counters).max() < 1


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_a_gpu_draws_the_same_numbers() -> None:
    counters = torch.arange(300)[:, None], torch.arange(70)
    there = [counter.cuda() for counter in counters]
    assert torch.equal(bits(9, *there).cpu(), bits(9, *counters))
    assert torch.equal(uniform(9, *there).cpu(), uniform(9, *counters))
    torch.testing.assert_close(normal(9, *there).cpu(), normal(9, *counters), rtol=1e-5, atol=1e-7)
