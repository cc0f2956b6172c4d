"""Reads the search that a command line with `-m` describes, and finds the mistakes in it.

A search's dimensions become overrides of several values, so that the check tries each as it tries a grid's.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override

from trivium.config.compose import Composer
from trivium.config.overrides import ParsedOverride, read_overrides
from trivium.config.reference import Reference, compare
from trivium.config.schema import Map, of_type
from trivium.config.space import Dimension, as_text, read_space
from trivium.core.choices import suggest

SWEEPER = "hydra_plugins.trivium_sweeper.sweeper.TriviumSweeper"
SET_BY_THE_SEARCH = ("run.dir", "run.study", "run.trial", "resume", "hydra.sweep.dir", "hydra.sweep.subdir")
SOURCE = " (in the search space)"


@dataclass
class Sweeper:
    """Holds the keys of hydra.sweeper, which configs/hydra/sweeper/trivium.yaml explains."""

    _target_: str
    _convert_: str
    params: dict[str, Any]
    sampler: Literal["tpe", "random", "grid", "cmaes"]
    n_trials: int
    first: list[Any]
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
class SearchRequest:
    """Holds the space of a search, and the overrides that all trials share.

    first: values of the first trials, each a part of a point of the space. problems: mistakes in the space.
    """

    space: dict[str, Dimension]
    fixed: list[str]
    first: tuple[dict[str, Any], ...] = ()
    problems: list[str] = field(default_factory=list)


def read_search(params: Mapping[str, Any], overrides: Sequence[str], first: Sequence[Any] = ()) -> SearchRequest:
    """Returns the search space of a file, changed by the command line, and what its first trials have of it.

    A key with several values on the command line is a dimension, in place of the file's; a single value fixes the key.
    Either way the key that decides whether it is there keeps those choices alone under which it is.
    overrides: the command line's, without those of Hydra's own keys. first: of the file; what the command line takes
    out of the space is left out of it too.
    """
    space, problems = read_space(params)
    problems += _first_problems(first, params, space)
    fixed = []
    conditions: list[Dimension] = []
    for override in OverridesParser.create().parse_overrides(list(overrides)):
        key = override.get_key_element()
        if (dimension := space.get(key.lstrip("+~"))) is not None and dimension.when:
            conditions.append(dimension)
        if override.is_sweep_override():
            try:
                space[key] = _dimension(override)
            except ValueError as error:
                problems.append(str(error))
        else:
            space.pop(key.lstrip("+~"), None)
            fixed.append(str(override.input_line))
    for dimension in conditions:
        problems += _narrow(space, dimension)
    values = {_key_of(word): word.partition("=")[2] for word in fixed}
    for key, dimension in list(space.items()):
        problems += _settle_condition(space, key, dimension, values)
    if problems:
        return SearchRequest(space, fixed, problems=problems)
    left = [{key: value for key, value in point.items() if key in space and space[key].holds(value)} for point in first]
    return SearchRequest(space, fixed, tuple(left))


def _first_problems(first: Sequence[Any], params: Mapping[str, Any], space: Mapping[str, Dimension]) -> Iterator[str]:
    """Yields a line for each mistake in hydra.sweeper.first, which is of the file's space."""
    for number, point in enumerate(first):
        at = f"hydra.sweeper.first: trial {number}"
        if not isinstance(point, Mapping):
            yield f"{at}: expected keys of the space and their values, as in {{optimizer.lr: 0.001}}, found {point!r}"
            continue
        for key, value in point.items():
            if key not in params:
                yield f"{at}: {key} is not in the space{suggest(str(key), params)}"
            elif key in space and not space[key].holds(value):
                low, high = space[key].ends[0], space[key].ends[-1]
                among = f"{low} to {high}" if space[key].is_interval else ", ".join(map(as_text, space[key].values))
                yield f"{at}: {key}: expected {among}, found {as_text(value)}"


def _narrow(space: dict[str, Dimension], dimension: Dimension) -> Iterator[str]:
    """Leaves the deciding key of a dimension that the command line sets those choices under which that is there."""
    deciding = space.get(dimension.when)
    if deciding is None:
        # The command line fixes it too.
        return
    among = [as_text(value) for value in dimension.among]
    values = tuple(value for value in deciding.values if as_text(value) in among)
    if values:
        space[dimension.when] = replace(deciding, values=values)
    else:
        left = ", ".join(map(as_text, deciding.values))
        yield (
            f"{dimension.key}: is for {dimension.when}={','.join(among)}, and what else is set leaves {left}; set "
            f"{dimension.when} too"
        )


