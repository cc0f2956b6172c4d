"""What finished runs measured, and its mean and spread over seeds. Legend: n seeds."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from trivium.data.knowable import knowable_of
from trivium.data.store import open_store
from trivium.evaluation.significance import Paired, corrected, paired_by_seed, seed_interval
from trivium.reports.spread import Spread
from trivium.tables.definition import Measure, Table
from trivium.tables.evaluations import missing, read_probes, read_subsets, subsets_file
from trivium.tables.plan import Planned
from trivium.tables.published import Published


@dataclass(frozen=True)
class Bounds:
    """Of one measure's accuracy: guessing, and the most that any classifier reaches."""

    chance: float
    bayes: float


@dataclass(frozen=True)
class Cost:
    """What a row's runs take. parameters: of the model; 0 if not known. seconds: of training, a run.

    trained: parameters without the frozen ones; None if not known. selected: the rules by which the tested epoch was
    chosen, such as "lowest val/loss"; more than one where runs of version 0.1.0 stand beside later ones.
    """

    parameters: int
    seconds: tuple[float, ...]
    trained: int | None = None
    selected: tuple[str, ...] = ()


@dataclass(frozen=True)
class Measured:
    """values: row label -> measure -> seed -> value, NaN where it is not defined. bounds: measure -> bounds.

    used: row label -> feature sets, as result.json names them, and modalities of its runs. without: measures that are
    not here because the data lack a modality. places: row label -> seed -> the run's directory. costs: of each row.
    train_mean: test MAE of predicting the train mean for every clip; NaN if not known.
    """

    table: Table
    values: Mapping[str, Mapping[str, Mapping[int, float]]]
    bounds: Mapping[str, Bounds]
    used: Mapping[str, Sequence[tuple[str, tuple[str, ...]]]] = field(default_factory=dict)
    without: tuple[str, ...] = ()
    places: Mapping[str, Mapping[int, Path]] = field(default_factory=dict)
    costs: Mapping[str, Cost] = field(default_factory=dict)
    train_mean: float = math.nan

    def spread(self, row: str, measure: str) -> Spread:
        return Spread.of(list(self.values[row][measure].values()))

    def reference(self, measure: Measure) -> float:
        """What predicting the train mean for every clip gives, whatever is known of it; NaN where that says nothing."""
        return self.train_mean if measure.metric == "mae" else math.nan

    def interval(self, row: str, measure: str) -> tuple[float, float]:
        """95 % bootstrap interval of the mean over seeds; NaN for fewer than two of them, and if one is NaN."""
        return seed_interval(list(self.values[row][measure].values()))

    def other_features(self, row: str, published: Published) -> bool:
        """Whether any of the row's runs was on other features than the published numbers."""
        return not all(published.is_of(features, modalities) for features, modalities in self.used.get(row, ()))

    def difference(self, row: str, measure: str) -> Paired | None:
        """From the baseline, over the seeds that both have; None without a baseline, a common seed or a value."""
        return self._differences.get((row, measure))

    @cached_property
    def _differences(self) -> dict[tuple[str, str], Paired | None]:
        """Kept, as tables and figures ask for each often, and its 10 000 resamples take a few milliseconds."""
        if not self.table.baseline:
            return {}
        baseline = self.values[self.table.baseline]
        return {
            (row, measure): paired_by_seed(seeds, baseline[measure])
            for row, measures in self.values.items()
            if row != self.table.baseline
            for measure, seeds in measures.items()
        }

    def corrected(self, row: str) -> dict[str, float]:
        """Measure -> p of the paired t test, corrected (Holm) over the row's measures; NaN where there is none."""
        return corrected({measure.name: self.difference(row, measure.name) for measure in self.table.measures})

    def bar(self, row: str, group: str) -> Spread:
        """Over seeds, of the mean over the group's measures in each run."""
        parts = [self.values[row][name] for name in self.table.bars[group]]
        return Spread.of([statistics.fmean(part[seed] for part in parts) for seed in parts[0]])

    def bar_bounds(self, group: str) -> Bounds | None:
        found = [self.bounds[name] for name in self.table.bars[group] if name in self.bounds]
        return (
            Bounds(statistics.fmean(b.chance for b in found), statistics.fmean(b.bayes for b in found))
            if found
            else None
        )


