"""Makes a method from a plain config and a store's schema, and says what its encoders read."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from inspect import signature
from typing import Any

from torch import nn

from trivium.config.instantiate import build, build_as, target
from trivium.config.monitor import monitor_of
from trivium.core.metric_names import LABELS, LOSSES, USUAL
from trivium.core.seeding import keyed
from trivium.data.store import StoreSchema
from trivium.data.target import Target, choose_target
from trivium.encoders.base import Encoder
from trivium.methods.base import Method, Parts
from trivium.methods.options import split_options

# Attributes in which models of transformers hold dropout probabilities that they pass to functions.
_DROPOUT_NUMBERS = (
    "dropout",
    "attention_dropout",
    "activation_dropout",
    "dropout_prob",
    "attention_probs_dropout_prob",
)


def encoder_node(config: Mapping[str, Any], modality: str) -> dict[str, Any]:
    """Returns the config of a modality's encoder: its own from `encoders`, or else the common one from `encoder`."""
    return dict((config["encoders"] or {}).get(modality) or config["encoder"])


def token_readers(config: Mapping[str, Any], modalities: Sequence[str]) -> set[str]:
    """Returns the modalities whose encoder reads token ids."""
    return {m for m in modalities if getattr(target(encoder_node(config, m)), "reads", "values") == "tokens"}


def build_method(
    config: Mapping[str, Any],
    schema: StoreSchema,
    reads: Mapping[str, str],
    assets: Mapping[str, dict[str, Any]] | None = None,
    *,
    trains: bool = False,
) -> Method:
    """Makes encoders, fusion, objective and method, and returns the method.

    Each part draws its initial weights from a key of its own, so that adding a part changes the weights of no other.

    config: the run's, as plain dicts. schema: the store's. reads: modality -> "values" or "tokens".
    assets: modality -> what Encoder.assets returned, for encoders that are built without their source.
    trains: True makes the method a LightningModule, which a Trainer needs and nothing else does.
    Raises ValueError if a part refuses its settings.
    """
    seed = int(config["seed"])
    encoders: dict[str, Encoder] = {}
    read_as = {name: "tokens" if what == "tokens" else name for name, what in reads.items()}
    longest = {name: schema.max_lengths[key] for name, key in read_as.items()}
    mean_lengths = {name: schema.mean_lengths[key] for name, key in read_as.items() if key in schema.mean_lengths}
    for name, what in reads.items():
        size = schema.max_token + 1 if what == "tokens" else schema.dims[name]
        node = encoder_node(config, name)
        extra: dict[str, Any] = {"assets": assets[name]} if assets and assets.get(name) else {}
        if getattr(target(node), "takes_steps", False):
            extra["steps"] = longest[name]
        group = f"encoders.{name}" if (config["encoders"] or {}).get(name) else "encoder"
        with keyed(seed, "encoder", name), _mistakes_of(group):
            encoders[name] = build(node, size, **extra)
    kind: Any = target(config["method"])
    with keyed(seed, "fusion"), _mistakes_of("fusion"):
        dims = _fusion_dims(config, encoders, schema, reads)
        takes_steps = getattr(target(config["fusion"]), "takes_steps", False)
        steps = {"steps": kind.fusion_steps(config["method"], longest, dims)} if takes_steps else {}
        fusion = build(config["fusion"], dims, **steps)
    described = schema.targets[choose_target(schema.targets, config["data"].get("target", ""), schema.feature_set)]
    with _mistakes_of("objective"):
        objective = build(config["objective"], described)
        objective.set_target(described)
    high = None if described.range is None else max(map(abs, described.range))
    options, settings = split_options(config["method"], getattr(kind, "shared_options", ()))
    parts = Parts(encoders, fusion, objective, schema.counts["train"], high, seed, options, longest)
    parts.mean_lengths, parts.word_steps = mean_lengths, schema.word_steps
    if trains:
        # Here, as importing Lightning takes longer than loading a run.
        from trivium.methods.trainable import trainable

        kind = trainable(kind)
    with keyed(seed, "method"), _mistakes_of("method"):
        method: Method = build_as(kind, settings, parts)
    protocol = config["data"]["metrics"]
    method.metrics = USUAL[described.task] if protocol == "auto" else protocol
    method.added_metrics = _added_metrics(config, described)
    method.make_optimizer = functools.partial(build, config["optimizer"])
    takes_mode = "mode" in signature(target(config["scheduler"])).parameters
    mode = {"mode": monitor_of(config).mode} if takes_mode else {}
    method.make_schedule = functools.partial(build, config["scheduler"], **mode)
    if config["debug"]["no_dropout"]:
        turn_off_dropout(method)
    return method


@contextmanager
def _mistakes_of(group: str) -> Iterator[None]:
    """Lets a ValueError from a part's constructor begin with the group of the config that the part stands in."""
    try:
        yield
    except ValueError as error:
        named = str(error).startswith((group, "_target_", "trivium."))
        raise (error if named else ValueError(f"{group}: {error}")) from error


def _added_metrics(config: Mapping[str, Any], described: Target) -> dict[str, Callable[..., Any]]:
    """Returns name -> function of the metrics that the config adds.

    Raises ValueError for a name that is taken, and for a metric that is not for the target.
    """
    added: dict[str, Callable[..., Any]] = {}
    for name, node in (config.get("metrics") or {}).items():
        if name in LABELS or name in LOSSES:
            raise ValueError(f"metrics.{name}: the name is that of a metric of data.metrics; choose another")
        metric: Any = target(node)
        if described.task not in getattr(metric, "tasks", (described.task,)):
            raise ValueError(
                f"metric={name}: {metric.__name__} is for {' or '.join(metric.tasks)}, and the target is "
                f"{described.words}; leave it out"
            )
        settings = {key: value for key, value in node.items() if key not in ("_target_", "label", "better")}
        added[name] = functools.partial(metric, **settings)
    return added


def _fusion_dims(
    config: Mapping[str, Any], encoders: Mapping[str, Encoder], schema: StoreSchema, reads: Mapping[str, str]
) -> dict[str, int]:
    """Returns the size of each vector, or token, that the fusion reads.

    It is named after its modality and is the pooled vector, a token or the features of a step, unless the method makes
    other vectors of them.
    """
    method: Any = target(config["method"])
    if getattr(target(config["fusion"]), "reads", "pooled") != "tokens":
        sizes = {name: encoder.dim for name, encoder in encoders.items()}
    else:
        raw = method.fuses_inputs(config["method"])
        sizes = {
            name: schema.dims[name] if raw and reads[name] == "values" else encoder.token_dim or encoder.dim
            for name, encoder in encoders.items()
        }
    return dict(method.fusion_sizes(config["method"], sizes))


def turn_off_dropout(module: nn.Module) -> None:
    """Sets every dropout of `module` to probability 0, in layers and in attributes that are passed to functions."""
    for part in module.modules():
        if isinstance(part, nn.modules.dropout._DropoutNd):
            part.p = 0.0
        for name in _DROPOUT_NUMBERS:
            if isinstance(getattr(part, name, None), float):
                setattr(part, name, 0.0)
