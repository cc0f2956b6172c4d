"""Makes the page's tables as plain rows: means over seeds, runs, settings, how the runs were made."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trivium.core.metric_names import LABELS, metric_text
from trivium.evaluation.significance import is_told
from trivium.report.page.boards import Board
from trivium.results.records import Record, by_group, differing, is_compared
from trivium.results.score_text import Kind, kind_of
from trivium.results.search_trials import SearchFolder

# of a difference from the baseline that is told from chance
MARK = "*"


@dataclass(frozen=True)
class Cell:
    """Holds a cell. sort: a number to sort by, or "" for words. href: where a click leads. mark: a class of CSS."""

    text: str
    sort: str = ""
    href: str = ""
    mark: str = ""


@dataclass(frozen=True)
class PageTable:
    """Holds one table. name: unique on the page. small: a second line of each head, if there are any."""

    name: str
    heads: list[str]
    rows: list[list[Cell]]
    small: Sequence[str] = ()


def number(value: float | None, digits: int = 4) -> Cell:
    """Returns a number that sorts as one."""
    if value is None or math.isnan(value):
        return Cell("-", mark="none")
    return Cell(str(value) if isinstance(value, int) else f"{value:.{digits}f}", repr(float(value)))


def score(value: float | None, kind: Kind) -> Cell:
    """Returns a score as tables print it, shares in %."""
    if value is None or math.isnan(value):
        return Cell("-", mark="none")
    return Cell(metric_text(value, kind.share), repr(float(value)))


def run_table(records: Sequence[Record]) -> PageTable:
    """Returns one row a run: its method, seed, test metrics and cost; its data where there are several."""
    metrics = [metric for metric in LABELS if any(metric in record.result.get("test", {}) for record in records)]
    several = len({record.data for record in records}) > 1
    heads = ["run", "method", *["data"] * several, "seed", *(LABELS[metric] for metric in metrics)]
    heads += ["val. loss", "best epoch", "seconds", "parameters"]
    rows = []
    for place, record in enumerate(records):
        result = record.result
        scores = [score(result.get("test", {}).get(metric), kind_of(LABELS[metric])) for metric in metrics]
        name = record.label.removesuffix(f", {record.data}")
        identity = [Cell(f"{name}, seed {record.repeat}", href=f"#run-{place}"), Cell(str(result["method"]))]
        identity += [*[Cell(record.data)] * several, number(record.seed)]
        cost = [number(result.get("seconds"), 1), number(result.get("parameters"))]
        rows.append([*identity, *scores, number(result["val"].get("loss")), number(result["best_epoch"]), *cost])
    return PageTable("runs", heads, rows)


def mean_table(board: Board, name: str) -> PageTable:
    """Returns rows by measures: mean and standard deviation over seeds, with the best of each measure marked.

    A star stands where the difference from the baseline is more than chance.
    """
    rows = []
    for row in board.rows:
        n = max(board.compared[row, measure]["n"] for measure in board.measures)
        cells = [_mean(board.compared[row, measure], board.kind(measure)) for measure in board.measures]
        rows.append([Cell(row, mark="baseline" if row == board.baseline else ""), number(n), *cells])
    return PageTable(name, ["row", "n", *board.measures], rows)


def _mean(line: Mapping[str, Any], kind: Kind) -> Cell:
    if math.isnan(line["mean"]):
        return Cell("-", mark="none")
    around = "" if math.isnan(line["std"]) else f" ± {score(line['std'], kind).text}"
    text = score(line["mean"], kind).text + around + (MARK if is_told(line["p_holm"]) else "")
    return Cell(text, repr(line["mean"]), mark="best" if line["best"] else "")


def csv_table(name: str, rows: Sequence[dict[str, str]]) -> PageTable:
    """Returns a CSV file's rows; numbers to four digits, and sorted as numbers."""
    heads = list(rows[0]) if rows else []
    return PageTable(name, heads, [[_from_csv(row[head]) for head in heads] for row in rows])


