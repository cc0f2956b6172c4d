"""What `-m` starts, from the command line: the search that it describes, and what is wrong with it.

A search's dimensions become overrides of several values, so that the check looks at each as at a grid's.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override

from trivium.config.compose import Composer
from trivium.config.nearest import suggest
from trivium.config.overrides import Given, read_overrides
from trivium.config.reference import Reference, compare
from trivium.config.schema import Map, of_type
from trivium.config.space import Dimension, as_text, read_space

SWEEPER = "hydra_plugins.trivium_sweeper.sweeper.TriviumSweeper"
SET_BY_THE_SEARCH = ("run.dir", "run.study", "run.trial", "resume", "hydra.sweep.dir", "hydra.sweep.subdir")
SOURCE = " (in the search space)"


@dataclass
class Sweeper:
    """hydra.sweeper, as configs/hydra/sweeper/trivium.yaml explains it."""

    _target_: str
    _convert_: str
    params: dict[str, Any]
    sampler: Literal["tpe", "random", "grid", "cmaes"]
    n_trials: int
    objective: str
    pruner: Literal["median", "hyperband", "none"]
    startup: int
    warmup: int
    study: str
    storage: str
    seed: int
    at_once: int
    hosts: list[str]


@dataclass(frozen=True)
class Search:
    """The space, and the overrides that all trials share. problems: of the space."""

    space: dict[str, Dimension]
    fixed: list[str]
    problems: list[str] = field(default_factory=list)


def read_search(params: Mapping[str, Any], overrides: Sequence[str]) -> Search:
    """The file's space with what the command line makes of it.

    Several values of a key there are a dimension, in place of the file's; a single one fixes the key. overrides: of
    the task, without Hydra's own.
    """
    space, problems = read_space(params)
    fixed = []
    for override in OverridesParser.create().parse_overrides(list(overrides)):
        key = override.get_key_element()
        if override.is_sweep_override():
            try:
                space[key] = _dimension(override)
            except ValueError as error:
                problems.append(str(error))
        else:
            space.pop(key.lstrip("+~"), None)
            fixed.append(str(override.input_line))
    return Search(space, fixed, problems)


def sweep_problems(session: Composer, given: Sequence[Given], multirun: bool) -> tuple[list[Given], list[str]]:
    """What to check beside the command line (the dimensions of a search), and what is wrong with the search itself.

    given: the command line's overrides, as `read_overrides` read them.
    """
    first = [one.with_value(one.values[0]) for one in given]
    try:
        hydra = session.hydra(first)
    except ValueError:  # composing the whole tells why; without what may be wrong there, the search is still looked at
        given = [one for one in given if one.choice or one.key.startswith("hydra.")]
        first = [one.with_value(one.values[0]) for one in given]
        try:
            hydra = session.hydra(first)
        except ValueError:
            return [], []
    node, choices = hydra["sweeper"], hydra["runtime"]["choices"]
    chosen = choices.get("sweep")
    if chosen and not multirun:
        return [], [f"sweep={chosen}: a search is many runs; add -m"]
    if node["_target_"] != SWEEPER or not multirun:
        return [], []
    if not chosen and not node["params"]:
        return [], list(_without_search(given, session))
    problems = [*_node_problems(node), *_file_problems(session, first), *_taken(given)]
    search = read_search(node["params"], [one.line for one in given if not one.key.startswith(("hydra.", "hydra/"))])
    problems += search.problems or _sampler_problems(node, search.space)
    swept = {one.key for one in given}
    extra, found = read_overrides(
        [_as_override(one) for key, one in search.space.items() if key.lstrip("+~") not in swept],
        session,
        multirun=True,
    )
    return [replace(one, source=SOURCE) for one in extra], [*problems, *(f"{problem}{SOURCE}" for problem in found)]


def groups_of_sweep(session: Composer, overrides: Sequence[str]) -> list[str]:
    """The groups whose choice the chosen sweep file makes: "method", "encoder@encoders.text"."""
    found = []
    for file in session.files(overrides):
        if file.group == "sweep":
            names = (str(name) for entry in file.defaults if isinstance(entry, dict) for name in entry)
            found += [name.removeprefix("override ").lstrip("/") for name in names if name.startswith("override ")]
    return [name for name in found if not name.startswith("hydra/")]


def _dimension(override: Override) -> Dimension:
    """Raises ValueError for a kind of sweep that a search does not draw from."""
    key, value = override.get_key_element(), override.value()
    if isinstance(value, IntervalSweep):
        assert value.start is not None
        assert value.end is not None
        whole = isinstance(value.start, int) and isinstance(value.end, int)
        tags = value.tags
        if not value.start < value.end or ("log" in tags and not value.start > 0):
            raise ValueError(f"{override.input_line}: expected low < high, and low > 0 with the tag log")
        return Dimension(key, low=value.start, high=value.end, log="log" in tags, whole=whole)
    if not (override.is_choice_sweep() or override.is_range_sweep()):
        raise ValueError(f"{override.input_line}: a search takes a list a,b,c, range(...) or interval(...)")
    parser = OverridesParser.create()
    texts = [str(text) for text in override.sweep_string_iterator()]
    return Dimension(key, tuple(parser.parse_overrides([f"{key}={text}"])[0].value() for text in texts))


def _as_override(one: Dimension) -> str:
    return f"{one.key}={','.join(map(as_text, one.ends))}"


def wrong_hydra_keys(given: Sequence[Given], session: Composer) -> dict[str, str]:
    """Key -> what is wrong with it, of the sweep's own settings. (Hydra would name no near key, and stop there.)"""
    several = {one.key: one for one in given if len(one.values) > 1 and re.match(r"sweep$|hydra[./]", one.key)}
    if several:
        return {key: f"{one.line}: one value at a time; start a command for each" for key, one in several.items()}
    unknown = dict(_unknown_in("hydra.sweeper", [*Sweeper.__dataclass_fields__, "max_batch_size"], given))
    if any(one.key.startswith("hydra.launcher.") for one in given):
        launcher = [one.with_value(one.values[0]) for one in given if one.key == "hydra/launcher" and one.values]
        try:
            known = [name for name in session.hydra(launcher)["launcher"] if not name.startswith("_")]
        except ValueError:  # no such launcher: composing the whole tells it
            return unknown
        unknown |= _unknown_in("hydra.launcher", known, given)
    return unknown


