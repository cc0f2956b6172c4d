"""Each way of getting a search wrong, with the line that it is answered with, before anything starts."""

from pathlib import Path
from typing import Any

import pytest

from trivium.config.check import problems_of
from trivium.config.compose import composer
from trivium.config.config_folder import CONFIGS
from trivium.config.space import Dimension, read_space
from trivium.config.sweep import read_search

SWEEPS = sorted(file.stem for file in (CONFIGS / "sweep").glob("*.yaml"))
START = "-m sweep=supervised "


# Half a minute for all.
ALWAYS = ("supervised", "gmc", "misa", "comm")


@pytest.mark.parametrize("sweep", [pytest.param(s, marks=[pytest.mark.slow] * (s not in ALWAYS)) for s in SWEEPS])
def test_every_space_fits_its_method(sweep: str) -> None:
    assert problems_of(["-m", f"sweep={sweep}"]) == []
    assert problems_of(["-m", f"sweep={sweep}", "data=fixture_sims", "hydra.sweeper.sampler=grid"]) == []


def test_every_method_that_the_project_is_about_has_a_space() -> None:
    assert {"selfmi", "selfmm", "tcmax", "comm", "m3ixup", "gmc", "supervised"} <= set(SWEEPS)


@pytest.mark.parametrize(
    "line",
    [
        START + "fusion=sum optimizer.lr=1e-3 hydra.sweeper.sampler=random",
        START + "fusion=sum,concat optimizer.lr=tag(log,interval(1e-4,1e-2)) hydra.sweeper.objective=val/corr",
        START + "optimizer.lr=interval(1e-4,1e-2) fusion.dropout=interval(0.0,0.3) hydra.sweeper.sampler=cmaes",
        START + "hydra/launcher=joblib hydra.launcher.n_jobs=2",
        START + "hydra/launcher=submitit_slurm hydra.launcher.partition=gpu",
        START + "hydra.sweeper.storage='sqlite:///x.db' hydra.sweeper.study=mine hydra.sweeper.hosts=[a,b]",
        "-m sweep=selfmi method=selfmm method.cpc_weight=0.1",
        "-m seed=1,2 hydra/launcher=submitit_local",
        "-m sweep=selfmi experiment=selfmi_mosi data=fixture",
        "-m sweep=selfmi encoder@encoders.audio=published/selfmm_audio encoders.audio.hidden=16,32",
        "-m fusion=glob(co*)",
        "-m seed=1,2 hydra/launcher=submitit_slurm +hydra.launcher.additional_parameters.mail-user=me",
    ],
)
def test_what_is_right_passes(line: str) -> None:
    assert problems_of(line.split()) == []


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("sweep=supervised", "sweep=supervised: a search is many runs; add -m"),
        ("-m sweep=superviced", "sweep=superviced: no such choice; nearest is supervised"),
        (START + "hydra.sweeper.n_trial=3", "hydra.sweeper.n_trial: no such key; nearest is hydra.sweeper.n_trials"),
        (START + "hydra.sweeper.n_trials=0", "hydra.sweeper.n_trials: expected at least 1, found 0"),
        (START + "hydra.sweeper.n_trials=many", "hydra.sweeper.n_trials: expected a whole number, found 'many'"),
        (
            START + "hydra.sweeper.sampler=tpee",
            "expected one of tpe, random, grid, cmaes, found 'tpee'; nearest is tpe",
        ),
        (START + "hydra.sweeper.pruner=mean", "hydra.sweeper.pruner: expected one of median, hyperband, none"),
        (START + "hydra.sweeper.objective=test/mae", "'test/mae' is refused; a search selects on the validation split"),
        (START + "hydra.sweeper.objective=mae", "hydra.sweeper.objective: 'mae' is refused"),
        (START + "hydra.sweeper.study=a/b", "hydra.sweeper.study: 'a/b' is a folder's name too"),
        (START + "fusion.dropout=abc,0.1", "fusion.dropout: expected a number, found 'abc'"),
        (START + "optimizer.lr=interval(-1.0,1.0)", "optimizer.lr: expected at least 0, found -1"),
        (START + "optimizer.lrr=0.1,0.2", "optimizer.lrr: no such key; nearest is optimizer.lr"),
        (START + "optimizer.lr=interval(0.1,0.01)", "expected low < high"),
        (START + "optimizer.lr=tag(log,interval(0.0,0.01))", "low > 0 with the tag log"),
        (START + "hydra.sweeper.sampler=cmaes", "cmaes needs two intervals or more, and the space has 1"),
        (
            START + "hydra.sweeper.sampler=grid optimizer.lr=interval(0.1,1.0)",
            "optimizer.lr: a grid needs choices; write a list, or add points: N",
        ),
        (
            "-m sweep=finetune optimizer.lr=1 optimizer.weight_decay=0 method.head_hidden=[] method.head_dropout=0 "
            "data.batch_size=32",
            "nothing to search; every dimension has one value on the command line",
        ),
        (START + "run.dir=x", "run.dir: the search sets it for each trial"),
        (START + "resume=auto", "resume: the search sets it for each trial"),
        (START + "seed=1,2", "seed=1,2: all trials of a search share one seed"),
        (
            "-m hydra.sweeper.n_trials=3 seed=1,2",
            "only a search has this key; choose a search with sweep=NAME (almt, comm",
        ),
        ("-m optimizer.lr=interval(0,1)", "only a search draws from an interval; choose one with sweep=NAME"),
        ("-m sweep=selfmi method=supervised optimizer=sgd", "method.cpc_weight: no such key (in the search space)"),
        (START + "hydra/launcher=joblibb", "Could not find 'hydra/launcher/joblibb'"),
        (START + "hydra/launcher=submitit_slurm optimizer.lr=interval(-1.0,1.0)", "optimizer.lr: expected at least 0"),
        ("-m sweep=supervised,selfmi", "sweep=supervised,selfmi: expected one value; start a command for each of them"),
        ("-m sweep=glob(s*)", "sweep=glob(s*): expected one value"),
        (START + "hydra.sweeper.n_trials=2,3", "hydra.sweeper.n_trials=2,3: expected one value"),
        (START + "hydra.sweep.dir=x", "hydra.sweep.dir: the search sets it for each trial"),
        (
            START + "hydra/launcher=submitit_slurm hydra.launcher.partitionn=x",
            "hydra.launcher.partitionn: no such key; nearest is hydra.launcher.partition",
        ),
        (
            "-m seed=1,2 hydra.launcher.n_jobs=2",
            "hydra.launcher.n_jobs: no such key; the basic launcher has no settings",
        ),
        ("-m fusion=glob(z*)", "fusion=glob(z*): no choice of the group fits"),
        ("-m optimizer.lr=glob(*)", "optimizer.lr=glob(*): glob(...) is for groups alone"),
    ],
)
def test_each_mistake_is_named(line: str, told: str) -> None:
    problems = problems_of(line.split())
    assert told in "\n".join(problems), problems
    if "sweep=selfmi" not in line:
        assert len(problems) == 1, problems


