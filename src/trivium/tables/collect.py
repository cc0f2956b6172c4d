"""Collects what a table's finished runs measured on one data set as a frame of results, and compares its rows."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from trivium.data.knowable import knowable_of
from trivium.data.store import open_store
from trivium.evaluation.significance import OverClips
from trivium.results.clip_intervals import over_clips, predicted_value
from trivium.results.comparison import compare
from trivium.results.frame import REPEAT, as_frame, guess_value, run_facts
from trivium.results.records import Record
from trivium.results.sections import section_name
from trivium.results.spread import Spread
from trivium.tables.audit import Audited, audit_of
from trivium.tables.definition import Table
from trivium.tables.evaluations import erased_file, missing, read_erased, read_probes, read_subsets, subsets_file
from trivium.tables.measures import Measure
from trivium.tables.plan import Planned
from trivium.tables.published import Published
from trivium.tables.studies import RowStudy

# The text models of MMSA's published results.
_BERT = ("bert-base-uncased", "bert-base-chinese")


@dataclass(frozen=True)
class Bounds:
    """Holds what is known of one measure's accuracy: that of guessing, and the most that any classifier reaches."""

    chance: float
    bayes: float


@dataclass(frozen=True)
class Measured:
    """Holds what was measured on one data set.

    frame: a line for each run and measure, in the columns of trivium.results; label is the row's, metric the measure's
    name. runs: those planned, finished or not. bounds: measure -> bounds, where they are known. without: measures left
    out because the data lack a modality. text: row with published results -> how its runs read text (`text_of`).
    unrun: row without any value -> why. audit: what test's own choice of epochs would have given, where it was asked.
    clips: (row, measure) -> what seeds and clips together say of its difference from the baseline.
    """

    table: Table
    frame: pd.DataFrame
    bounds: Mapping[str, Bounds] = field(default_factory=dict)
    without: tuple[str, ...] = ()
    runs: Sequence[Planned] = ()
    audit: Sequence[Audited] = ()
    text: Mapping[str, str] = field(default_factory=dict)
    unrun: Mapping[str, str] = field(default_factory=dict)
    clips: Mapping[tuple[str, str], OverClips] = field(default_factory=dict)

    @property
    def lacking(self) -> str:
        """Says how to get the data that are not there; "" if nothing waits for any."""
        return next((run.lacking for run in self.runs if run.status == "no data"), "")

    @property
    def empty(self) -> bool:
        """Tells whether there is no value at all."""
        return not len(self.frame)

    @property
    def heading(self) -> str:
        """Names the data set and the feature sets that its runs were on."""
        used, name = list(dict.fromkeys(self.frame["feature_set"])), self.table.data
        of_features = f"{name} ({', '.join(used)})" if used and used != [name] else name
        return section_name(of_features, self.table.situation)

    @property
    def seeds(self) -> int:
        return len({run.seed for run in self.runs})

    @property
    def folds(self) -> int:
        """Returns the number of folds, 0 for data without any."""
        return len({run.fold for run in self.runs} - {None})

    @property
    def studies(self) -> dict[str, RowStudy]:
        """Returns row -> its search, of the rows that have one."""
        return {run.row.label: run.study for run in self.runs if run.study}

    @property
    def repeats(self) -> int:
        """Returns the number of runs that a row has when all are finished: its seeds, times its folds if it has any."""
        return len({(run.seed, run.fold) for run in self.runs})

    @cached_property
    def compared(self) -> dict[tuple[str, str], dict[str, Any]]:
        """Returns (row, measure) -> what `compare` says of it, and `clips` as clips_low, ...; n = 0 without a run."""
        rows, measures = [row.label for row in self.table.rows], self.table.measures
        lower = {measure.name: measure.lower_is_better for measure in measures}
        margins = {measure.name: self.table.margin(measure) for measure in measures}
        chosen: dict[str, Any] = {"rows": rows, "metrics": list(lower), "lower": lower, "margins": margins}
        lines = compare(self.frame, self.table.baseline, within=(), **chosen)
        by_cell: dict[tuple[str, str], dict[str, Any]] = lines.set_index(["label", "metric"]).to_dict("index")
        for cell, line in by_cell.items():
            clips = self.clips.get(cell, OverClips(math.nan, math.nan, math.nan))
            line |= {f"clips_{name}": value for name, value in clips._asdict().items()}
        return by_cell

    @cached_property
    def values(self) -> dict[tuple[str, str], list[float]]:
        """Returns (row, measure) -> its values by seed and fold; absent without a run."""
        groups = self.frame.sort_values(list(REPEAT), kind="stable").groupby(["label", "metric"], sort=False)["value"]
        return {key: values.tolist() for key, values in groups}

    @cached_property
    def train_mean(self) -> float:
        """Returns the test MAE of predicting the train mean, of folds the mean over them.

        NaN if it is not known, or not the same for all runs (of a fold).
        """
        return self._same(self.frame, "train_mean_mae")

    @staticmethod
    def _same(lines: pd.DataFrame, column: str) -> float:
        """Returns the mean over folds of a column that is the same for all runs of a fold; NaN where it is not."""
        known = lines[["fold", column]].drop_duplicates()
        ambiguous = known.empty or known["fold"].duplicated().any()
        return math.nan if ambiguous else float(known[column].mean(skipna=False))

    def reference(self, measure: Measure) -> float:
        """Returns the measure of a constant prediction, the train mean or frequencies; NaN where that is not known."""
        if (measure.metric, measure.split) == ("mae", "test") and not math.isnan(self.train_mean):
            return self.train_mean
        return self._same(self.frame[self.frame["metric"] == measure.name], "train_guess")

    def other_features(self, row: str, published: Published) -> bool:
        """Returns whether any of the row's runs was on other features than the published numbers."""
        used = self.frame.loc[self.frame["label"] == row, ["feature_set", "modalities"]].drop_duplicates()
        # result.json names them as DATA/FEATURES.
        return not all(
            published.features in (features, features.partition("/")[2])
            and (not published.modalities or set(published.modalities) == set(names.split("+")))
            for features, names in used.itertuples(index=False)
        )

    @cached_property
    def costs(self) -> pd.DataFrame:
        """Returns parameters, trained_parameters, seconds (median) and selected_by of each row with finished runs."""
        runs = self.frame.drop_duplicates(["label", *REPEAT]).groupby("label", sort=False)
        columns = {"parameters": "max", "trained_parameters": "max", "seconds": "median", "selected_by": _joined}
        labels = [row.label for row in self.table.rows if row.label in runs.groups]
        return runs.agg(columns).loc[labels].dropna(subset=["seconds"])

    def bar(self, row: str, group: str) -> Spread:
        """Returns the spread over seeds of each run's mean over the group's measures."""
        parts = [self.values.get((row, name), []) for name in self.table.bars[group]]
        return Spread.of([statistics.fmean(of_run) for of_run in zip(*parts, strict=True)])

    def bar_bounds(self, group: str) -> Bounds | None:
        """Returns the mean bounds of the group's measures, or None if none are known."""
        known = [self.bounds[name] for name in self.table.bars[group] if name in self.bounds]
        if not known:
            return None
        return Bounds(statistics.fmean(b.chance for b in known), statistics.fmean(b.bayes for b in known))


