"""The page's tables as plain rows: runs, means over seeds, settings, how the runs were made."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from trivium.evaluation.metrics import LABELS
from trivium.reports.collect import Spread
from trivium.reports.records import Record, by_group, compared, differing


@dataclass(frozen=True)
class Cell:
    """text: as shown. sort: a number to sort by, or "" for words. href: where a click leads."""

    text: str
    sort: str = ""
    href: str = ""
    differs: bool = False


@dataclass(frozen=True)
class PageTable:
    """One table: its columns' heads and cells. name: unique on the page."""

    name: str
    heads: list[str]
    rows: list[list[Cell]]


def number(value: float | None, digits: int = 4) -> Cell:
    if value is None or math.isnan(value):
        return Cell("-")
    return Cell(str(value) if isinstance(value, int) else f"{value:.{digits}f}", repr(float(value)))


def metrics_of(records: Sequence[Record]) -> list[str]:
    """Test metrics that any run has, in the order in which tables print them."""
    found = {metric for record in records for metric in record.result.get("test", {})}
    return [metric for metric in LABELS if metric in found]


def run_table(records: Sequence[Record]) -> PageTable:
    """One row a run: what it is, its test metrics, what it took."""
    metrics = metrics_of(records)
    heads = ["run", "method", "data", "seed", *(LABELS[metric] for metric in metrics), "val. loss", "best epoch"]
    rows = []
    for place, record in enumerate(records):
        result = record.result
        scores = [number(result.get("test", {}).get(metric)) for metric in metrics]
        words = [Cell(f"{record.label}, seed {record.seed}", href=f"#run-{place}"), Cell(str(result["method"]))]
        words += [Cell(record.data), number(record.seed)]
        rows.append([*words, *scores, number(result["val"]["loss"]), number(result["best_epoch"]), *_took(result)])
    return PageTable("runs", [*heads, "seconds", "parameters"], rows)


def _took(result: dict[str, Any]) -> list[Cell]:
    return [number(float(result["seconds"]), 1), number(result["parameters"])]


def mean_table(records: Sequence[Record]) -> PageTable | None:
    """Mean and standard deviation over seeds; None where every group has one run."""
    groups = by_group(records)
    if all(len(runs) == 1 for runs in groups.values()):
        return None
    metrics = metrics_of(records)
    rows = []
    for label, runs in groups.items():
        spreads = [Spread.of([run.result["test"][m] for run in runs if _has(run, m)]) for m in metrics]
        rows.append([Cell(label), number(len(runs)), *(_spread(spread) for spread in spreads)])
    return PageTable("means", ["setting", "n", *(LABELS[metric] for metric in metrics)], rows)


def _has(run: Record, metric: str) -> bool:
    return run.result.get("test", {}).get(metric) is not None


def _spread(spread: Spread) -> Cell:
    if math.isnan(spread.mean):
        return Cell("-")
    around = "" if math.isnan(spread.std) else f" ± {spread.std:.3f}"  # three digits: eight metrics fit a screen
    return Cell(f"{spread.mean:.3f}{around}", repr(spread.mean))


def csv_table(name: str, rows: Sequence[dict[str, str]]) -> PageTable:
    """A CSV file's rows; numbers to four digits, and sorted as numbers."""
    heads = list(rows[0]) if rows else []
    return PageTable(name, heads, [[_from_csv(row[head]) for head in heads] for row in rows])


def _from_csv(word: str) -> Cell:
    try:
        value = float(word)
    except (TypeError, ValueError):
        return Cell(word or "")
    if math.isnan(value):
        return Cell("-")
    return Cell(word if value.is_integer() else f"{value:.4g}", repr(value))


def settings_table(records: Sequence[Record]) -> PageTable:
    """One row a setting, one column a group of seeds; a cell is marked where groups differ."""
    groups = {label: runs[0].settings for label, runs in by_group(records).items()}
    differ = {key for key in differing(list(groups.values())) if compared(key)}
    keys = [key for key in dict.fromkeys(key for one in groups.values() for key in one) if compared(key)]
    rows = [[Cell(key), *(Cell(one.get(key, "-"), differs=key in differ) for one in groups.values())] for key in keys]
    return PageTable("settings", ["setting", *groups], rows)


def settings_data(records: Sequence[Record]) -> dict[str, Any]:
    """What page.js shows of one run: settings that all share once, and each run's others."""
    settings = [record.settings for record in records]
    differ = set(differing(settings))
    common = {key: value for key, value in settings[0].items() if key not in differ} if settings else {}
    keys = list(dict.fromkeys(key for one in settings for key in one))
    return {
        "keys": keys,
        "common": common,
        "runs": [{key: value for key, value in one.items() if key in differ} for one in settings],
    }


@dataclass(frozen=True)
class Made:
    """How runs came about. runs: their names; the rest is alike for all of them."""

    commit: str
    versions: dict[str, str]
    hardware: dict[str, Any]
    runs: list[str]


def made(records: Sequence[Record]) -> list[Made]:
    """One entry for each different commit, set of versions and machine."""
    found: dict[str, Made] = {}
    for record in records:
        commit = record.record.get("git_commit") or "unknown (no git)"
        versions, hardware = record.record.get("versions", {}), record.record.get("hardware", {})
        key = json.dumps([commit, versions, hardware], sort_keys=True)
        entry = found.setdefault(key, Made(commit, versions, hardware, []))
        entry.runs.append(f"{record.label}, seed {record.seed}")
    return list(found.values())
