"""Every `_target_` in configs has a signature that accepts its keys; each constructor gets the rest from the run."""

import inspect
from collections.abc import Iterator
from typing import Any

import pytest

from trivium.config.compose import Composer, composer
from trivium.config.instantiate import target
from trivium.methods.options import KEYS

with composer() as _session:
    CHOICES = [(group, choice) for group in _session.groups() for choice in _session.choices(group)]


FROM_THE_RUN = {"steps", "epochs", "steps_per_epoch"}  # what schedulers are told beside their keys
BUILDS_NOTHING = ("data", "trainer", "debug", "logger/csv")


@pytest.fixture(scope="module")
def session() -> Iterator[Composer]:
    with composer() as opened:
        yield opened


def nodes(session: Composer, group: str, choice: str) -> list[dict[str, Any]]:
    """The nodes with a target in a choice's composed config; for an experiment or a sweep all that it composes."""
    config = session.compose([f"{group}={choice}"])
    whole = group in ("experiment", "sweep")
    # a metric is a function, and of its keys these two are for tables
    metrics = [
        {key: value for key, value in node.items() if key not in ("label", "better")}
        for node in config["metrics"].values()
    ]
    parts = [*config.values(), *config["encoders"].values(), *metrics]
    if not whole:
        parts = metrics if group == "metric" else [config[group]]
    # a logger's keys are shared by those that are chosen at once, so that each of them takes those that it knows
    parts += [
        {**node, **{key: value for key, value in part.items() if key != "send_to"}, "name": name}
        for part in parts
        if isinstance(part, dict)
        for name, node in part.get("send_to", {}).items()
    ]
    return [part for part in parts if isinstance(part, dict) and "_target_" in part]


@pytest.mark.parametrize(("group", "choice"), CHOICES)
def test_signature_accepts_the_keys(group: str, choice: str, session: Composer) -> None:
    found = nodes(session, group, choice)
    assert bool(found) == (not {group, f"{group}/{choice}"} & set(BUILDS_NOTHING))
    for node in found:
        parameters = inspect.signature(target(node)).parameters.values()
        named = {p.name for p in parameters if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)}
        # Options that several methods share are no keywords of any: build_method takes them out (methods/options.py).
        named |= {key for option in getattr(target(node), "shared_options", ()) for key in KEYS[option]}
        needed = {p.name for p in parameters if p.kind is p.KEYWORD_ONLY and p.default is p.empty} - FROM_THE_RUN
        keys = node.keys() - {"_target_"}
        assert keys <= named, (node["_target_"], "takes no", keys - named)
        assert needed <= keys, (node["_target_"], "needs", needed - keys)