def test_what_is_wrong_with_a_search_is_told_beside_a_wrong_key() -> None:
    problems = problems_of([*START.split(), "hydra.sweeper.n_trials=0", "optimizer.lrr=0.1"])
    assert problems == [
        "hydra.sweeper.n_trials: expected at least 1, found 0",
        "optimizer.lrr: no such key; nearest is optimizer.lr",
    ]


@pytest.mark.parametrize("sweep", ["comm", "gmc", "m3ixup"])
def test_what_has_a_contrast_in_its_loss_is_searched_by_the_error(sweep: str) -> None:
    with composer() as session:
        sweeper = session.hydra([f"sweep={sweep}"])["sweeper"]
    assert "method.temperature" in sweeper["params"]  # of the contrast
    assert sweeper["objective"] == "val/mae"


def problems_of_file(tmp_path: Path, text: str, *more: str) -> list[str]:
    (tmp_path / "sweep").mkdir()
    (tmp_path / "sweep" / "mine.yaml").write_text("# @package _global_\n" + text)
    return problems_of(["--config-dir", str(tmp_path), "-m", "sweep=mine", *more])


def test_mistakes_in_a_file_of_one_s_own(tmp_path: Path) -> None:
    params = """
hydra:
  sweeper:
    params:
      fusion.dropout: [0.0, much]
      optimizer.lr: {low: small, hihg: 1.0e-2}
      data.batch_size: {low: 8, high: 0.5, int: true}
      fusion: [concat, conct]
      optimizer.weight_decay: []
      seed: 3
"""
    problems = problems_of_file(tmp_path, params)
    for told in (
        "hydra.sweeper.params: optimizer.lr: low: expected a number, found 'small'",
        "hydra.sweeper.params: optimizer.lr: no such word 'hihg'; nearest is high; an interval has low, high, log, int",
        "hydra.sweeper.params: optimizer.weight_decay: no choice; expected a list of values",
        "hydra.sweeper.params: seed: expected a list of choices or {low: A, high: B}, found 3",
        "fusion=conct: no such choice; nearest is concat; choices are",
        "fusion.dropout: expected a number, found 'much'",
        "hydra.sweeper.params: data.batch_size: expected low < high, found low 8 and high 0.5",
        "hydra.sweeper.params: data.batch_size: int needs whole ends",
    ):
        assert any(told in problem for problem in problems), (told, problems)


