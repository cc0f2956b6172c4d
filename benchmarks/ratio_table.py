"""Makes measurements with spread and ratio of reported numbers, and prints them as a table."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.measure import Reports, TCMaxSizes

LINEAR = 2.2  # times the memory for twice the clips, sampling of the peak included; a table of pairs would take 4


@dataclass
class Measurement:
    """Holds the values of one quantity on both sides.

    ours, theirs: values of the repeats (theirs may be empty). target: the least ratio asked for, or None. limit: the
    most that ours may be, or None. faster_is_more: samples a second, where the ratio is ours / theirs;
    otherwise it is theirs / ours.
    """

    name: str
    unit: str
    ours: Sequence[float]
    theirs: Sequence[float] = ()
    target: float | None = None
    faster_is_more: bool = False
    limit: float | None = None

    @property
    def ratios(self) -> list[float]:
        """One ratio a pair of neighbouring repeats, so that the machine's drift cancels; above 1, ours is better."""
        pairs = zip(self.ours, self.theirs, strict=False)
        return [ours / theirs if self.faster_is_more else theirs / ours for ours, theirs in pairs]

    def to_dict(self) -> dict[str, Any]:
        parts = {"ours": self.ours, "theirs": self.theirs, "ratio": self.ratios}
        spread = {name: _spread(values) for name, values in parts.items() if values}
        asked = {"target": self.target, "limit": self.limit}
        return {"measure": self.name, "unit": self.unit, "n": len(self.ours), **asked, **spread}


def mmsa_rows(loading: Reports, steps: Reports, batch: int) -> list[Measurement]:
    """Makes rows of what `measure.loading` and `measure.steps` return.

    MMSA's loader has 4 workers by default. Without workers it is faster where making a batch costs less than handing it
    over, so both are shown.
    """

    def row(name: str, key: str, target: float, unit: str = "s", theirs: str = "") -> Measurement:
        return Measurement(
            name, unit, [r[key] for r in loading["ours"]], [r[theirs or key] for r in loading["mmsa"]], target
        )

    return [
        row("open, until training can start", "open_seconds", 20),
        row("peak memory, opened", "open_mib", 5, "MiB"),
        row("peak memory, after an epoch of batches", "epoch_mib", 5, "MiB"),
        row("epoch of batches, MMSA's default 4 workers", "epoch_seconds", 5, theirs="epoch_workers_seconds"),
        row("epoch of batches, MMSA without workers", "epoch_seconds", 5),
        *_rates("Self-MM training step", steps, batch, "samples/s", 1.3),
    ]


def method_rows(reports: Mapping[str, Reports]) -> list[Measurement]:
    """Makes rows of method -> what `measure.steps` returns: none is to be slower than in MMSA."""
    return [row for name, steps in reports.items() for row in _rates(f"{name} training step", steps, 1, "steps/s", 1.0)]


def tcmax_rows(times: Mapping[str, Reports], peaks: Reports, mixing: Reports, sizes: TCMaxSizes) -> list[Measurement]:
    """Makes rows of what `measure.tcmax_times`, `tcmax_peaks` and `tcmax_mixing` return."""
    rows = []
    for name, target in (("small", 20), ("large", 1000)):
        clips, classes = getattr(sizes, name)
        title = f"TCMax forward and backward, B={clips}, C={classes}"
        rows += _timed(title, times[name], "dense", target)
    ours, dense = ([report["mib"] for report in peaks[side]] for side in ("ours", "dense"))
    for n, (clips, mib) in enumerate(zip(sizes.growing, ours, strict=True)):
        rows.append(Measurement(f"its peak memory, B={clips}, C={sizes.large[1]}", "MiB", [mib], dense[n : n + 1]))
    doublings = [b / a for a, b in itertools.pairwise(ours)]
    rows.append(Measurement("growth of that where B doubles (2 is linear)", "x", doublings, limit=LINEAR))
    clips, classes = sizes.mixing
    for fusion, reports in mixing.items():
        title = f"three modalities, {fusion} of {sizes.size}, B={clips}, C={classes}"
        rows.append(Measurement(f"{title}, peak memory", "MiB", [report["mib"] for report in reports], limit=512))
        rows.append(Measurement(f"{title}, forward and backward", "s", [report["seconds"] for report in reports]))
    return rows


