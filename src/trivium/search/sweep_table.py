"""Summarises a grid from the frame of its finished runs: means over seeds, and folds, for each varied combination."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

from trivium.core.files import write_text
from trivium.core.metric_names import LABELS, LOSSES, OF, is_share, label_of, metric_text
from trivium.core.wording import brief, command, counted
from trivium.results.comparison import compare
from trivium.results.frame import REPEAT, as_frame, record_lines
from trivium.results.records import read_record
from trivium.search.scheduler import Job
from trivium.search.titles import short_names

FILE = "summary.csv"
# A pipe has no width; a table that is cut at 80 signs would be hard to read there.
_WIDTH_OF_A_FILE = 250


def print_sweep_table(folder: Path, jobs: Sequence[Job]) -> None:
    """Writes summary.csv into a grid's folder and prints it, with what to type next; nothing if no run is finished."""
    summary = summarise(jobs)
    if summary.empty:
        return
    write_text(folder / FILE, summary.to_csv(index=False, lineterminator="\n"))
    console = Console(highlight=False, width=None if sys.stdout.isatty() else _WIDTH_OF_A_FILE)
    print(f"\ntest split{_repeats(summary)}; {FILE} has all digits")
    for table in _fitting(summary, console):
        console.print(table)
    print(f"a page of these runs:  {command('report', folder)}")
    print(f"a table for a paper:   {command('reproduce', f'runs={folder}')}", flush=True)


def _repeats(summary: pd.DataFrame) -> str:
    """Returns what the means are over; "" where every combination has one run."""
    if summary["n"].max() == 1:
        return ""
    seeds, folds = (summary[name].str.split() if name in summary else pd.Series() for name in ("seeds", "folds"))
    if not len(folds):
        return ", mean ± standard deviation over seeds"
    most = counted(len(set(folds.sum())), "fold"), counted(len(set(seeds.sum())), "seed")
    return f", mean ± standard deviation over {' x '.join(most)}"


def summarise(jobs: Sequence[Job]) -> pd.DataFrame:
    """Returns a line for each combination of what was varied, seed and fold excepted, that has a finished run.

    Its columns are the varied keys; n, the seeds, the folds if there are any, and the epoch that was tested of each
    run; METRIC and METRIC_std of the test split, shares in [0, 1]. METRIC_std is there if a combination has two runs.
    Damaged runs are named on stderr.
    """
    settings: list[dict[str, str]] = []
    lines = []
    for job in jobs:
        combination = {key: word for key, word in job.varied.items() if key not in ("seed", "data.fold")}
        if combination not in settings:
            settings.append(combination)
        if job.run.finished:
            try:
                record = read_record(job.run.path)
            except ValueError as error:
                print(f"left out of {FILE}: {error}", file=sys.stderr)
                continue
            lines += [{**line, "label": settings.index(combination)} for line in record_lines(record)]
    frame = as_frame(lines)
    frame = frame[(frame["split"] == "test") & ~frame["metric"].isin(LOSSES)]
    # One seed that was asked for twice counts once.
    frame = frame.drop_duplicates(["label", "metric", *REPEAT], keep="last").sort_values(["label", *REPEAT])
    if frame.empty:
        return pd.DataFrame()
    compared = compare(frame, within=()).set_index(["metric", "label"])
    scores = {}
    # Metrics of one's own come behind those of the protocol.
    for metric in dict.fromkeys([*LABELS, *frame["metric"]]):
        if metric not in compared.index:
            continue
        scores[metric] = compared.loc[metric, "mean"]
        scores[f"{metric}_std"] = compared.loc[metric, "std"]
    by_setting = frame.drop_duplicates(["label", *REPEAT]).groupby("label")
    facts = by_setting.agg(
        n=("seed", "size"), seeds=("seed", _each), folds=("fold", _each), epochs=("best_epoch", _joined)
    )
    if frame["fold"].isna().all():
        facts = facts.drop(columns="folds")
    summary = pd.concat([facts, pd.DataFrame(scores)], axis=1)
    if facts["n"].max() == 1:
        summary = summary.drop(columns=[name for name in scores if name.endswith("_std")])
    keys = list(dict.fromkeys(key for combination in settings for key in combination))
    words_of = pd.DataFrame([settings[row] for row in summary.index], summary.index, keys)
    return pd.concat([words_of, summary], axis=1)


def _each(numbers: pd.Series) -> str:
    return _joined(numbers.dropna().drop_duplicates())


def _joined(numbers: pd.Series) -> str:
    return " ".join(map(str, numbers))


def _fitting(summary: pd.DataFrame, console: Console) -> list[Table]:
    """Returns the summary as few tables as the console's width allows, each with some of the metrics."""
    columns = [str(name) for name in summary.columns[summary.columns.get_loc("epochs") + 1 :]]
    metrics = [name for name in columns if not (name.endswith("_std") and name.removesuffix("_std") in columns)]
    # Those of each class, label or score are in the file alone.
    metrics = [name for name in metrics if OF not in name]
    # A measurement is never more than the width that it may have.
    unbounded = console.options.update(width=10_000)
    for most in range(len(metrics), 0, -1):
        tables = [_table(summary, metrics[at : at + most]) for at in range(0, len(metrics), most)]
        if all(Measurement.get(console, unbounded, table).maximum <= console.width for table in tables):
            break
    return tables


def _table(summary: pd.DataFrame, metrics: Sequence[str]) -> Table:
    keys = [str(name) for name in summary.columns[: summary.columns.get_loc("n")]]
    table = Table(*short_names(keys).values())
    heads = [f"{label_of(metric)}{', %' * is_share(metric)}" for metric in metrics]
    for head in ("n", "epoch", *heads):
        table.add_column(head, justify="right")
    for line in summary.to_dict("records"):
        words = ["-" if pd.isna(line[key]) else brief(line[key]) for key in keys]
        cells = [_cell(metric, line[metric], line.get(f"{metric}_std", math.nan)) for metric in metrics]
        table.add_row(*words, str(line["n"]), line["epochs"].replace(" ", ", "), *cells)
    return table


def _cell(metric: str, mean: float, std: float) -> str:
    text = metric_text(mean, is_share(metric))
    return text if math.isnan(std) else f"{text} ± {metric_text(std, is_share(metric))}"
