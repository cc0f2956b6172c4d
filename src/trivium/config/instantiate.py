"""Builds an object from a config node, if its `_target_` lies in a trusted module and takes the node's keys.

Hydra's own instantiate would call anything that a config names.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

from trivium.config.trust import is_trusted, refusal
from trivium.core.choices import suggest


def build(node: Mapping[str, Any], /, *args: Any, **extra: Any) -> Any:
    """Calls the node's target with `args`, the node's other keys and `extra`, and returns the result.

    Raises ValueError for a target that `target` refuses, for a key that it does not take, for one that it needs and
    lacks, and for one that stands in both node and `extra`. Exceptions of the target itself pass.
    """
    return build_as(target(node), node, *args, **extra)


def build_as(function: Callable[..., Any], node: Mapping[str, Any], /, *args: Any, **extra: Any) -> Any:
    """Does what `build` does, calling `function` in place of the node's target: the target itself, or a subclass."""
    keys = {name: value for name, value in node.items() if name != "_target_"}
    if repeated := keys.keys() & extra.keys():
        raise ValueError(
            f"{node['_target_']}: {', '.join(sorted(repeated))} comes from the run and cannot be set in a config"
        )
    _check_keys(function, str(node["_target_"]), keys, args, extra)
    return function(*args, **keys, **extra)


def target(node: Mapping[str, Any]) -> Callable[..., Any]:
    """Returns the class or function that `_target_` names, without calling it.

    Raises ValueError unless it is a public class or function that a module of this package, or of another one that the
    user trusts, itself defines.
    """
    name = node.get("_target_")
    if not isinstance(name, str):
        raise ValueError(f"_target_: expected the dotted name of a class or function, found {name!r}")
    parts = name.split(".")
    if len(parts) < 2 or any(not part.isidentifier() or part.startswith("_") for part in parts):
        raise ValueError(f"_target_: {name!r} is refused; expected the public name of a class or function: MODULE.NAME")
    if not is_trusted(name):
        raise ValueError(refusal(name))
    module, last = ".".join(parts[:-1]), parts[-1]
    try:
        member = getattr(import_module(module), last, None)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            # The module exists, and something that it imports does not.
            raise
        raise ValueError(f"_target_: {name!r}: no module {error.name!r}") from error
    if member is None:
        public_names = [public for public in vars(import_module(module)) if not public.startswith("_")]
        raise ValueError(f"_target_: {module} has no {last!r}{suggest(last, public_names)}")
    # A module also holds what it imports (os.system, Path): only what is defined in a trusted one counts.
    if not callable(member) or not is_trusted(f"{getattr(member, '__module__', '')}.{last}"):
        raise ValueError(f"_target_: {name!r} is refused; it is no class or function that {parts[0]} itself defines")
    return member  # type: ignore[no-any-return]


def _check_keys(
    function: Callable[..., Any], name: str, keys: Mapping[str, Any], args: tuple[Any, ...], extra: Mapping[str, Any]
) -> None:
    parameters = inspect.signature(function).parameters
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    unknown = [] if takes_any else [key for key in [*keys, *extra] if key not in parameters]
    if unknown:
        settable = [p for p, q in parameters.items() if q.kind is q.KEYWORD_ONLY] or list(parameters)
        hint = suggest(unknown[0], settable)
        raise ValueError(
            f"{name} takes no key {', '.join(map(repr, unknown))}{hint}; its keys are {', '.join(settable)}"
        )
    try:
        inspect.signature(function).bind(*args, **keys, **extra)
    except TypeError as error:
        raise ValueError(f"{name}: {error}") from error