def _settle_condition(
    space: dict[str, Dimension], key: str, dimension: Dimension, fixed: Mapping[str, str]
) -> Iterator[str]:
    """Settles a dimension that depends on a key which is not searched: it is there for all trials, or for none.

    fixed: key -> word of what all trials share.
    """
    if dimension.when in space:
        if space[dimension.when].when:
            yield f"hydra.sweeper.params: {key}: when: {dimension.when} depends on another key itself"
    elif dimension.when in fixed:
        if fixed[dimension.when] in map(as_text, dimension.among):
            space[key] = replace(dimension, when="", among=())
        else:
            del space[key]
    elif dimension.when:
        yield f"hydra.sweeper.params: {key}: when: {dimension.when} is neither in the space nor on the command line"


def sweep_problems(
    session: Composer, overrides: Sequence[ParsedOverride], multirun: bool
) -> tuple[list[ParsedOverride], list[str]]:
    """Returns the dimensions of a search, to be checked like overrides, and a line for each mistake in the search.

    overrides: the command line's, as `read_overrides` returns them.
    """
    lines = [override.with_value(override.values[0]) for override in overrides]
    try:
        hydra = session.hydra(lines)
    except ValueError:
        # The check composes the whole and reports why it fails. The search is checked without the task's own keys.
        overrides = [override for override in overrides if override.choice or override.key.startswith("hydra.")]
        lines = [override.with_value(override.values[0]) for override in overrides]
        try:
            hydra = session.hydra(lines)
        except ValueError:
            return [], []
    node, choices = hydra["sweeper"], hydra["runtime"]["choices"]
    sweep = choices.get("sweep")
    if sweep and not multirun:
        return [], [f"sweep={sweep}: a search is many runs; add -m"]
    if node["_target_"] != SWEEPER or not multirun:
        return [], []
    if not sweep and not node["params"]:
        return [], list(_keys_without_search(overrides, session))
    problems = [*_node_problems(node), *_file_problems(session, lines), *_taken_keys(overrides)]
    task_overrides = [override.line for override in overrides if not override.key.startswith(("hydra.", "hydra/"))]
    search = read_search(node["params"], task_overrides, node["first"])
    problems += search.problems or _sampler_problems(node, search.space)
    swept = {override.key for override in overrides}
    from_file = [dimension for key, dimension in search.space.items() if key.lstrip("+~") not in swept]
    dimension_lines = [f"{dimension.key}={','.join(map(as_text, dimension.ends))}" for dimension in from_file]
    dimensions, mistakes = read_overrides(dimension_lines, session, multirun=True)
    problems += [f"{mistake}{SOURCE}" for mistake in mistakes]
    conditions = {d.key.lstrip("+~"): (d.when, tuple(map(as_text, d.among))) for d in from_file}
    marked = []
    for dimension in dimensions:
        when, among = conditions[dimension.key]
        marked.append(replace(dimension, source=SOURCE, when=when, among=among))
    return marked, problems


def without_sweep(
    session: Composer, overrides: Sequence[str], choices: Mapping[str, Any], searched: Iterable[str]
) -> list[str]:
    """Returns the overrides without sweep=NAME, and with those choices of its file that are not searched.

    choices: group -> its choice, as composed. searched: keys of the space.
    """
    others = [override for override in overrides if _key_of(override) != "sweep"]
    taken = {*map(_key_of, others), *searched}
    chosen = [f"{group}={choices[group]}" for group in _groups_of_sweep(session, overrides) if group not in taken]
    return [*chosen, *others]


def _key_of(override: str) -> str:
    return override.partition("=")[0].lstrip("+~")


def _groups_of_sweep(session: Composer, overrides: Sequence[str]) -> list[str]:
    """Returns the groups whose choice the sweep file sets, such as "method" or "encoder@encoders.text"."""
    groups = []
    for file in session.files(overrides):
        if file.group == "sweep":
            names = (str(name) for entry in file.defaults if isinstance(entry, dict) for name in entry)
            groups += [name.removeprefix("override ").lstrip("/") for name in names if name.startswith("override ")]
    return [name for name in groups if not name.startswith("hydra/")]


def _dimension(override: Override) -> Dimension:
    """Returns the dimension of a swept key. Raises ValueError for a kind of sweep that a search does not draw from."""
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


