"""Collects the keys and types that a composed config may have from its files, and finds how a config differs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, get_args

from trivium.config.compose import ConfigFile
from trivium.config.schema import Leaf, Map, Root, Schema, describe, fits, of_type, of_yaml, options_in
from trivium.core.choices import suggest

# Every run needs a choice of each of these groups. An experiment and a sweep are optional and have no key of their own.
NEEDED = (
    "data",
    "encoder",
    "fusion",
    "objective",
    "optimizer",
    "scheduler",
    "trainer",
    "logger",
    "method",
    "debug",
)
# All choices of these groups share a dataclass of trivium.config.schema; a choice of data may have further maps.
TYPED = ("data", "trainer")

# What other programs call a key -> how it is typed here.
USUAL_NAMES = {
    "epochs": "trainer.max_epochs=N",
    "num_epochs": "trainer.max_epochs=N",
    "n_epochs": "trainer.max_epochs=N",
    "learning_rate": "optimizer.lr=X",
    "seeds": "-m seed=1,2,3",
    "n_trials": "-m sweep=NAME hydra.sweeper.n_trials=N",
    "trials": "-m sweep=NAME hydra.sweeper.n_trials=N",
    "gpus": "trainer.devices=N",
    "device": "trainer.accelerator=cpu or gpu",
    "dataset": "data=NAME",
    "model": "method=NAME",
    "output_dir": "paths.outputs=DIR, or run.dir=DIR",
    "early_stopping": "trainer.patience=N",
}


@dataclass
class Reference:
    """Holds the allowed keys and types of one composition, and its files.

    sources: the keys that no file gives -> the place that they come from, as text; "" is the command line.
    """

    root: Map
    files: Sequence[ConfigFile]
    sources: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, files: Sequence[ConfigFile], sources: Mapping[str, str] | None = None) -> Reference:
        root = of_type(Root)
        assert isinstance(root, Map)
        root.fields["encoders"] = Map()
        for file in files:
            if file.group == "data":
                _declare_own_maps(root, file)
            elif file.group not in (*TYPED, "sweep", "experiment"):
                _declare(root, file)
        return cls(root, files, sources or {})

    @property
    def keys(self) -> list[str]:
        """Returns every dotted key, those of whole maps included."""
        return list(_keys(self.root, ""))

    @property
    def encoders(self) -> Mapping[str, Schema]:
        """Returns modality -> schema of the encoder that was chosen for it alone."""
        encoders = self.root.fields["encoders"]
        assert isinstance(encoders, Map)
        return encoders.fields

    def origin(self, key: str) -> str:
        """Returns " (in FILE)" for the last file that sets a key, or "" if the command line sets it."""
        for name, source in self.sources.items():
            if f"{key}.".startswith(f"{name}."):
                return source
        for file in reversed(self.files):
            inside = f".{key}".removeprefix(f".{file.package}" if file.package else "").lstrip(".")
            value: Any = file.values if not file.package or inside != key else None
            for name in inside.split("."):
                value = value.get(name) if isinstance(value, dict) else None
            if value is not None:
                return f" (in {file.path}.yaml)"
        return ""


def mismatches(config: Mapping[str, Any], reference: Reference) -> Iterator[str]:
    """Yields a line for each key that is unknown, removed or of the wrong type."""
    allowed = reference.root.fields
    for name in dict.fromkeys([*allowed, *NEEDED]):
        if name not in config or name not in allowed:
            yield f"{name}: removed, but a run needs {'a choice of ' * (name in NEEDED)}it"
        else:
            yield from compare(config[name], allowed[name], name, reference)
    for name in config:
        if name not in allowed and name not in NEEDED:
            yield from _unknown_key_problems(config[name], name, reference)


# Keys that the default, objective=auto, leaves to the objective that it chooses.
_OF_CLASSIFIERS = dict.fromkeys(
    ("objective.class_weights", "objective.focal_gamma"),
    "objective=cross_entropy, or for labels objective=binary_cross_entropy,",
) | {"objective.label_smoothing": "objective=cross_entropy"}


def compare(value: Any, schema: Schema, key: str, reference: Reference, partial: bool = False) -> Iterator[str]:
    """Yields a line for each mistake in the value of one key.

    partial: whether keys may be missing. They may under a new name in an open map, whose schema is that of a sibling
    and may have more keys than the new one needs.
    """
    if isinstance(schema, Leaf):
        if not fits(value, schema.hint):
            yield f"{key}: expected {describe(schema.hint)}, {_value_text(value, schema, key)}{reference.origin(key)}"
    elif not isinstance(value, dict):
        yield f"{key}: expected keys ({', '.join(schema.fields)}), found {value!r}{reference.origin(key)}"
    else:
        for name, inner in value.items():
            field = schema.fields.get(name, schema.other)
            if field is None:
                yield from _unknown_key_problems(inner, f"{key}.{name}", reference)
            else:
                is_new = name not in schema.fields
                yield from compare(inner, field, f"{key}.{name}", reference, partial or is_new)
        for name in schema.fields:
            if name not in value and not partial and name not in schema.optional:
                yield f"{key}.{name}: removed, but a run needs it"


def _unknown_key_problems(value: Any, key: str, reference: Reference) -> Iterator[str]:
    """Yields a line for each value under an unknown key."""
    if isinstance(value, dict) and value:
        for name, inner in value.items():
            yield from _unknown_key_problems(inner, f"{key}.{name}", reference)
        return
    group, _, path = key.partition(".")
    modality = path.partition(".")[0]
    if group == "encoders" and modality not in reference.encoders:
        plus = "" if modality in ("text", "audio", "vision") else "+"
        advice = f"; choose an encoder for {modality} alone with {plus}encoder@encoders.{modality}=NAME"
    elif key in _OF_CLASSIFIERS:
        advice = f"; {_OF_CLASSIFIERS[key]} has it"
    else:
        usual = USUAL_NAMES.get(key.rpartition(".")[2])
        advice = f"; it is {usual} here" if usual else suggest(key, reference.keys)
    yield f"{key}: no such key{reference.origin(key)}{advice}"


def _value_text(value: Any, schema: Leaf, key: str) -> str:
    if schema.hint is str and isinstance(value, (int, float)):
        return f"found {value!r}; to give it as text, quote it: \"{key}='{value}'\""
    words = [word for word in get_args(schema.hint) if isinstance(word, str)]
    return f"found {value!r}{suggest(str(value), words)}"


def _declare(root: Map, file: ConfigFile) -> None:
    """Adds the keys that a file declares.

    A file with a package declares all its keys; one at the root declares those in its group's node. A file that builds
    on another of its group (optimizer/selfmi on adam) may add no key, unless it has a target of its own.
    """
    package, values, options = file.package, file.values, options_in(file.text)
    if not package:
        package, values = file.group, file.values.get(file.group, {})
        options = {key.removeprefix(f"{package}."): words for key, words in options.items()}
    *parents, last = package.split(".")
    node = root
    for name in parents:
        inner = node.fields.setdefault(name, Map())
        assert isinstance(inner, Map)
        node = inner
    declared, existing = of_yaml(values, options), node.fields.get(last)
    if not isinstance(existing, Map):
        node.fields[last] = declared
    elif package == "logger":
        _merge(existing, declared)
    elif "_target_" in values:
        existing.fields.update(declared.fields)


def _merge(known: Map, declared: Map) -> None:
    """Adds the keys of one more of several choices of a group."""
    for name, schema in declared.fields.items():
        there = known.fields.get(name)
        if isinstance(there, Map) and isinstance(schema, Map):
            _merge(there, schema)
        else:
            known.fields[name] = schema


def _declare_own_maps(root: Map, file: ConfigFile) -> None:
    """Adds the maps that a data choice has beside the dataclass (a generator's settings). Any other key is a typo."""
    data = root.fields[file.group]
    assert isinstance(data, Map)
    for name, schema in of_yaml(file.values, options_in(file.text)).fields.items():
        if isinstance(schema, Map):
            data.fields.setdefault(name, schema)


def _keys(schema: Schema, prefix: str) -> Iterator[str]:
    if prefix:
        yield prefix
    if isinstance(schema, Map):
        for name, field in schema.fields.items():
            yield from _keys(field, f"{prefix}.{name}" if prefix else name)