def _unknown_in(node: str, names: Sequence[str], given: Sequence[Given]) -> Iterator[tuple[str, str]]:
    for one in given:
        if one.key.startswith(f"{node}.") and one.key.split(".")[2] not in names:
            near = suggest(one.key, [f"{node}.{name}" for name in names])
            yield one.key, f"{one.key}: no such key{near if names else '; the basic launcher has no settings'}"


def _without_search(given: Sequence[Given], session: Composer) -> Iterator[str]:
    names = ", ".join(session.choices("sweep"))
    for one in given:
        if one.key.startswith("hydra.sweeper."):
            yield f"{one.key}: only a search has it; choose one with sweep=NAME ({names})"
        elif any(value.startswith("interval(") for value in (one.line.partition("=")[2],)):
            yield f"{one.line}: only a search draws from an interval; choose one with sweep=NAME ({names})"


def _node_problems(node: dict[str, Any]) -> Iterator[str]:
    schema = of_type(Sweeper)
    assert isinstance(schema, Map)
    checked = {name: value for name, value in node.items() if name != "params"}
    del schema.fields["params"]
    wrong = list(compare(checked, schema, "hydra.sweeper", Reference(Map({"hydra": Map({"sweeper": schema})}), ())))
    yield from wrong or _out_of_range(node)


def _out_of_range(node: dict[str, Any]) -> Iterator[str]:
    for name, least in {"n_trials": 1, "startup": 0, "warmup": 0, "at_once": 0, "seed": 0}.items():
        if node[name] < least:
            yield f"hydra.sweeper.{name}: expected at least {least}, found {node[name]}"
    split, _, metric = node["objective"].partition("/")
    if node["objective"] != "auto" and (split != "val" or not metric):
        yield (
            f"hydra.sweeper.objective: {node['objective']!r} is refused; a search selects on the validation split: "
            "auto (what trainer.monitor names), or val/loss, or val/ and a metric (the test split is looked at once, "
            "when all is chosen)"
        )
    if node["study"] and not re.fullmatch(r"\w[\w.-]*", node["study"]):
        yield (
            f"hydra.sweeper.study: {node['study']!r} is a folder's name too; expected letters, digits, _, - and . alone"
        )


def _file_problems(session: Composer, lines: Sequence[str]) -> Iterator[str]:
    """The plain command of a trial names no sweep file, so nothing but the space may stand there."""
    for file in session.files(lines):
        if file.group == "sweep":
            for name in file.values:
                if name != "hydra":
                    yield (
                        f"{file.path}.yaml: {name}: a sweep file holds hydra.sweeper and overrides of groups alone; "
                        "put other settings into an experiment, or on the command line"
                    )


def _taken(given: Sequence[Given]) -> Iterator[str]:
    for one in given:
        if one.key in SET_BY_THE_SEARCH:
            yield f"{one.key}: the search sets it for each trial (paths.outputs says where); leave it out"
        elif one.key == "seed" and len(one.values) > 1:
            yield f"seed={','.join(one.values)}: all trials of a search share one seed; start a search for each"


def _sampler_problems(node: dict[str, Any], space: dict[str, Dimension]) -> Iterator[str]:
    intervals = [one.key for one in space.values() if one.is_interval]
    if not space:
        yield "hydra.sweeper.params: nothing to search; every dimension has one value on the command line"
    if node["sampler"] == "cmaes" and len(intervals) < 2:
        yield (
            f"hydra.sweeper.sampler: cmaes needs two intervals or more, and the space has {len(intervals)}; "
            "take tpe, or give intervals, as in 'optimizer.lr=tag(log,interval(1e-4,1e-2))'"
        )
    if node["sampler"] == "grid":
        for one in space.values():
            try:
                one.grid()
            except ValueError as error:
                yield str(error)