def repeats_of(parts: Sequence[Measured]) -> int:
    """Returns the largest number of repeats (seeds, or folds times seeds) of any part."""
    return max(part.repeats for part in parts)


def is_complete(parts: Sequence[Measured]) -> bool:
    """Returns whether every cell has all seeds and folds, in the parts that have any."""
    shown = [part for part in parts if not (part.empty and part.lacking)]
    return {line["n"] for part in shown for line in part.compared.values()} == {repeats_of(parts)}


def _joined(rules: pd.Series) -> str:
    """Returns the different rules; more than one where runs of version 0.1.0 stand beside later ones."""
    return ", ".join(dict.fromkeys(rules.dropna()))


def collect(table: Table, runs: Sequence[Planned], failures: Mapping[str, str] | None = None) -> Measured:
    """Returns what the runs measured that are finished, probed and evaluated. failures: name of a run -> its error.

    Raises ValueError if runs of one table were made on different data, and for a measure that they do not have. In a
    table of data sets, a measure of a subset whose modalities the data lack is left out.
    """
    ready = [(run, run.result()) for run in runs if run.status == "done" and not missing(run)]
    has = {name for _, result in ready for name in result["modalities"]}
    lost = [m for m in table.measures if table.data and ready and m.subset and not set(m.subset.split("+")) <= has]
    table = replace(table, measures=tuple(measure for measure in table.measures if measure not in lost))
    lines: list[dict[str, Any]] = []
    # Row -> seed -> run.
    records: dict[str, dict[int, Record]] = {}
    for run, result in ready:
        # reading a config takes longer than all else, and only results of version 0.1.0 need it (selected_by)
        config = {} if "selection" in result else run.directory.config()
        record = Record(run.directory.path, config, result, run.directory.record(), run.row.label)
        records.setdefault(run.row.label, {})[run.seed] = record
        facts = run_facts(record)
        for m in table.measures:
            guess = math.nan if m.probe else guess_value(result, m.split, m.metric)
            lines.append({**facts, "metric": m.name, "value": _value(m, run, record), "train_guess": guess})
    bounds = _bounds(table, [run for run, _ in ready])
    firsts = {run.row.label: run for run, _ in reversed(ready)}
    text = {
        row.label: text_of(firsts[row.label].directory.config())
        for row in table.rows
        if row.label in firsts and row.cells
    }
    lost_names = tuple(measure.name for measure in lost)
    audit = audit_of([run for run, _ in ready], table.measures) if table.audit else ()
    unrun = _unrun(table, runs, list(firsts), failures or {})
    clips = {} if table.folds else _over_clips(table, records)
    return Measured(table, as_frame(lines), bounds, lost_names, runs, audit, text, unrun, clips)