def comm_rows(reports: Mapping[str, Any]) -> list[Measurement]:
    """Makes rows of what `measure.comm` returns."""
    rows = []
    for lengths, target in (("mosi", 1.5), ("full", 1.0)):
        steps = reports[lengths]["steps"]
        about = f"mean {steps['mean']:.1f} steps, padded to {steps['padded']:.1f}"
        rows += _timed(f"CoMM training step, {about}", reports[lengths], "plain", target)
    return rows


def gmc_rows(reports: Mapping[str, Any]) -> list[Measurement]:
    """Makes rows of what `measure.gmc` returns: M3ixup may cost twice what GMC does."""
    rows = []
    for lengths, times in reports.items():
        about = "T=50" if lengths == "full" else f"mean {times['steps']['mean']:.1f} steps"
        rows += _timed(f"M3ixup training step, {about}", times, "plain", 0.5)
    return rows


def run_rows(reports: Mapping[str, Mapping[str, list[float]]]) -> list[Measurement]:
    """Makes rows of method -> what `measure.run_epochs` returns: a run may cost 1.05 times what a bare loop does."""
    return [
        Measurement(f"an epoch of method={method}, by CPU time", "s", epochs["run"], epochs["bare"], round(1 / 1.05, 3))
        for method, epochs in reports.items()
    ]


def show(measurements: Sequence[Measurement], title: str, against: str) -> None:
    """Prints measurements: median and, in brackets, least and most."""
    table = Table(title=title, title_justify="left", caption="median (least to most); ratios are of neighbouring runs")
    for column in ("measure", against, "ours", "ratio", "target"):
        table.add_column(column, justify="left" if column == "measure" else "right")
    for row in measurements:
        name = f"{row.name}, {row.unit}"
        table.add_row(name, _text(row.theirs), _text(row.ours), _text(row.ratios, "x"), _target(row))
    Console(width=max(120, Console().width)).print(table)


def _timed(title: str, reports: Reports, other: str, target: float) -> list[Measurement]:
    """Makes two rows: by the clock, and by CPU time, which other load on the machine hardly changes."""

    def row(name: str, key: str, target: float | None = None) -> Measurement:
        return Measurement(name, "s", [r[key] for r in reports["ours"]], [r[key] for r in reports[other]], target)

    return [row(title, "seconds", target), row(f"{title}, by CPU time", "cpu_seconds")]


def _rates(title: str, steps: Reports, amount: int, unit: str, target: float) -> list[Measurement]:
    """Makes the two rows of `_timed` as rates: how many of a step's `amount` there are in a second."""

    def row(name: str, key: str, target: float | None = None) -> Measurement:
        rates = {side: [amount / report[key] for report in reports] for side, reports in steps.items()}
        return Measurement(name, unit, rates["ours"], rates["mmsa"], target, faster_is_more=True)

    return [row(title, "seconds", target), row(f"{title}, by CPU time", "cpu_seconds")]


def _spread(values: Sequence[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "least": min(values), "most": max(values)}


def _text(values: Sequence[float], unit: str = "") -> str:
    if not values:
        return "-"
    return f"{_digits(statistics.median(values))}{unit} ({_digits(min(values))} to {_digits(max(values))})"


def _digits(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def _target(row: Measurement) -> str:
    if row.limit is not None:
        met = statistics.median(row.ours) <= row.limit
        return f"at most {row.limit:g} {'met' if met else 'missed'}"
    if row.target is None:
        return "-"
    verdict = "" if not row.ratios else (" met" if statistics.median(row.ratios) >= row.target else " missed")
    return f"{row.target:g}x{verdict}"
