"""Compares methods, or any other rows, over their seeds: means, and whether differences are more than chance.

Of data with folds, whatever is said of a seed here is said of a fold and a seed: n is the number of these pairs.
Legend: n seeds. A row is what is compared, such as a label; a score is one run's value of one metric.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from trivium.evaluation.significance import (
    Paired,
    corrected,
    equivalence_test,
    holm,
    is_told,
    paired_by_seed,
    seed_interval,
    smallest_difference,
    verdict,
)
from trivium.results.score_text import kind_of
from trivium.results.spread import Spread

# (row, metric) -> (fold, seed) -> value. The fold is -1 for data without folds.
Scores = Mapping[tuple[str, str], Mapping[tuple[int, int], float]]
# (row, metric) -> difference and its corrected p.
Tested = dict[tuple[str, str], tuple[Paired, float]]
# The difference below which two rows count as the same: .02 MAE, and one point of accuracy, F1 and other shares.
MARGIN_MAE = 0.02
MARGIN_SHARE = 0.01
_NOT_COMPARED: Mapping[str, Any] = {"margin": math.nan, "p_same": math.nan, "smallest": math.nan, "verdict": ""}
_INTEGERS = ("n", "difference_n", "best_n")


def compare(
    frame: pd.DataFrame,
    baseline: str = "",
    by: str = "label",
    *,
    within: Sequence[str] | None = None,
    rows: Sequence[str] | None = None,
    metrics: Sequence[str] | None = None,
    lower: Mapping[str, bool | None] | None = None,
    margins: Mapping[str, float | None] | None = None,
) -> pd.DataFrame:
    """Returns a line for each row and metric, within each data set, split and situation of a table.

    frame: a line for each run and metric, with the columns `by`, metric, seed and value, and fold where the data have
    folds, as trivium.results returns it.
    baseline: the row that the others are compared with; "" for none.
    within: columns whose values are never mixed; None for feature_set and split, and situation where there are any.
    rows, metrics: which, in their order; those without a run get a line with n = 0. Otherwise all, as they come.
    lower: metric -> whether lower is better, None where that is not known; otherwise known from the metric's name.
    margins: metric -> the difference below which two rows count as the same, in the metric's unit; otherwise MARGIN_MAE
    for MAE, MARGIN_SHARE for metrics in [0, 1], and none for others.

    mean, std (n - 1), n, mean_low, mean_high (95 % bootstrap interval of the mean): over seeds, NaN if a value is.
    difference, difference_std, difference_n, low, high (its interval), p (paired t test), p_holm, p_wilcoxon: the row
    minus the baseline over the seeds that both have. p_holm is p corrected (Holm) over the row's metrics.
    margin: that of the metric. p_same: that of the equivalence test within it, corrected likewise. smallest: the
    difference that so many seeds would find with probability .8. verdict: "better", "worse", "same" (within the margin)
    or "not told"; "lower" and "higher" for the first two where it is not known which is better.
    best: whether the mean is the best of its metric. best_difference, best_n, best_low, best_high, p_best: the row
    minus the best row. p_best is corrected over the other rows; where the baseline is the best, it is p_holm, so that
    one question has one answer. tied: not the best, and p_best is not below 0.05; never where no row has two seeds.

    Raises ValueError for a baseline that is no row, and for two values of one row, metric and seed.
    """
    known = list(dict.fromkeys(frame[by] if rows is None else rows))
    if baseline and baseline not in known:
        raise ValueError(f"compare: baseline {baseline!r} is none of the {by}s {', '.join(map(str, known))}")
    if "fold" not in frame:
        frame = frame.assign(fold=None)
    if within is None:
        has_situations = "situation" in frame and frame["situation"].fillna("").ne("").any()
        within = ("feature_set", *["situation"] * bool(has_situations), "split")
    _refuse_doubles(frame, [*within, by, "metric", "seed", *["fold"] * bool(frame["fold"].notna().any())])
    parts = frame.groupby(list(within), sort=False, dropna=False) if within else [((), frame)]
    lines = []
    for names, part in parts:
        place = dict(zip(within, names, strict=True))
        part_rows = list(dict.fromkeys(part[by])) if rows is None else rows
        part_metrics = list(dict.fromkeys(part["metric"])) if metrics is None else metrics
        scores: dict[tuple[str, str], dict[tuple[int, int], float]]
        scores = {(row, metric): {} for row in part_rows for metric in part_metrics}
        columns = (part[name] for name in (by, "metric", "fold", "seed", "value"))
        for row, metric, fold, seed, value in zip(*columns, strict=True):
            if (row, metric) in scores:
                scores[row, metric][-1 if pd.isna(fold) else int(fold), int(seed)] = float(value)
        directions = {metric: kind_of(metric).lower if lower is None else lower[metric] for metric in part_metrics}
        known_margins = {metric: (margins or {}).get(metric, margin_of(metric)) for metric in part_metrics}
        tested = _lines(scores, baseline, directions, known_margins)
        lines += [{**place, by: row, "metric": m, **line} for (row, m), line in tested]
    compared = pd.DataFrame(lines)
    return compared.astype({name: "Int64" for name in _INTEGERS if name in compared})


def _refuse_doubles(frame: pd.DataFrame, keys: Sequence[str]) -> None:
    doubles = frame[frame.duplicated(keys)]
    if len(doubles):
        words = ", ".join(f"{key} {doubles.iloc[0][key]}" for key in keys)
        raise ValueError(
            f"compare: two values of {words}; compare by a column that tells these runs apart, or drop one"
        )


def _lines(
    scores: Scores, baseline: str, directions: Mapping[str, bool | None], margins: Mapping[str, float | None]
) -> list[tuple[tuple[str, str], dict[str, Any]]]:
    """Returns the columns of `compare` for each row and metric of one data set."""
    rows = list(dict.fromkeys(row for row, _ in scores))
    spreads = {key: Spread.of(list(seeds.values())) for key, seeds in scores.items()}
    from_baseline: Tested = {}
    for row in rows if baseline else ():
        if row != baseline:
            pairs = {m: paired_by_seed(scores[row, m], scores.get((baseline, m), {})) for m in directions}
            from_baseline |= {(row, metric): tested for metric, tested in _tested(pairs).items()}
    same = _equivalence(scores, baseline, from_baseline, directions, margins)
    from_best: Tested = {}
    best: dict[str, float] = {}
    # The metrics of which a row has two seeds.
    several = set()
    for metric, lower in directions.items():
        means = {row: spreads[row, metric].mean for row in rows if not math.isnan(spreads[row, metric].mean)}
        if lower is None or len(means) < 2:
            continue
        first = (min if lower else max)(means, key=lambda row: means[row])
        best[metric] = means[first]
        if any(spreads[row, metric].n > 1 for row in means):
            several.add(metric)
        if first == baseline:
            from_best |= {key: tested for key, tested in from_baseline.items() if key[1] == metric}
        else:
            pairs = {row: paired_by_seed(scores[row, metric], scores[first, metric]) for row in means if row != first}
            from_best |= {(row, metric): tested for row, tested in _tested(pairs).items()}
    lines = []
    for key, spread in spreads.items():
        low, high = seed_interval(list(scores[key].values()))
        line: dict[str, Any] = {
            "mean": spread.mean,
            "std": spread.std,
            "n": spread.n,
            "mean_low": low,
            "mean_high": high,
        }
        line |= _difference(from_baseline.get(key))
        line |= same.get(key, dict(_NOT_COMPARED))
        to_best, p_best = from_best.get(key, (None, math.nan))
        is_best = spread.mean == best.get(key[1])
        tied = key[1] in several and not is_best and not math.isnan(spread.mean) and not is_told(p_best)
        line |= {"best": is_best, "tied": tied, "p_best": p_best}
        for name, attribute in (("best_difference", "mean"), ("best_low", "low"), ("best_high", "high")):
            line[name] = math.nan if to_best is None else getattr(to_best, attribute)
        line["best_n"] = None if to_best is None else to_best.n
        lines.append((key, line))
    return lines


def margin_of(metric: str) -> float | None:
    """Returns the difference below which two rows count as the same in a metric, or None where none is usual."""
    kind = kind_of(metric)
    if kind.share:
        return MARGIN_SHARE
    return MARGIN_MAE if metric.lower().startswith("mae") else None


def _equivalence(
    scores: Scores,
    baseline: str,
    tested: Tested,
    directions: Mapping[str, bool | None],
    margins: Mapping[str, float | None],
) -> dict[tuple[str, str], dict[str, Any]]:
    """Returns (row, metric) -> the columns margin, p_same, smallest and verdict of each tested difference."""
    columns: dict[tuple[str, str], dict[str, Any]] = {}
    for row in dict.fromkeys(row for row, _ in tested):
        metrics = [metric for other, metric in tested if other == row]
        p_values = []
        for metric in metrics:
            values, others = scores[row, metric], scores[baseline, metric]
            differences = [values[seed] - others[seed] for seed in values if seed in others]
            margin = margins.get(metric)
            p_values.append(math.nan if margin is None else equivalence_test(differences, margin))
        for metric, p_same in zip(metrics, holm(p_values), strict=True):
            pair, p_holm = tested[row, metric]
            margin = margins.get(metric)
            columns[row, metric] = {
                "margin": math.nan if margin is None else margin,
                "p_same": p_same,
                "smallest": smallest_difference(pair.std, pair.n),
                "verdict": verdict(pair.mean, p_holm, p_same, directions[metric]),
            }
    return columns


def _tested(pairs: Mapping[str, Paired | None]) -> dict[str, tuple[Paired, float]]:
    """Returns each difference that exists with its p, corrected (Holm) over all of them."""
    p_values = corrected(pairs)
    return {name: (pair, p_values[name]) for name, pair in pairs.items() if pair is not None}


def _difference(tested: tuple[Paired, float] | None) -> dict[str, Any]:
    """Returns the columns of a difference from the baseline."""
    if tested is None:
        names = ("difference", "difference_std", "p", "p_holm", "p_wilcoxon", "low", "high")
        return {**dict.fromkeys(names, math.nan), "difference_n": None}
    pair, p_holm = tested
    tests = {"p": pair.t_p, "p_holm": p_holm, "p_wilcoxon": pair.wilcoxon_p, "low": pair.low, "high": pair.high}
    return {"difference": pair.mean, "difference_std": pair.std, "difference_n": pair.n, **tests}
