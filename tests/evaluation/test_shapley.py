"""Tests Shapley values against their definition over permutations, and their axioms."""

import itertools
import math

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.stats import entropy

from trivium.evaluation.shapley import coalition, equity, shapley_values


def over_permutations(worth: np.ndarray) -> np.ndarray:
    """Each player's gain on joining, mean over all orders in which players may join."""
    players = (len(worth) - 1).bit_length()
    total, orders = np.zeros((players, *worth.shape[1:])), list(itertools.permutations(range(players)))
    for order in orders:
        there = 0
        for player in order:
            total[player] += worth[there + 2**player] - worth[there]
            there += 2**player
    return total / len(orders)


@pytest.mark.parametrize("players", [1, 2, 3, 4, 5, 6])
def test_equals_the_mean_over_all_orders_of_joining(players: int) -> None:
    worth = np.random.default_rng(players).normal(size=2**players)
    assert_allclose(shapley_values(worth), over_permutations(worth), atol=1e-12)


def test_games_lie_side_by_side() -> None:
    worth = np.random.default_rng(1).normal(size=(8, 4, 2))
    together = shapley_values(worth)
    assert together.shape == (3, 4, 2)
    for game in np.ndindex(4, 2):
        assert_allclose(together[:, *game], shapley_values(worth[:, *game]), atol=1e-15)


@pytest.mark.parametrize("players", [1, 3, 7])
def test_values_sum_to_what_all_are_worth_beyond_none(players: int) -> None:
    worth = np.random.default_rng(2).normal(size=2**players)
    assert abs(shapley_values(worth).sum() - (worth[-1] - worth[0])) < 1e-12


def test_additive_game_gives_each_its_own() -> None:
    gains = np.array([0.5, -2.0, 3.0, 0.0])
    worth = np.array([7 + sum(gains[m] for m in range(4) if members >> m & 1) for members in range(16)])
    assert_allclose(shapley_values(worth), gains, atol=1e-12)


def test_equal_players_get_the_same_and_one_that_adds_nothing_gets_nothing() -> None:
    """Worth depends on whether both of 0 and 1 are there; 2 changes nothing."""
    worth = np.array([float(members & 3 == 3) for members in range(8)])
    assert_allclose(shapley_values(worth), [0.5, 0.5, 0.0], atol=1e-15)


def test_coalitions_are_numbered_by_the_players_order() -> None:
    players = ("text", "audio", "vision")
    assert [coalition(members, players) for members in ((), ("text",), ("vision", "audio"), players)] == [0, 1, 6, 7]


@pytest.mark.parametrize("rows", [0, 1, 3, 6])
def test_games_that_lack_a_coalition_are_refused(rows: int) -> None:
    with pytest.raises(ValueError, match=rf"{rows} coalitions; expected 2\^M"):
        shapley_values(np.zeros(rows))


@pytest.mark.parametrize("players", [2, 3, 5])
def test_equity_is_1_for_equal_values_and_0_for_a_single_positive_one(players: int) -> None:
    assert equity([0.37] * players) == pytest.approx(1.0, abs=1e-15)
    assert equity([0.37] * players) <= 1.0  # type: ignore[operator]
    assert equity([-0.2] * (players - 1) + [1e-3]) == 0.0
    assert equity([5.0] + [0.0] * (players - 1)) == 0.0


def test_equity_equals_the_entropy_of_the_positive_shares() -> None:
    values = np.random.default_rng(4).normal(size=(50, 4))
    for row in values[(values > 0).any(axis=1)]:
        positive = np.maximum(row, 0.0)
        assert equity(row) == pytest.approx(entropy(positive / positive.sum(), base=4), abs=1e-12)
        assert equity(1000 * row) == pytest.approx(equity(row), abs=1e-12)


@pytest.mark.parametrize("values", [[0.0, 0.0], [-1.0, 0.0, -0.1], [1.0, math.nan], [1.0]])
def test_equity_is_undefined_where_nobody_contributes_and_of_one_alone(values: list[float]) -> None:
    assert equity(values) is None