def _over_clips(table: Table, records: Mapping[str, Mapping[int, Record]]) -> dict[tuple[str, str], OverClips]:
    """Returns (row, measure) -> what seeds and clips say of its difference from the baseline.

    Runs of folds have none, as each fold tests other clips, and neither have probes, subsets and erased clips.
    """
    baseline = records.get(table.baseline, {})
    return {
        (label, m.name): over_clips(runs, baseline, m.split, m.metric)
        for label, runs in records.items()
        if baseline and label != table.baseline
        for m in table.measures
        if m.metric and m.of_whole_clips
    }


def text_of(config: Mapping[str, Any]) -> str:
    """Returns how a run read text: "trained" through a BERT-base that was, "frozen" for states of one that was not.

    The latter are also the text features of MMSA's files. "" for any other model, or random weights.
    """
    encoder = (config.get("encoders") or {}).get("text") or config["encoder"]
    if not str(encoder["_target_"]).startswith("trivium.encoders.pretrained."):
        return "frozen"
    if Path(encoder["model"]).name not in _BERT or encoder.get("random_init"):
        return ""
    return "trained" if encoder.get("finetune") else "frozen"


def _unrun(
    table: Table, runs: Sequence[Planned], measured: Sequence[str], failures: Mapping[str, str]
) -> dict[str, str]:
    """Returns row -> why it has no value, in a few words."""
    reasons: dict[str, str] = {}
    for run in runs:
        if run.row.label not in measured:
            why = run.lacking or failures.get(run.name) or "not yet"
            reasons.setdefault(run.row.label, " ".join(why.split()).partition(";")[0])
    return reasons


def _value(measure: Measure, run: Planned, record: Record) -> float:
    """Returns a run's value; NaN for null, as JSON has no NaN (Corr of a constant prediction is not defined)."""
    if measure.probe:
        value = read_probes(run, measure.probe)[measure.of]["test"]["balanced_accuracy"]
        return math.nan if value is None else float(value)
    file, scores = run.directory.result_file, record.result[measure.split]
    if measure.subset:
        file, subsets = subsets_file(run), read_subsets(run)
        if frozenset(measure.subset.split("+")) not in subsets:
            known = ", ".join("+".join(sorted(subset)) for subset in subsets)
            raise ValueError(f"{file}: no subset {measure.subset}, measure {measure.name!r}; there are {known}")
        scores = subsets[frozenset(measure.subset.split("+"))]
    if measure.erased:
        file, scores = erased_file(run), read_erased(run)[measure.erased]
    if measure.metric in scores:
        value = scores[measure.metric]
        return math.nan if value is None else float(value)
    value = None if not measure.of_whole_clips else predicted_value(record, measure.split, measure.metric)
    if value is None:
        raise ValueError(f"{file}: no {measure.split} metric {measure.metric!r}; there are {', '.join(scores)}")
    return value


def _bounds(table: Table, runs: Sequence[Planned]) -> dict[str, Bounds]:
    """Returns what the runs' store says is knowable; nothing before a run is finished."""
    if not runs:
        return {}
    # A row that names its own features says so in its label.
    common = [run for run in runs if not any(word.startswith("data.features=") for word in run.row.overrides)]
    stores = {run.result()["store_checksum"]: run for run in common}
    if len(stores) > 1:
        paths = ", ".join(str(run.directory.path) for run in stores.values())
        raise ValueError(
            f"table {table.name}: the runs of a table need one store, and these differ in theirs: {paths}; bring the "
            "store back that is to count, or move the runs of the other away"
        )
    known = [measure for measure in table.measures if measure.factor]
    if not known:
        return {}
    store = open_store(Path(runs[0].directory.model()["store"]))
    store.refuse_other_than(runs[0].result()["store_checksum"], runs[0].directory.path)
    factors = knowable_of(store)["factors"]
    bounds = {}
    for measure in known:
        if measure.factor not in factors or measure.modalities not in factors[measure.factor]["from"]:
            raise ValueError(
                f"table {table.name}, measure {measure.name!r}: {store.path} knows no factor {measure.factor!r} from "
                f"{measure.modalities!r}; its factors are {', '.join(factors)}"
            )
        factor = factors[measure.factor]
        bounds[measure.name] = Bounds(1 / factor["levels"], float(factor["from"][measure.modalities]["accuracy"]))
    return bounds
