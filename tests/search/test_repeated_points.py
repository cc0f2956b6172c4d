"""A point of a space that is known is not run again, and a small space has no more trials than points."""

import csv
from pathlib import Path
from typing import Any

import pytest
from test_study import SETTINGS, finish, states

from trivium.config.space import Dimension, points_of
from trivium.search.study import SAME_AS, OpenStudy, open_study
from trivium.search.study_settings import StudySettings
from trivium.search.summary import print_plan, write_summary

CHOICE = Dimension("fusion.dropout", values=(0.0, 0.5))
WHOLE = Dimension("method.layers", low=1, high=3, whole=True)
INTERVAL = Dimension("optimizer.lr", low=1e-4, high=1e-2, log=True)


def opened(folder: Path, *space: Dimension, **changed: Any) -> OpenStudy:
    settings = StudySettings(**{**SETTINGS, **changed})
    return open_study(folder / "mine", settings, {each.key: each for each in space}, {"seed": 1.0})


def run_all(search: OpenStudy) -> int:
    """Runs every trial with a loss of its own, and returns how many were run."""
    runs = 0
    while trials := search.next(1):
        for trial in trials:
            finish(search, trial.number, loss=1.0 - trial.number / 100)
            search.settle(trial, None)
            runs += 1
    return runs


def test_the_size_of_a_space_is_that_of_its_choices() -> None:
    assert points_of({"a": CHOICE, "b": WHOLE}) == 6
    assert points_of({"a": CHOICE, "b": INTERVAL}) is None


@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_a_space_of_two_points_has_two_trials(sampler: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    search = opened(tmp_path, CHOICE, sampler=sampler, n_trials=6)
    print_plan(search, 1, "basic", {})
    assert "the space has 2 points, fewer than n_trials=6: each is run once" in capsys.readouterr().out
    assert run_all(search) == 2
    assert sorted(trial.params["fusion.dropout"] for trial in search.trials()) == [0.0, 0.5]


def test_a_known_point_takes_the_value_that_it_had(tmp_path: Path) -> None:
    search = opened(tmp_path, CHOICE, WHOLE, n_trials=5, seed=3)
    runs = run_all(search)
    trials = search.trials()
    assert states(search) == ["COMPLETE"] * 5
    assert runs == len({tuple(trial.params.values()) for trial in trials})
    copies = [trial for trial in trials if SAME_AS in trial.user_attrs]
    assert len(copies) == 5 - runs > 0
    for copy in copies:
        twin = trials[copy.user_attrs[SAME_AS]]
        assert (copy.params, copy.value) == (twin.params, twin.value)
    write_summary(search, lambda words: " ".join(words))
    lines = (search.folder / "trials.csv").read_text().splitlines()[1:]
    assert all(str(search.run(copy.user_attrs[SAME_AS]).path) in lines[copy.number] for copy in copies)


@pytest.mark.parametrize("sampler", ["random", "tpe", "grid"])
def test_a_key_that_depends_on_another_is_drawn_where_that_has_the_value(sampler: str, tmp_path: Path) -> None:
    encoder = Dimension("encoder", values=("lstm", "identity"))
    hidden = Dimension("encoder.hidden", values=(32, 64, 128), when="encoder", among=("lstm",))
    # The one that depends stands first: it is drawn last all the same.
    search = opened(tmp_path, hidden, encoder, sampler=sampler, n_trials=6, seed=4)
    run_all(search)
    drawn = [dict(trial.params) for trial in search.trials()]
    assert {params["encoder"] for params in drawn} == {"lstm", "identity"}
    assert all(("encoder.hidden" in params) == (params["encoder"] == "lstm") for params in drawn)
    write_summary(search, lambda words: " ".join(words))
    with (search.folder / "trials.csv").open(newline="") as file:
        for trial, line in zip(search.trials(), csv.DictReader(file), strict=True):
            assert line["encoder.hidden"] == str(trial.params.get("encoder.hidden", ""))
