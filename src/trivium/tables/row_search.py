"""Reads what a table's YAML says of searches: `search: {sweep: NAME, trials: N}` of a row, or of all rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from trivium.tables.yaml_keys import keys

_KEYS = ("sweep", "trials", "objective")


@dataclass(frozen=True)
class RowSearch:
    """Holds how a row's settings are searched before its seeds are trained.

    sweep: the space (configs/sweep). trials: of the whole study. objective: val/ and a metric, by which trials are
    compared; "" for that of the sweep's file.
    """

    sweep: str
    trials: int = 20
    objective: str = ""


def read_common_search(values: Any) -> dict[str, Any]:
    """Returns the table's own keys, which its rows' searches have unless they say otherwise."""
    return {} if values is None else _checked("search", values)


def read_row_search(label: str, values: Any, common: dict[str, Any]) -> RowSearch | None:
    """Returns a row's search, None for a row without one.

    values: of the row's key search: a sweep's name, keys, or false for none; None without the key, where the row is
    searched only if the table names a sweep for all. Raises ValueError naming the row.
    """
    if values is False or (values is None and "sweep" not in common):
        return None
    own = {"sweep": values} if isinstance(values, str) else {} if values is None else values
    at = f"rows: {label}: search"
    chosen = {**common, **_checked(at, own)}
    if "sweep" not in chosen:
        raise ValueError(f"{at}: sweep missing: the name of a space, as in sweep: supervised")
    return RowSearch(**chosen)


def _checked(at: str, values: Any) -> dict[str, Any]:
    node = keys(at, values, (), _KEYS)
    trials, objective = node.get("trials", 1), node.get("objective", "val/loss")
    if isinstance(trials, bool) or not isinstance(trials, int) or trials < 1:
        raise ValueError(f"{at}.trials: expected how many, 1 or more, found {trials!r}")
    if not isinstance(objective, str) or not objective.startswith("val/"):
        raise ValueError(f"{at}.objective: expected val/loss, or val/ and a metric, found {objective!r}")
    if not isinstance(node.get("sweep", ""), str):
        raise ValueError(f"{at}.sweep: expected the name of a space, found {node['sweep']!r}")
    return dict(node)
