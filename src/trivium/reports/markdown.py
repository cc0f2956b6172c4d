"""A measured table as a page: means, differences from the baseline, what is missing, how the numbers came about."""

from __future__ import annotations

import math
import shlex
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from trivium.evaluation.significance import Paired
from trivium.reports.collect import Measured, Spread
from trivium.reports.definition import Measure, Table
from trivium.reports.plan import Planned
from trivium.reports.work import Failure

LEVEL = 0.05  # of the corrected p below which a difference is marked


def markdown(measured: Measured, runs: Sequence[Planned], failures: Sequence[Failure]) -> str:
    """GitHub tables, rows by measures, one for each unit; then what failed or is missing, and where it comes from."""
    table = measured.table
    seeds = len({run.seed for run in runs})
    complete = all(
        measured.spread(row.label, measure.name).n == seeds for row in table.rows for measure in table.measures
    )
    corrected = {row.label: measured.corrected(row.label) for row in table.rows}
    lines = [f"# {table.title}"]
    for unit, measures in table.units.items():
        if len(table.units) > 1:
            better = "lower" if measures[0].lower_is_better else "higher"
            lines += ["", f"## {unit} ({better} is better)"]
        lines += ["", *_means(measured, measures, complete)]
        if table.baseline:
            lines += ["", *_differences(measured, measures, corrected)]
    lines += ["", *_legend(table, seeds, complete), *_missing(runs, failures), "", *_provenance(table, runs)]
    return "\n".join(lines) + "\n"


def _means(measured: Measured, measures: Sequence[Measure], complete: bool) -> list[str]:
    lines = _heads("row", measures, measured.table)
    for row in measured.table.rows:
        cells = [_mean(measure, measured.spread(row.label, measure.name), complete) for measure in measures]
        lines.append(_line([row.label, *cells]))
    if not any(measure.name in measured.bounds for measure in measures):
        return lines
    for name, label in (("chance", "*chance*"), ("bayes", "*Bayes-optimal*")):
        found = [(m, getattr(measured.bounds.get(m.name), name, math.nan)) for m in measures]
        lines.append(_line([label, *(_number(measure, value) for measure, value in found)]))
    return lines


def _differences(
    measured: Measured, measures: Sequence[Measure], corrected: Mapping[str, Mapping[str, float]]
) -> list[str]:
    lines = _heads(f"minus {measured.table.baseline}", measures, measured.table)
    for row in measured.table.rows:
        if row.label != measured.table.baseline:
            found = [(measure, measured.difference(row.label, measure.name)) for measure in measures]
            cells = [_difference(measure, one, corrected[row.label][measure.name]) for measure, one in found]
            lines.append(_line([row.label, *cells]))
    return lines


def _heads(first: str, measures: Sequence[Measure], table: Table) -> list[str]:
    heads = [first, *(measure.head if len(table.units) > 1 else measure.name for measure in measures)]
    return [_line(heads), _line(["---"] * len(heads))]


def _mean(measure: Measure, spread: Spread, complete: bool) -> str:
    if not spread.n:
        return "-"
    std = "" if math.isnan(spread.std) else f" ± {_number(measure, spread.std)}"
    return f"{_number(measure, spread.mean)}{std}" + (f" [{spread.n}]" if not complete else "")


def _difference(measure: Measure, found: Paired | None, p: float) -> str:
    if found is None:
        return "-"
    std = "" if math.isnan(found.std) else f" ± {_number(measure, found.std)}"
    tested = "" if math.isnan(p) else f" ({p_text(p)}{'*' if p < LEVEL else ''})"
    return f"{_number(measure, found.mean, sign=True)}{std}{tested}"


def p_text(p: float) -> str:
    """Three digits, as in .031."""
    return "<.001" if p < 0.0005 else f"{p:.3f}".removeprefix("0")


def _number(measure: Measure, value: float, sign: bool = False) -> str:
    if math.isnan(value):
        return "-"
    plus = "+" if sign else ""
    return format(100 * value, f"{plus}.1f") if measure.is_share else format(value, f"{plus}.3f")


def _legend(table: Table, seeds: int, complete: bool) -> list[str]:
    each = f"n = {seeds} seeds" if complete else f"n of {seeds} seeds in brackets"
    shares = [measure.is_share for measure in table.measures]
    unit = ", %," if all(shares) else "; shares in %;" if any(shares) else ","
    lines = [f"Test split{unit} mean ± standard deviation over seeds (n - 1), {each}."]
    probed = [m.name for m in table.measures if m.probe]
    if probed:
        which = "All are" if len(probed) == len(table.measures) else f"{', '.join(probed)}:"
        lines.append(f"{which} balanced accuracies of linear probes on frozen vectors; docs/protocol.md.")
    if table.asks_subsets:
        lines.append("One set of weights a run, predicting from the modalities named; docs/protocol.md.")
    if table.baseline:
        lines.append(
            f"Differences: a seed's value minus {table.baseline}'s of the same seed, mean ± standard deviation; in "
            f"brackets p of the paired t test, corrected (Holm) over the row's {len(table.measures)} measures, * below "
            f"{LEVEL:g}. table.csv has p uncorrected, Wilcoxon's, and a bootstrap interval."
        )
    return lines


def _missing(runs: Sequence[Planned], failures: Sequence[Failure]) -> list[str]:
    """What failed, with its command; and what has not been run."""
    lines = [f"- **failed**: {f.run.name}: {f.reason} (`{f.run.command}`, log {f.log})" for f in failures]
    failed = [failure.run for failure in failures]
    open_runs = [run.name for run in runs if run.status != "done" and run not in failed]
    lines += [f"- not run: {', '.join(open_runs)}"] if open_runs else []
    return ["", *lines] if lines else []


def _provenance(table: Table, runs: Sequence[Planned]) -> list[str]:
    done = [(run.directory.result(), run.directory.record()) for run in runs if run.status == "done"]
    words = [f"table={table.name}", f"seeds={len({run.seed for run in runs})}", *table.given]
    lines = [f"Made by `{shlex.join(['python', 'scripts/reproduce.py', *words])}`."]
    if done:
        commits = Counter(str(result["git_commit"])[:7] + _dirty(result) for result, _ in done)
        days = sorted({record["created"][:10] for _, record in done})
        hardware = Counter(f"{result['hardware']['cpus']} CPUs, {_gpus(result)}" for result, _ in done)
        seconds = [float(result["seconds"]) for result, _ in done]
        took = f"{statistics.median(seconds):.0f} s a run (median; {min(seconds):.0f} to {max(seconds):.0f})"
        lines.append(f"Runs of {', '.join(days)}; commits {_counted(commits)}; {_counted(hardware)}; {took}.")
    return lines


def _dirty(result: dict[str, Any]) -> str:
    return "-dirty" if str(result["git_commit"]).endswith("-dirty") else ""


def _gpus(result: dict[str, Any]) -> str:
    return ", ".join(result["hardware"]["gpus"]) or "no GPU"


def _counted(names: Counter[str]) -> str:
    return ", ".join(name if len(names) == 1 else f"{name} ({count} runs)" for name, count in names.items())


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
