"""Loads weights of earlier versions: modules whose parts have been renamed accept the names that were saved then."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn


def accept_old_names(module: nn.Module, names: Mapping[str, str]) -> None:
    """Lets `module.load_state_dict` take weights whose names begin as they did in an earlier version.

    names: old beginning of a name, below the module -> today's beginning, such as {"widen.": "linear1."}.
    """
    module._old_names = dict(names)  # type: ignore[assignment]
    module.register_load_state_dict_pre_hook(_rename)  # type: ignore[no-untyped-call]


def with_current_names(module: nn.Module, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Returns saved weights of `module` under the names that its parts have today."""
    renamed = dict(weights)
    for name, part in module.named_modules():
        if hasattr(part, "_old_names"):
            _rename(part, renamed, f"{name}." if name else "")
    return renamed


def _rename(module: Any, weights: dict[str, Any], prefix: str, *_: Any) -> None:
    for old, new in module._old_names.items():
        for name in [name for name in weights if name.startswith(prefix + old)]:
            weights[prefix + new + name.removeprefix(prefix + old)] = weights.pop(name)
