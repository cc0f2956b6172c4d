"""The page's tables as plain rows: means over seeds, runs, settings, how the runs were made."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trivium.evaluation.significance import LEVEL
from trivium.metric_names import LABELS, metric_text
from trivium.reports.page.standings import Board, Kind, kind_of
from trivium.reports.records import Record, by_group, compared, differing
from trivium.reports.spread import Spread

MARK = "*"  # of a difference from the baseline whose p is below LEVEL


@dataclass(frozen=True)
class Cell:
    """text: as shown. sort: a number to sort by, or "" for words. href: where a click leads. mark: a class of CSS."""

    text: str
    sort: str = ""
    href: str = ""
    mark: str = ""


@dataclass(frozen=True)
class PageTable:
    """One table: its columns' heads and cells. name: unique on the page. columns: of each setting, its data set."""

    name: str
    heads: list[str]
    rows: list[list[Cell]]
    columns: list[str] = field(default_factory=list)


def number(value: float | None, digits: int = 4) -> Cell:
    if value is None or math.isnan(value):
        return Cell("-", mark="none")
    return Cell(str(value) if isinstance(value, int) else f"{value:.{digits}f}", repr(float(value)))


def score(value: float | None, kind: Kind) -> Cell:
    """Shares in %."""
    if value is None or math.isnan(value):
        return Cell("-", mark="none")
    return Cell(metric_text(value, kind.share), repr(float(value)))


def metrics_of(records: Sequence[Record]) -> list[str]:
    """Test metrics that any run has, in the order in which tables print them."""
    found = {metric for record in records for metric in record.result.get("test", {})}
    return [metric for metric in LABELS if metric in found]


def run_table(records: Sequence[Record]) -> PageTable:
    """One row a run: what it is, its test metrics, what it took. Its data where there are several."""
    metrics, several = metrics_of(records), len({record.data for record in records}) > 1
    heads = [
        "run",
        "method",
        *["data"] * several,
        "seed",
        *(LABELS[metric] for metric in metrics),
        "val. loss",
        "best epoch",
    ]
    rows = []
    for place, record in enumerate(records):
        result = record.result
        scores = [score(result.get("test", {}).get(metric), kind_of(LABELS[metric])) for metric in metrics]
        name = record.label.removesuffix(f", {record.data}")
        words = [Cell(f"{name}, seed {record.seed}", href=f"#run-{place}"), Cell(str(result["method"]))]
        words += [*[Cell(record.data)] * several, number(record.seed)]
        rows.append([*words, *scores, number(result["val"].get("loss")), number(result["best_epoch"]), *_took(result)])
    return PageTable("runs", [*heads, "seconds", "parameters"], rows)


def _took(result: dict[str, Any]) -> list[Cell]:
    return [number(result.get("seconds"), 1), number(result.get("parameters"))]


def mean_table(board: Board, name: str) -> PageTable:
    """Rows by measures: mean and standard deviation over seeds, the best of each measure marked, a star where the
    difference from the baseline is more than chance.
    """
    best = {measure: _best(board, measure) for measure in board.values}
    rows = []
    for row in board.rows:
        cells = [_mean(board, row, measure, best[measure]) for measure in board.values]
        n = max(len(of.get(row, {})) for of in board.values.values())
        rows.append([Cell(row, mark="baseline" if row == board.baseline else ""), number(n), *cells])
    return PageTable(name, ["row", "n", *board.values], rows)


def _mean(board: Board, row: str, measure: str, best: float) -> Cell:
    kind, spread = kind_of(measure), Spread.of(list(board.values[measure].get(row, {}).values()))
    if math.isnan(spread.mean):
        return Cell("-", mark="none")
    around = "" if math.isnan(spread.std) else f" ± {score(spread.std, kind).text}"
    p = board.to_baseline[row][measure][1] if measure in board.to_baseline.get(row, {}) else math.nan
    text = score(spread.mean, kind).text + around + (MARK if p < LEVEL else "")
    return Cell(text, repr(spread.mean), mark="best" if spread.mean == best else "")


def _best(board: Board, measure: str) -> float:
    """Of means; NaN where it is not known what is better, and for a row alone."""
    means = [Spread.of(list(seeds.values())).mean for seeds in board.values[measure].values()]
    known, lower = [mean for mean in means if not math.isnan(mean)], kind_of(measure).lower
    if lower is None or len(known) < 2:
        return math.nan
    return min(known) if lower else max(known)


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
        return Cell("-", mark="none")
    return Cell(word if value.is_integer() else f"{value:.4g}", repr(value))


def settings_table(records: Sequence[Record]) -> PageTable:
    """One row a setting, one column a group of seeds; marked where a cell is not what most groups have."""
    groups = {label: runs[0] for label, runs in by_group(records).items()}
    shown = {label: shown_settings(record, records) for label, record in groups.items()}
    keys = _together([key for one in shown.values() for key in one if compared(key)])
    rows = [_setting(key, [one.get(key, "-") for one in shown.values()]) for key in keys if not _told(key, shown)]
    return PageTable("settings", ["setting", *groups], rows, [record.data for record in groups.values()])


def _together(keys: Sequence[str]) -> list[str]:
    """Each once, those of one group of settings side by side though only some of the runs have them."""
    tops = list(dict.fromkeys(key.partition(".")[0] for key in keys))
    return sorted(dict.fromkeys(keys), key=lambda key: tops.index(key.partition(".")[0]))


def _setting(key: str, words: Sequence[str]) -> list[Cell]:
    usual = Counter(words).most_common(1)[0][0]
    return [Cell(key), *(Cell(word, mark="" if word == usual else "differs") for word in words)]


def _told(key: str, groups: Mapping[str, Mapping[str, str]]) -> bool:
    """Whether a class says no more than the name beside it, as method._target_ beside method.name."""
    if not key.endswith("._target_"):
        return False
    pairs = {(one.get(key), one.get(f"{key.removesuffix('_target_')}name")) for one in groups.values()}
    return None not in {name for _, name in pairs} and len(pairs) == len({name for _, name in pairs})


def shown_settings(record: Record, records: Sequence[Record]) -> dict[str, str]:
    """Settings as the page has them: a class by its own name, and the run that another began from by its row."""
    began = {str(other.path.resolve()): other.label for other in records}
    start = record.settings.get("start_from", "")
    found = {k: v.rpartition(".")[2] if k.endswith("_target_") else v for k, v in record.settings.items()}
    return {**found, "start_from": began.get(start, Path(start).name)} if start else found


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