def trial_table(study: SearchFolder, name: str) -> PageTable:
    """Returns one row a trial: its state, its value and its parameters."""
    rows = [
        {
            "trial": str(trial.number),
            "state": trial.state,
            study.objective or "value": repr(trial.value),
            **{key: trial.parameters.get(key, "") for key in study.parameters},
            "seconds": repr(trial.seconds),
        }
        for trial in study.trials
    ]
    return csv_table(name, rows)


def _from_csv(word: str) -> Cell:
    try:
        value = float(word)
    except (TypeError, ValueError):
        return Cell(word or "")
    if math.isnan(value):
        return Cell("-", mark="none")
    return Cell(word if value.is_integer() else f"{value:.4g}", repr(value))


def settings_table(records: Sequence[Record]) -> PageTable:
    """Returns one row a setting, one column a group of seeds; page.js marks the differences."""
    groups = {label: runs[0] for label, runs in by_group(records).items()}
    shown = {label: shown_settings(record, records) for label, record in groups.items()}
    keys = _together([key for settings in shown.values() for key in settings if is_compared(key)])
    rows = [
        [Cell(key), *(Cell(settings.get(key, "-"), mark="none" * (key not in settings)) for settings in shown.values())]
        for key in keys
        if not _names_the_same(key, shown)
    ]
    several = len({record.data for record in groups.values()}) > 1
    heads = [label.removesuffix(f", {record.data}") for label, record in groups.items()]
    return PageTable("settings", ["setting", *heads], rows, ["", *(r.data * several for r in groups.values())])


def _together(keys: Sequence[str]) -> list[str]:
    """Returns each key once, those of one group side by side though only some of the runs have them."""
    tops = list(dict.fromkeys(key.partition(".")[0] for key in keys))
    return sorted(dict.fromkeys(keys), key=lambda key: tops.index(key.partition(".")[0]))


def _names_the_same(key: str, groups: Mapping[str, Mapping[str, str]]) -> bool:
    """Returns whether a class says no more than the name beside it, as method._target_ beside method.name."""
    if not key.endswith("._target_"):
        return False
    pairs = {(settings.get(key), settings.get(f"{key.removesuffix('_target_')}name")) for settings in groups.values()}
    return None not in {name for _, name in pairs} and len(pairs) == len({name for _, name in pairs})


def shown_settings(record: Record, records: Sequence[Record]) -> dict[str, str]:
    """Returns settings as the page has them: a class by its name, and the run that another began from by its row."""
    began = {str(other.path.resolve()): other.label for other in records}
    start = record.settings.get("start_from", "")
    shown = {k: v.rpartition(".")[2] if k.endswith("_target_") else v for k, v in record.settings.items()}
    return {**shown, "start_from": began.get(start, Path(start).name)} if start else shown


def settings_data(records: Sequence[Record]) -> dict[str, Any]:
    """Returns what page.js shows of one run: settings that all share once, and each run's others."""
    settings = [record.settings for record in records]
    differ = set(differing(settings))
    common = {key: value for key, value in settings[0].items() if key not in differ} if settings else {}
    keys = list(dict.fromkeys(key for run in settings for key in run))
    runs = [{key: value for key, value in run.items() if key in differ} for run in settings]
    return {"keys": keys, "common": common, "runs": runs}


def made(records: Sequence[Record]) -> list[dict[str, Any]]:
    """Returns commit, versions and machine of the runs, and their names; one entry for each different combination."""
    entries: dict[str, dict[str, Any]] = {}
    for record in records:
        origin = {"commit": record.record.get("git_commit") or "unknown (no git)"}
        origin |= {key: record.record.get(key, {}) for key in ("versions", "hardware")}
        entry = entries.setdefault(json.dumps(origin, sort_keys=True), {**origin, "runs": []})
        entry["runs"].append(f"{record.label}, seed {record.repeat}")
    return list(entries.values())