@pytest.mark.parametrize(
    ("dimension", "told"),
    [
        ("optimizer.lrr: [0.1, 0.2]", "optimizer.lrr: no such key (in the search space); nearest is optimizer.lr"),
        (
            "trainer.max_epochs: {low: 1, high: 3}",
            "trainer.max_epochs: expected a whole number, found 1.0 (in the search space)",
        ),
        ("data.batch_size: {low: 0, high: 8, int: true}", "data.batch_size: expected at least 1, found 0"),
        ("data.batch_size: [8, 0]", "data.batch_size: expected at least 1, found 0"),
        (
            "method.mixup: [none, manifold, none]",
            "hydra.sweeper.params: method.mixup: none stands twice among the choices",
        ),
        ("optimizer.lr: [1, 1.0]", "hydra.sweeper.params: optimizer.lr: 1.0 stands twice among the choices"),
    ],
)
def test_a_dimension_that_no_run_could_take(dimension: str, told: str, tmp_path: Path) -> None:
    problems = problems_of_file(tmp_path, f"hydra: {{sweeper: {{params: {{{dimension}}}}}}}\n")
    assert told in problems


def test_a_sweep_file_may_not_set_what_its_trials_commands_would_lack(tmp_path: Path) -> None:
    text = "trainer: {max_epochs: 3}\nhydra: {sweeper: {params: {optimizer.lr: [0.1, 0.2]}}}\n"
    (problem,) = problems_of_file(tmp_path, text)
    assert problem.startswith(
        "sweep/mine.yaml: trainer: a sweep file holds hydra.sweeper and overrides of groups alone"
    )


def test_a_dimension_in_another_form_is_told_how_to_give_it() -> None:
    (problem,) = problems_of(["-m", "sweep=supervised", "hydra.sweeper.params={optimizer.lr:[0.01,0.1]}"])
    assert problem.endswith(
        "the space of sweep= has the key in another form; give KEY=A,B or 'KEY=interval(A,B)' instead"
    )


FIRST = """
hydra:
  sweeper:
    first:
      - FIRST
    params:
      fusion: [concat, sum]
      fusion.dropout: [0.0, 0.1]
      optimizer.lr: {low: 1.0e-4, high: 1.0e-2, log: true}
      encoder.layers: {low: 1, high: 3, int: true}
"""


@pytest.mark.parametrize(
    ("first", "told"),
    [
        ("{fusion: sum, optimizer.lr: 0.01, encoder.layers: 2}", ""),
        ("[sum]", "hydra.sweeper.first: trial 0: expected keys of the space and their values"),
        (
            "{fusion.drop: 0.1}",
            "hydra.sweeper.first: trial 0: fusion.drop is not in the space; nearest is fusion.dropout",
        ),
        ("{fusion.dropout: 0.2}", "hydra.sweeper.first: trial 0: fusion.dropout: expected 0.0, 0.1, found 0.2"),
        ("{optimizer.lr: 0.1}", "hydra.sweeper.first: trial 0: optimizer.lr: expected 0.0001 to 0.01, found 0.1"),
        ("{optimizer.lr: true}", "optimizer.lr: expected 0.0001 to 0.01, found true"),
        ("{encoder.layers: 1.5}", "hydra.sweeper.first: trial 0: encoder.layers: expected 1 to 3, found 1.5"),
    ],
)
def test_what_first_trials_have_is_of_the_space(first: str, told: str, tmp_path: Path) -> None:
    problems = problems_of_file(tmp_path, FIRST.replace("FIRST", first))
    assert len(problems) == bool(told), problems
    assert told in "".join(problems)


def test_what_the_command_line_takes_out_of_the_space_the_first_trials_have_no_more() -> None:
    params = {"a": [1, 2], "b": {"low": 0.1, "high": 1.0}, "c": [0, 1]}
    first = [{"a": 1, "b": 0.5, "c": 1}, {"b": 0.2}]
    assert read_search(params, [], first).first == tuple(first)
    assert read_search(params, ["a=2", "b=interval(0.3,0.6)"], first).first == ({"b": 0.5, "c": 1}, {})


@pytest.mark.parametrize("sweep", SWEEPS)
def test_first_trials_of_the_package_s_spaces_name_every_value(sweep: str) -> None:
    with composer() as session:
        sweeper = session.hydra([f"sweep={sweep}"])["sweeper"]
    search = read_search(sweeper["params"], [], sweeper["first"])
    assert search.problems == []
    for point in search.first:
        assert set(point) == {key for key, dimension in search.space.items() if dimension.applies(point)}
    assert search.first


def test_several_values_on_the_command_line_replace_a_dimension_and_one_fixes_it() -> None:
    params = {"a": [1, 2], "b": {"low": 0.1, "high": 1.0}, "c": [0]}
    search = read_search(params, ["a=3,4,5", "b=0.5", "d=int(interval(1,4))", "x=y"])
    assert search.problems == []
    assert search.fixed == ["b=0.5", "x=y"]
    assert list(search.space) == ["a", "c", "d"]
    assert search.space["a"].values == (3, 4, 5)
    assert search.space["d"] == Dimension("d", low=1, high=4, whole=True)