def collect(table: Table, runs: Sequence[Planned]) -> Measured:
    """Of the runs that are finished, probed and evaluated.

    Raises ValueError if runs of one table were made on different data, and for a measure that they do not have; in a
    table of data sets one of a subset whose modalities the data lack is left out.
    """
    ready = [(run, run.result()) for run in runs if run.status == "done" and not missing(run)]
    has = {name for _, result in ready for name in result["modalities"]}
    lost = [m for m in table.measures if table.data and ready and m.subset and not set(m.subset.split("+")) <= has]
    table = replace(table, measures=tuple(measure for measure in table.measures if measure not in lost))
    values: dict[str, dict[str, dict[int, float]]] = {
        row.label: {measure.name: {} for measure in table.measures} for row in table.rows
    }
    used: dict[str, list[tuple[str, tuple[str, ...]]]] = {}
    for run, result in ready:
        used.setdefault(run.row.label, []).append((str(result["feature_set"]), tuple(result["modalities"])))
        for measure in table.measures:
            values[run.row.label][measure.name][run.seed] = _value(measure, run, result)
    places = {row.label: {run.seed: run.directory.path for run, _ in ready if run.row == row} for row in table.rows}
    costs = {row.label: _cost([pair for pair in ready if pair[0].row == row]) for row in table.rows}
    bounds = _bounds(table, [run for run, _ in ready])
    means = {float(result.get("train_mean_mae", {}).get("test", math.nan)) for _, result in ready}
    train_mean = means.pop() if len(means) == 1 else math.nan
    return Measured(table, values, bounds, used, tuple(m.name for m in lost), places, costs, train_mean)


def _cost(ready: Sequence[tuple[Planned, Mapping[str, Any]]]) -> Cost:
    results = [result for _, result in ready]
    parameters = max((int(result.get("parameters", 0)) for result in results), default=0)
    trained = [int(result["trained_parameters"]) for result in results if "trained_parameters" in result]
    seconds = tuple(float(result["seconds"]) for result in results)
    selected = tuple(dict.fromkeys(_selected(run, result) for run, result in ready))
    return Cost(parameters, seconds, max(trained, default=None), selected)


def _selected(run: Planned, result: Mapping[str, Any]) -> str:
    """By which rule a run's tested epoch was chosen; results of version 0.1.0 do not say it."""
    if "selection" in result:
        return str(result["selection"]["rule"])
    last = run.directory.config()["trainer"].get("select") == "last"
    return "last epoch" if last else "lowest val/loss"


def _value(measure: Measure, run: Planned, result: Mapping[str, Any]) -> float:
    if measure.probe:
        return _number(read_probes(run, measure.probe)[measure.of]["test"]["balanced_accuracy"])
    file, scores = run.directory.result_file, result["test"]
    if measure.subset:
        file, subsets = subsets_file(run), read_subsets(run)
        if frozenset(measure.subset.split("+")) not in subsets:
            known = ", ".join("+".join(sorted(subset)) for subset in subsets)
            raise ValueError(f"{file}: no subset {measure.subset}, measure {measure.name!r}; there are {known}")
        scores = subsets[frozenset(measure.subset.split("+"))]
    if measure.metric not in scores:
        raise ValueError(f"{file}: no test metric {measure.metric!r}; there are {', '.join(scores)}")
    return _number(scores[measure.metric])


def _number(value: float | None) -> float:
    """JSON has no NaN: what is not defined, as Corr of a constant prediction, is null there."""
    return math.nan if value is None else float(value)


def _bounds(table: Table, runs: Sequence[Planned]) -> dict[str, Bounds]:
    """From the store that the runs were made on; nothing before a run is finished."""
    if not runs:
        return {}
    stores = {run.result()["store_checksum"]: run for run in runs}
    if len(stores) > 1:
        paths = ", ".join(str(run.directory.path) for run in stores.values())
        raise ValueError(
            f"table {table.name}: the runs of a table need one store, and these differ in theirs: {paths}; bring the "
            "store back that is to count, or move the runs of the other away"
        )
    known = [measure for measure in table.measures if measure.factor]
    if not known:
        return {}
    store = open_store(_store_of(runs[0]))
    store.refuse_other_than(runs[0].result()["store_checksum"], runs[0].directory.path)
    factors = knowable_of(store)["factors"]
    found = {}
    for measure in known:
        if measure.factor not in factors or measure.given not in factors[measure.factor]["from"]:
            raise ValueError(
                f"table {table.name}, measure {measure.name!r}: {store.path} knows no factor {measure.factor!r} from "
                f"{measure.given!r}; its factors are {', '.join(factors)}"
            )
        factor = factors[measure.factor]
        found[measure.name] = Bounds(1 / factor["levels"], float(factor["from"][measure.given]["accuracy"]))
    return found


def _store_of(run: Planned) -> Path:
    return Path(run.directory.model()["store"])
