"""Draws are a function of (seed, trial number); a grid is itertools.product's; values come back as written."""

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import optuna
import pytest

from trivium.config.overrides import OverridesParser
from trivium.config.space import Dimension, as_text, grid_size
from trivium.search.sampling import as_override, draw, grid_point, make_pruner, make_sampler, stored

SPACE = {
    "lr": Dimension("lr", low=1e-5, high=1e-1, log=True, points=3),
    "drop": Dimension("drop", low=0.0, high=0.5, points=2),
    "layers": Dimension("layers", low=1, high=3, whole=True),
    "hidden": Dimension("hidden", values=([64], [128, 64], [])),
}


def objective(params: dict[str, Any]) -> float:
    return float((np.log10(params["lr"]) + 3) ** 2 + params["drop"])


def drawn(
    sampler: str, restart_after: tuple[int, ...], seed: int = 1, trials: int = 14, first: Sequence[dict[str, Any]] = ()
) -> list[dict[str, Any]]:
    """The trials of a study whose process is started again after some of them."""
    storage = optuna.storages.InMemoryStorage()
    study: optuna.Study | None = None
    for number in range(trials):
        if study is None or number in restart_after:
            study = optuna.create_study(
                storage=storage, study_name="s", sampler=make_sampler(sampler, SPACE, seed, first), load_if_exists=True
            )
        trial = study.ask()
        params = {key: draw(trial, one) for key, one in SPACE.items()}
        study.tell(trial, objective(params))
    assert study is not None
    return [trial.params for trial in study.trials]


@pytest.mark.parametrize("sampler", ["tpe", "random", "cmaes", "grid"])
def test_a_search_that_goes_on_draws_what_the_undisturbed_one_draws(sampler: str) -> None:
    whole = drawn(sampler, ())
    assert drawn(sampler, (1, 5, 12)) == whole
    assert len({tuple(map(str, params.values())) for params in whole}) == len(whole)
    assert sampler == "grid" or drawn(sampler, (), seed=2) != whole


@pytest.mark.parametrize("sampler", ["tpe", "random", "cmaes"])
def test_first_trials_have_what_is_given_and_draw_the_rest(sampler: str) -> None:
    first = [{"lr": 1e-3, "drop": 0.25, "layers": 3, "hidden": [128, 64]}, {"hidden": []}]
    params = drawn(sampler, (1, 2, 7), first=first)
    assert params[0] == {"lr": 1e-3, "drop": 0.25, "layers": 3, "hidden": "[128,64]"}
    assert params[1]["hidden"] == "[]"
    # What is drawn is keyed by the trial's number: it is there without first trials too, where no model is fitted yet.
    without = drawn(sampler, ())
    if sampler != "cmaes":
        assert [params[1][key] for key in ("lr", "drop", "layers")] == [
            without[1][key] for key in ("lr", "drop", "layers")
        ]
        assert params[2:10] == without[2:10]


def test_a_grid_needs_no_first_trials() -> None:
    assert drawn("grid", (), first=[{"lr": 1e-3}]) == drawn("grid", ())


def test_random_draws_fill_the_space_and_respect_its_ends() -> None:
    params = drawn("random", (), trials=60)
    logs = np.log10([p["lr"] for p in params])
    assert logs.min() >= -5
    assert logs.max() <= -1
    assert np.histogram(logs, bins=4, range=(-5, -1))[0].min() >= 7  # of 15 expected: drawn in the logarithm
    assert {p["layers"] for p in params} == {1, 2, 3}
    assert {p["hidden"] for p in params} == {"[64]", "[128,64]", "[]"}


def test_the_grid_is_the_product_in_order() -> None:
    wanted = list(itertools.product((1e-5, 1e-3, 1e-1), (0.0, 0.5), (1, 2, 3), ([64], [128, 64], [])))
    assert grid_size(SPACE) == len(wanted) == 54
    for number, point in enumerate(wanted):
        found = tuple(grid_point(SPACE, number).values())
        assert found[0] == pytest.approx(point[0], rel=1e-12)
        assert found[1:] == point[1:]
    with pytest.raises(ValueError, match="lr: a grid needs choices"):
        grid_size({"lr": Dimension("lr", low=0.1, high=1)})


@pytest.mark.parametrize(
    "value",
    [
        0.0012345678901234567,
        1e-05,
        1e30,
        3,
        True,
        None,
        "gelu",
        "drop+noise",
        "published/selfmi_mosi",
        "a b",
        "1e-3",
        "true",
        "it's",
        "C:\\data\\",
        "\\'",
        "",
        [64],
        [],
        [["text", "vision"]],
        {"text": 0.1, "audio": None},
        -0.5,
    ],
)
def test_a_value_survives_the_command_line(value: Any) -> None:
    one = Dimension("key", values=(value, "other"))
    (override,) = OverridesParser.create().parse_overrides([as_override(one, stored(value))])
    found = override.value()
    assert found == value
    assert type(found) is type(value)
    assert as_override(one, stored(value)) == f"key={as_text(value)}"


def pruned(make: Callable[[], optuna.pruners.BasePruner], curve: list[float], sign: int = 1) -> int | None:
    """The step at which a trial is given up, after three trials of a falling loss. sign -1: of a rising score."""
    study = optuna.create_study(pruner=make(), direction="minimize" if sign == 1 else "maximize")
    for level in (1.0, 2.0, 3.0):
        trial = study.ask()
        for step in range(6):
            trial.report(sign * (level - 0.1 * step), step)
        study.tell(trial, sign * level)
    trial = study.ask()
    for step, value in enumerate(curve):
        trial.report(sign * value, step)
        if trial.should_prune():
            return step
    return None


def test_the_median_pruner_waits_for_startup_trials_and_warmup_epochs() -> None:
    bad = [2.6, 2.6, 2.6, 2.6, 2.6, 2.6]

    def median(startup: int, warmup: int) -> Callable[[], optuna.pruners.BasePruner]:
        return lambda: make_pruner("median", startup=startup, warmup=warmup, max_epochs=6)

    assert pruned(median(3, 0), bad) == 0
    assert pruned(median(3, 0), bad, sign=-1) == 0
    assert pruned(median(3, 0), [1.5] * 6, sign=-1) is None
    assert pruned(median(3, 2), bad) == 2
    assert pruned(median(4, 0), bad) is None
    assert pruned(median(3, 0), [1.5] * 6) is None
    assert isinstance(make_pruner("hyperband", startup=0, warmup=0, max_epochs=1), optuna.pruners.HyperbandPruner)
    assert pruned(lambda: make_pruner("none", startup=0, warmup=0, max_epochs=6), bad) is None