DEPENDS: dict[str, Any] = {
    "encoder": ["lstm", "gru", "identity"],
    "encoder.hidden": {"choices": [32, 64], "when": {"encoder": ["lstm", "gru"]}},
    "encoder.dropout": {"low": 0.0, "high": 0.5, "when": {"encoder": ["lstm"]}},
}


@pytest.mark.parametrize(
    ("line", "keys"),
    [
        ("x=y", ["encoder", "encoder.hidden", "encoder.dropout"]),
        ("encoder=lstm", ["encoder.hidden", "encoder.dropout"]),
        ("encoder=gru", ["encoder.hidden"]),
        ("encoder=identity", []),
        ("encoder.hidden=8", ["encoder", "encoder.dropout"]),
        ("encoder.hidden=8,16", ["encoder", "encoder.hidden", "encoder.dropout"]),
        ("encoder=gru,identity", ["encoder", "encoder.hidden", "encoder.dropout"]),
    ],
)
def test_a_key_with_a_condition_goes_by_what_the_command_line_fixes(line: str, keys: list[str]) -> None:
    search = read_search(DEPENDS, [line])
    assert search.problems == []
    assert list(search.space) == keys
    if "encoder.hidden" in keys:
        chosen_freely = "encoder" in keys and "encoder.hidden" not in line
        assert search.space["encoder.hidden"].when == ("encoder" if chosen_freely else "")
    if "encoder.hidden" in line:
        assert search.space["encoder"].values == ("lstm", "gru")


def test_keys_of_the_command_line_that_no_choice_has_together_are_refused() -> None:
    space = {**DEPENDS, "encoder.dim": {"choices": [32], "when": {"encoder": ["transformer"]}}}
    search = read_search(space, ["encoder.hidden=8", "encoder.dim=16"])
    (told,) = search.problems
    assert told == "encoder.dim: is for encoder=transformer, and what else is set leaves lstm, gru; set encoder too"


@pytest.mark.parametrize(
    ("dimension", "told"),
    [
        ("{choices: [0.1], when: {encoder: lstm}}", "when: expected one other key and its values"),
        ("{choices: [0.1], when: {encoder: [lstm], fusion: [sum]}}", "when: expected one other key and its values"),
        ("{choices: [], when: {encoder: [lstm]}}", "no choice; expected a list of values"),
        ("{choices: [0.1], low: 0.0}", "low: choices stand alone, or with when"),
        ("{low: 0.5, high: 0.1, when: {encoder: [lstm]}}", "expected low < high"),
        ("{choices: [0.1], when: {encoder: [lstm]}}", "when: encoder is neither in the space nor on the command line"),
    ],
)
def test_wrong_conditions_are_named(dimension: str, told: str, tmp_path: Path) -> None:
    params = f"hydra: {{sweeper: {{params: {{fusion.dropout: {dimension}}}}}}}\n"
    assert any(told in problem for problem in problems_of_file(tmp_path, params))


def test_a_key_is_checked_with_the_choices_that_it_is_for(tmp_path: Path) -> None:
    """identity has no size: without its condition the key would be refused."""
    text = "hydra: {sweeper: {params: {encoder: [lstm, identity], encoder.hidden: %s}}}\n"
    (tmp_path / "right").mkdir()
    right = "{choices: [8, 16], when: {encoder: [lstm]}}"
    assert problems_of_file(tmp_path / "right", text % right) == []
    (tmp_path / "wrong").mkdir()
    problems = problems_of_file(tmp_path / "wrong", text % "{choices: [8, 16], when: {encoder: [identity]}}")
    assert any(problem.startswith("encoder.hidden: no such key (in the search space)") for problem in problems)


def test_a_space_of_every_kind() -> None:
    space, problems = read_space(
        {
            "a": {"low": 1, "high": 100, "log": True, "points": 3},
            "b": {"low": 1, "high": 3, "int": True},
            "c": {"low": 0, "high": 1},
            "d": [[1, 2], None, "x"],
            "e": {"low": 0, "high": 1, "points": 3.0},
            "f": {"low": 1, "high": 10**9, "int": True},
        }
    )
    assert problems == []
    assert space["e"].grid() == (0.0, 0.5, 1.0)
    with pytest.raises(ValueError, match="f: a grid needs choices; write a list, or add points"):
        space["f"].grid()
    assert space["a"].grid() == pytest.approx((1.0, 10.0, 100.0))
    assert space["b"].grid() == (1, 2, 3)
    assert space["c"].ends == (0.0, 1.0)
    assert space["d"].grid() == ([1, 2], None, "x")
