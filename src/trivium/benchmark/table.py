"""Measured numbers -> rows with spread and ratio, and the table of them."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

Reports = dict[str, list[dict[str, float]]]  # side -> what each repeat reported


@dataclass
class Row:
    """One measure. ours, mmsa: values of the repeats (mmsa may be empty). target: least ratio asked for, or None.

    faster_is_more: samples a second, where the ratio is ours / MMSA; otherwise it is MMSA / ours.
    """

    name: str
    unit: str
    ours: Sequence[float]
    mmsa: Sequence[float]
    target: float | None = None
    faster_is_more: bool = False

    @property
    def ratios(self) -> list[float]:
        """One a pair of neighbouring repeats, so that the machine's drift cancels; above 1 where ours is better."""
        pairs = zip(self.ours, self.mmsa, strict=False)
        return [ours / mmsa if self.faster_is_more else mmsa / ours for ours, mmsa in pairs]

    def to_dict(self) -> dict[str, Any]:
        parts = {"ours": self.ours, "mmsa": self.mmsa, "ratio": self.ratios}
        spread = {name: _spread(values) for name, values in parts.items() if values}
        return {"measure": self.name, "unit": self.unit, "n": len(self.ours), "target": self.target, **spread}


def rows(loading: Reports, steps: Reports, batch: int) -> list[Row]:
    """What the issue asks for, from what `measure` returns. MMSA's loader has 4 workers by default; without one it is
    faster where its batches cost less than to hand them over, so both are shown."""

    def row(name: str, key: str, target: float, unit: str = "s", theirs: str = "") -> Row:
        return Row(name, unit, [r[key] for r in loading["ours"]], [r[theirs or key] for r in loading["mmsa"]], target)

    def rate(name: str, key: str, target: float | None) -> Row:
        speed = {side: [batch / report[key] for report in reports] for side, reports in steps.items()}
        return Row(name, "samples/s", speed["ours"], speed["mmsa"], target, faster_is_more=True)

    return [
        row("open, until training can start", "open_seconds", 20),
        row("peak memory, opened", "open_mib", 5, "MiB"),
        row("peak memory, after an epoch of batches", "epoch_mib", 5, "MiB"),
        row("epoch of batches, MMSA's default 4 workers", "epoch_seconds", 5, theirs="epoch_workers_seconds"),
        row("epoch of batches, MMSA without workers", "epoch_seconds", 5),
        rate("Self-MM training step", "seconds", 1.3),
        rate("Self-MM training step, by CPU time", "cpu_seconds", None),
    ]


def show(found: Sequence[Row], title: str) -> None:
    """Print them: median and, in brackets, least and most."""
    table = Table(title=title, title_justify="left", caption="median (least to most); ratios are of neighbouring runs")
    for column in ("measure", "MMSA", "ours", "ratio", "target"):
        table.add_column(column, justify="left" if column == "measure" else "right")
    for row in found:
        table.add_row(f"{row.name}, {row.unit}", _text(row.mmsa), _text(row.ours), _text(row.ratios, "x"), _target(row))
    Console(width=max(120, Console().width)).print(table)


def _spread(values: Sequence[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "least": min(values), "most": max(values)}


def _text(values: Sequence[float], unit: str = "") -> str:
    if not values:
        return "-"
    return f"{_digits(statistics.median(values))}{unit} ({_digits(min(values))} to {_digits(max(values))})"


def _digits(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def _target(row: Row) -> str:
    if row.target is None:
        return "-"
    verdict = "" if not row.ratios else (" met" if statistics.median(row.ratios) >= row.target else " missed")
    return f"{row.target:g}x{verdict}"
