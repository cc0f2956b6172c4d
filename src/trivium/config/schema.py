"""Describes the keys that a config may have as a tree with their types, from dataclasses and the choices' YAML files.

Dataclasses describe the root, data, trainer and run. Every other group's choice describes itself: by its keys, by the
types of its defaults, and by `# one of: a, b` behind a value that must be one of several words. Imports neither torch
nor Hydra.
"""

from __future__ import annotations

import re
import types
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import yaml


@dataclass
class Paths:
    data: str
    outputs: str


@dataclass
class RunKeys:
    dir: str
    log_steps: bool
    checkpoint_every: int
    audit: bool
    study: str
    trial: int
    learning_imbalance: bool = False


@dataclass
class Data:
    name: str
    features: str
    store: str
    modalities: list[str]
    standardize: dict[str, Literal["none", "zscore", "mean", "source"]]
    batch_size: int
    eval_batch_size: int
    label_range: list[float]
    metrics: Literal["auto", "mosi", "sims", "regression", "scores", "classes", "labels", "emotions"]
    # Data sets' files of one's own that are older than these keys go on as they are.
    target: str = ""
    fold: int | None = None
    sampler: Literal["shuffled", "balanced"] = "shuffled"
    labelled: float = 1.0
    label_noise: float = 0.0


@dataclass
class Trainer:
    max_epochs: int
    monitor: str
    patience: int
    min_delta: float
    select: Literal["best", "last"]
    accelerator: Literal["auto", "cpu", "gpu"]
    devices: int
    strategy: Literal["auto", "ddp"]
    num_nodes: int
    precision: Literal["32-true", "64-true", "bf16-mixed", "16-mixed", "bf16-true"]
    accumulate_grad_batches: int
    gradient_clip: float
    gradient_clip_by: Literal["norm", "value"]
    deterministic: bool
    threads: int
    progress: Literal["auto", "bar", "lines", "off"]
    callbacks: list[Any]
    profiler: Literal["none", "simple", "advanced", "pytorch"]
    limit_batches: int
    lost_after: float = 30.0


@dataclass
class Metric:
    """Holds the keys that each added metric has; its YAML may have more."""

    _target_: str
    label: str
    better: Literal["higher", "lower"]


@dataclass
class Root:
    """Holds the keys outside of groups, and the two groups whose choices share one schema; reference adds the rest."""

    seed: int
    resume: str
    start_from: str
    trust: list[str]
    metrics: dict[str, Metric]
    paths: Paths
    run: RunKeys
    data: Data
    trainer: Trainer


@dataclass(frozen=True)
class Leaf:
    """Describes one value by its type.

    hint: int, float, str, bool, a Literal, list[...], dict[str, ...], several of these or None; or Any.
    """

    hint: Any


@dataclass
class Map:
    """Describes a node by its keys.

    other: the schema of any further key; None where no further key is allowed. optional: keys that may be missing.
    """

    fields: dict[str, Schema] = field(default_factory=dict)
    other: Schema | None = None
    optional: frozenset[str] = frozenset()


Schema = Leaf | Map

# A map whose keys are all among these is a map by modality, and accepts any modality's name.
_BY_MODALITY = {"default", "text", "audio", "vision"}
# Numbers that may also be given as a map by modality.
_ALSO_BY_MODALITY = {"modality_dropout", "step_dropout"}
_OPTIONS = re.compile(r"# one of: ([\w.-]+(?:, [\w.-]+)*)")


def of_type(hint: Any) -> Schema:
    """Returns the schema of a dataclass, of dict[str, X], or of a plain type."""
    if is_dataclass(hint):
        optional = frozenset(part.name for part in fields(hint) if part.default is not MISSING)
        return Map({name: of_type(part) for name, part in get_type_hints(hint).items()}, optional=optional)
    if get_origin(hint) is dict:
        return Map({}, of_type(get_args(hint)[1]))
    return Leaf(hint)


def of_yaml(values: Mapping[str, Any], options: Mapping[str, tuple[str, ...]]) -> Map:
    """Returns the schema that a choice's defaults imply. options: dotted key -> allowed words, from `options_in`."""
    return _map_of(values, options, "", {})


def _map_of(
    values: Mapping[str, Any], options: Mapping[str, tuple[str, ...]], at: str, inherited: Mapping[str, Any]
) -> Map:
    fields: dict[str, Schema] = {}
    for name, value in values.items():
        key = at + name
        if isinstance(value, dict):
            fields[name] = _map_of(value, options, f"{key}.", {**inherited, **values})
        elif key in options:
            fields[name] = Leaf(Literal[options[key]])
        elif value is None:
            # A null takes its value from the key of the same name above it, so it has that key's type.
            fields[name] = Leaf(_hint_of(inherited.get(name)) | None)
        elif name in _ALSO_BY_MODALITY:
            fields[name] = Leaf(_hint_of(value) | dict[str, float])
        else:
            fields[name] = Leaf(_hint_of(value))
    by_modality = bool(fields) and set(fields) <= _BY_MODALITY
    return Map(fields, next(iter(fields.values())) if by_modality else None)


def _hint_of(value: Any) -> Any:
    if isinstance(value, list):
        # An empty default tells nothing of the items' type.
        hints = [_hint_of(item) for item in value] or [Any]
        return list[float if float in hints else hints[0]]  # type: ignore[misc]
    return Any if value is None else type(value)


def options_in(text: str) -> dict[str, tuple[str, ...]]:
    """Returns dotted key -> words, for each scalar of a YAML text that is followed by `# one of: a, b` on its line."""
    lines, options = text.splitlines(), {}

    def visit(node: yaml.Node | None, at: str) -> None:
        if isinstance(node, yaml.MappingNode):
            for name, value in node.value:
                visit(value, f"{at}.{name.value}" if at else name.value)
        elif isinstance(node, yaml.ScalarNode):
            comment = _OPTIONS.match(lines[node.end_mark.line][node.end_mark.column :].strip())
            if comment:
                options[at] = tuple(comment[1].split(", "))

    visit(yaml.compose(text, Loader=yaml.SafeLoader), "")
    return options


def fits(value: Any, hint: Any) -> bool:
    """Tells whether a plain value is of the type. A float may be written as an int, but a bool is no number."""
    origin, parts = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return any(fits(value, part) for part in parts)
    if origin is Literal:
        return isinstance(value, str) and value in parts
    if origin is list:
        return isinstance(value, list) and all(fits(item, parts[0]) for item in value)
    if origin is dict:
        return isinstance(value, dict) and all(
            fits(key, parts[0]) and fits(item, parts[1]) for key, item in value.items()
        )
    if hint is Any:
        return True
    if hint in (None, type(None)):
        return value is None
    if hint in (int, float):
        return isinstance(value, int if hint is int else (int, float)) and not isinstance(value, bool)
    return isinstance(value, hint)


_WORDS = {
    int: "a whole number",
    float: "a number",
    str: "text",
    bool: "true or false",
    type(None): "null",
    Any: "anything",
}


def describe(hint: Any) -> str:
    """Returns the type in a user's words: "a whole number", "one of cpc, ba", "a list of text"."""
    origin, parts = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return " or ".join(describe(part) for part in parts)
    if origin is Literal:
        return "one of " + ", ".join(parts)
    if origin is list:
        inner = describe(parts[0])
        return "a list of " + (
            inner.removeprefix("a ") + "s" if inner.startswith("a ") and " of " not in inner else inner
        )
    if origin is dict:
        return f"{describe(parts[1])} for each modality"
    return _WORDS.get(hint, str(hint))
