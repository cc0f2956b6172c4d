"""Draws metrics over missing rates, a line a setting with the spread of its seeds, from files of `trivium evaluate`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import pandas as pd

from trivium.core.metric_names import LABELS
from trivium.report.album import Album, Picture
from trivium.report.figure_style import COLOURS
from trivium.report.robustness_figures import Scored, draw_rates
from trivium.results.frame import guess_value
from trivium.results.records import Record, by_group

# File of a run -> caption and name of the axis.
OVER_RATES = {
    "rates": ("Metrics when modalities are missing at random", "missing rate"),
    "rates_gcnet": ("Metrics when modalities are missing by GCNet's law", "missing rate"),
    "rates_imder": ("Metrics when modalities are missing by IMDer's law", "missing rate"),
    "erased": ("Metrics when single frames and words are erased", "share of steps erased"),
}


def draw_rate_curves(album: Album, records: Sequence[Record]) -> list[Picture]:
    """Draws a figure for each data set and protocol whose file several runs have.

    A line is the mean over a setting's seeds, its band one standard deviation (n - 1); draws of a run are averaged
    first. A figure has as many settings as there are colours: the first ones.
    """
    pictures = []
    for data in dict.fromkeys(record.data for record in records):
        groups = by_group([record for record in records if record.data == data])
        for name, (caption, axis) in OVER_RATES.items():
            measured = {label: runs for label, runs in _with_file(groups, name).items() if runs}
            if sum(map(len, measured.values())) < 2:
                continue
            shown = dict(list(measured.items())[: len(COLOURS)])
            lines = {label: over_seeds(runs, name) for label, runs in shown.items()}
            left_out = f" The first {len(shown)} of {len(measured)} settings." if len(shown) < len(measured) else ""
            text = f"{caption}, on {data}: mean over seeds with a band of one standard deviation.{left_out}"
            result = next(iter(shown.values()))[0].result
            guesses = {metric: guess_value(result, "test", metric) for metric in LABELS}
            train_mean = {metric: value for metric, value in guesses.items() if not math.isnan(value)}
            pictures.append(draw_rates(album, lines, f"{name}_{data}", train_mean, axis=axis, caption=text))
    return pictures


def over_seeds(runs: Sequence[Record], name: str) -> list[Scored]:
    """Returns a row for each rate and run: "rate", "seed" and the metrics, means over the run's draws."""
    frames = []
    for run in runs:
        frame = pd.read_csv(run.path / f"{name}.csv")
        metrics = [column for column in frame if column in LABELS]
        # a metric that is undefined in one draw has no mean
        means = frame.groupby("rate")[metrics].agg(lambda values: values.mean(skipna=False)).reset_index()
        frames.append(means.assign(seed=run.seed))
    rows: list[Scored] = pd.concat(frames).to_dict("records")
    return rows


def _with_file(groups: Mapping[str, Sequence[Record]], name: str) -> dict[str, list[Record]]:
    return {label: [run for run in runs if (run.path / f"{name}.csv").is_file()] for label, runs in groups.items()}
