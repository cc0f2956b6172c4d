"""Computes intervals and powers that carry both seeds and clips from the predictions that finished runs keep."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from trivium.evaluation.clip_statistics import Array, Metric, clip_statistics, value_of
from trivium.evaluation.significance import OverClips, over_seeds_and_clips
from trivium.results.records import PREDICTIONS, Predicted, Record

_UNKNOWN = OverClips(math.nan, math.nan, math.nan)
# Part of result.json -> the split's name in predictions.csv.
_SPLITS = {"val": "valid", "test": "test"}


def predicted_value(record: Record, split: str, metric: str) -> float | None:
    """Returns a metric of a split from the run's predictions; None without them, and for one not made of clips."""
    if not (record.path / PREDICTIONS).is_file() or _SPLITS[split] not in record.predictions:
        return None
    predicted = record.predictions[_SPLITS[split]]
    return value_of(record.protocol, metric, predicted.prediction, predicted.target)


def over_clips(runs: Mapping[int, Record], baseline: Mapping[int, Record], split: str, metric: str) -> OverClips:
    """Returns what common seeds and clips together say of a row minus the baseline: the 95 % interval, and the rest.

    runs, baseline: seed -> run. NaN for a metric that is not made of single clips, without a common seed or the runs'
    predictions, and where runs predicted different clips.
    """
    seeds = sorted(set(runs) & set(baseline))
    parts, metric_of = [], None
    clips: list[str] = []
    if not all((part[seed].path / PREDICTIONS).is_file() for part in (runs, baseline) for seed in seeds):
        return _UNKNOWN
    for records in (runs, baseline):
        of_seeds = []
        for seed in seeds:
            predicted = records[seed].predictions.get(_SPLITS[split])
            statistics = None if predicted is None else _statistics(records[seed].protocol, metric, predicted)
            if predicted is None or statistics is None or (clips and predicted.ids != clips):
                return _UNKNOWN
            clips, metric_of = predicted.ids, statistics[1]
            of_seeds.append(statistics[0])
        parts.append(of_seeds)
    if metric_of is None:
        return _UNKNOWN
    return over_seeds_and_clips([np.stack(of_seeds) for of_seeds in parts], metric_of)


def _statistics(protocol: str, metric: str, predicted: Predicted) -> tuple[Array, Metric] | None:
    return clip_statistics(protocol, metric, predicted.prediction, predicted.target)
