"""Makes a table of finished runs that lie in a folder, without a YAML: rows are named by what tells the runs apart."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from trivium.core.choices import suggest
from trivium.core.metric_names import LABELS, METRICS
from trivium.core.wording import counted
from trivium.results.folders import gather
from trivium.results.records import Record
from trivium.runs.directory import RunDirectory
from trivium.tables.definition import Row, Table
from trivium.tables.measures import Measure
from trivium.tables.plan import Planned

# A run's row, seed and fold (None for data without folds).
Key = tuple[str, int, int | None]


def runs_table(folder: Path, data: str = "", baseline: str = "") -> tuple[list[list[Planned]], list[str]]:
    """Returns the runs of each data set as those of a table, and notes on what is left out.

    Rows are the settings, by their labels in `trivium.results`; seeds and folds are repeats, data sets are parts, and
    measures are the metrics of the data set's protocol. Of two runs of one setting, seed and fold the later counts.
    data: some of the data sets with commas between, as result.json names them; "" for all. baseline: a row's label.
    Raises ValueError for a folder without finished runs, and for a data set or baseline that is not there.
    """
    sources = gather([folder], whole=False)
    trials = [record for record in sources.records if record.config.get("run", {}).get("study")]
    if sources.studies or (trials and len(trials) == len(sources.records)):
        raise ValueError(f"runs={folder}: a search, whose trials are compared by validation; see its trials.csv")
    notes = [*sources.left_out]
    if trials:
        notes.append(f"{counted(len(trials), 'trial')} of searches, which are compared by validation")
    records = [record for record in sources.records if record not in trials]
    known = list(dict.fromkeys(record.data for record in records))
    chosen = data.split(",") if data else known
    for name in chosen:
        if name not in known:
            raise ValueError(
                f"data={name}: no finished run is on it{suggest(name, known)}; there are {', '.join(known)}"
            )
    words_of = {"runs": str(folder), "data": data, "baseline": baseline}
    words = tuple(f"{key}={word}" for key, word in words_of.items() if word)
    parts = []
    for name in chosen:
        runs, doubles = _each_once([record for record in records if record.data == name])
        notes += doubles
        parts.append(_part(folder, name, runs, baseline, words))
    return parts, notes


def _each_once(records: Sequence[Record]) -> tuple[dict[Key, Record], list[str]]:
    """Returns (row, seed, fold) -> the run that was begun last, and a note for each other."""
    runs: dict[Key, Record] = {}
    notes = []
    for record in sorted(records, key=lambda record: str(record.record.get("created", ""))):
        key = _key(record)
        if key in runs:
            notes.append(f"{runs[key].path}: {record.path} is a later run of the same settings and seed")
        runs[key] = record
    return {key: runs[key] for key in map(_key, records)}, notes


def _key(record: Record) -> Key:
    return record.label.removesuffix(f", {record.data}"), record.seed, record.fold


def _part(folder: Path, data: str, runs: dict[Key, Record], baseline: str, words: tuple[str, ...]) -> list[Planned]:
    rows = {label: Row(label, ()) for label, _, _ in runs}
    if baseline and baseline not in rows:
        near = suggest(baseline, rows)
        raise ValueError(f"baseline={baseline}: no such row on {data}{near}; the rows are: {'; '.join(rows)}")
    protocols = {record.protocol for record in runs.values()}
    scores = [record.result["test"] for record in runs.values()]
    metrics = [metric for protocol in protocols for metric in METRICS[protocol]]
    # Metrics of one's own are named by each run's config (configs/metric).
    added = {name: node for record in runs.values() for name, node in (record.config.get("metrics") or {}).items()}
    named = {metric: Measure(LABELS[metric], metric=metric) for metric in metrics} | {
        name: Measure(node["label"], metric=name, better=node["better"]) for name, node in added.items()
    }
    measures = tuple(m for name, m in named.items() if all(name in values for values in scores))
    table = Table(
        folder.resolve().name,
        f"Runs of {folder}",
        (),
        len({seed for _, seed, _ in runs}),
        tuple(rows.values()),
        measures,
        {measure.name: (measure.name,) for measure in measures},
        baseline,
        data=data,
        words=words,
    )
    return [
        Planned(rows[row], seed, RunDirectory(record.path), (), table, fold=fold)
        for (row, seed, fold), record in runs.items()
    ]