def hydra_key_problems(overrides: Sequence[ParsedOverride], session: Composer) -> dict[str, str]:
    """Returns key -> mistake for the sweep's own settings. Hydra would stop at the first, and name no near key."""
    several = [override for override in overrides if len(override.values) > 1]
    several = [override for override in several if re.match(r"sweep$|hydra[./]", override.key)]
    if several:
        return {
            override.key: f"{override.line}: expected one value; start a command for each of them"
            for override in several
        }
    unknown = dict(_unknown_in("hydra.sweeper", [*Sweeper.__dataclass_fields__, "max_batch_size"], overrides))
    if any(override.key.startswith("hydra.launcher.") for override in overrides):
        choices = [override for override in overrides if override.key == "hydra/launcher" and override.values]
        try:
            launcher = session.hydra([choice.with_value(choice.values[0]) for choice in choices])["launcher"]
        except ValueError:
            # There is no such launcher, which composing the whole reports.
            return unknown
        unknown |= _unknown_in("hydra.launcher", [name for name in launcher if not name.startswith("_")], overrides)
    return unknown


def _unknown_in(node: str, names: Sequence[str], overrides: Sequence[ParsedOverride]) -> Iterator[tuple[str, str]]:
    for override in overrides:
        if override.key.startswith(f"{node}.") and override.key.split(".")[2] not in names:
            hint = suggest(override.key, [f"{node}.{name}" for name in names])
            yield (
                override.key,
                f"{override.key}: no such key{hint if names else '; the basic launcher has no settings'}",
            )


def _keys_without_search(overrides: Sequence[ParsedOverride], session: Composer) -> Iterator[str]:
    names = ", ".join(session.choices("sweep"))
    for override in overrides:
        if override.key.startswith("hydra.sweeper."):
            yield f"{override.key}: only a search has this key; choose a search with sweep=NAME ({names})"
        elif override.line.partition("=")[2].startswith("interval("):
            yield f"{override.line}: only a search draws from an interval; choose one with sweep=NAME ({names})"


def _node_problems(node: dict[str, Any]) -> Iterator[str]:
    schema = of_type(Sweeper)
    assert isinstance(schema, Map)
    checked = {name: value for name, value in node.items() if name != "params"}
    del schema.fields["params"]
    type_problems = list(
        compare(checked, schema, "hydra.sweeper", Reference(Map({"hydra": Map({"sweeper": schema})}), ()))
    )
    yield from type_problems or _out_of_range(node)


def _out_of_range(node: dict[str, Any]) -> Iterator[str]:
    for name, minimum in {"n_trials": 1, "startup": 0, "warmup": 0, "at_once": 0, "seed": 0}.items():
        if node[name] < minimum:
            yield f"hydra.sweeper.{name}: expected at least {minimum}, found {node[name]}"
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
    """Yields a line for each key of a sweep file beside the space: a trial's plain command names no sweep file."""
    for file in session.files(lines):
        if file.group == "sweep":
            for name in file.values:
                if name != "hydra":
                    yield (
                        f"{file.path}.yaml: {name}: a sweep file holds hydra.sweeper and overrides of groups alone; "
                        "put other settings into an experiment, or on the command line"
                    )


def _taken_keys(overrides: Sequence[ParsedOverride]) -> Iterator[str]:
    for override in overrides:
        if override.key in SET_BY_THE_SEARCH:
            yield f"{override.key}: the search sets it for each trial (paths.outputs says where); leave it out"
        elif override.key == "run.audit":
            yield "run.audit: a search goes by validation alone and shows no test scores; leave it out"
        elif override.key == "seed" and len(override.values) > 1:
            yield f"seed={','.join(override.values)}: all trials of a search share one seed; start a search for each"


def _sampler_problems(node: dict[str, Any], space: dict[str, Dimension]) -> Iterator[str]:
    intervals = [dimension for dimension in space.values() if dimension.is_interval]
    if not space:
        yield "hydra.sweeper.params: nothing to search; every dimension has one value on the command line"
    if node["sampler"] == "cmaes" and len(intervals) < 2:
        yield (
            f"hydra.sweeper.sampler: cmaes needs two intervals or more, and the space has {len(intervals)}; "
            "take tpe, or give intervals, as in 'optimizer.lr=tag(log,interval(1e-4,1e-2))'"
        )
    if node["sampler"] == "grid":
        for dimension in space.values():
            try:
                dimension.grid()
            except ValueError as error:
                yield str(error)
