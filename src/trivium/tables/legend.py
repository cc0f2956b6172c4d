"""Says in sentences what a written table's cells are."""

from __future__ import annotations

import math
from collections.abc import Sequence

from trivium.core.metric_names import guess_name
from trivium.evaluation.significance import LEVEL
from trivium.tables.blocks import INTERVAL, OTHER_FEATURES, TIED, UNDEFINED
from trivium.tables.collect import Measured


def legend(parts: Sequence[Measured], seeds: int, complete: bool) -> list[str]:
    """Returns the sentences, each about something that occurs in the parts."""
    tables, cells = [part.table for part in parts], [line for part in parts for line in part.compared.values()]
    measures = list(dict.fromkeys(measure for table in tables for measure in table.measures))
    shares = [measure.is_share for measure in measures]
    unit = ", %," if all(shares) else "; shares in %;" if any(shares) else ","
    each = f"n = {seeds} seeds" if complete else f"n of {seeds} seeds in brackets"
    numbers = f"mean ± standard deviation over seeds (n - 1), {each}" if seeds > 1 else "one seed"
    lines = [f"Test split{unit} {numbers}."]
    if any(line["best"] for line in cells):
        tied = f"; {TIED}: not told apart from it: p of the paired t test, corrected (Holm) over the other rows"
        over = ", or over the row's measures where the baseline is the best" if tables[0].baseline else ""
        lines.append(f"Bold: the best{f'{tied}{over}, is {LEVEL:g} or more' if seeds > 1 else ''}.")
    if seeds > 1:
        lines.append(f"{INTERVAL}: of the mean, percentile bootstrap over seeds; too narrow for few of them.")
    referred = [m.metric for part in parts for m in part.table.measures if not math.isnan(part.reference(m))]
    for name in dict.fromkeys(guess_name([metric]) for metric in referred):
        of = (
            "MAE of predicting it"
            if name == "train mean"
            else "predicting the train split's share of each class or label"
        )
        lines.append(f"{name}: {of} for every clip.")
    if any(line["n"] and math.isnan(line["mean"]) for line in cells):
        lines.append(f"{UNDEFINED}: in one of the runs at least, as Corr is of predictions that are all the same.")
    if probed := [measure.name for measure in measures if measure.probe]:
        which = "All are" if len(probed) == len(measures) else f"{', '.join(probed)}:"
        lines.append(f"{which} balanced accuracies of linear probes on frozen vectors; docs/protocol.md.")
    if any(table.asks_subsets for table in tables):
        lines.append("One set of weights a run, predicting from the modalities named; docs/protocol.md.")
    if tables[0].baseline:
        counts = " or ".join(dict.fromkeys(str(len(table.measures)) for table in tables))
        lines.append(_on_differences(tables[0].baseline, counts, seeds))
    if any(
        part.other_features(row.label, numbers)
        for part in parts
        for row in part.table.rows
        for numbers in row.published
    ):
        lines.append(
            f"{OTHER_FEATURES}: our runs were on other features, so the difference says nothing of the method."
        )
    if any(len(part.costs) for part in parts):
        lines.append("Parameters: of the whole model, encoders included; time: median over the runs, testing left out.")
    return lines


def _on_differences(baseline: str, measures: str, seeds: int) -> str:
    """Returns the sentences about differences. measures: the number of measures that a row has."""
    what = f"Differences: a seed's value minus {baseline}'s of the same seed"
    if seeds == 1:
        return f"{what}."
    corrected = f", corrected (Holm) over the row's {measures} measures" if measures != "1" else ""
    return (
        f"{what}, mean ± standard deviation; in brackets p of the paired t test{corrected}, * below {LEVEL:g}. "
        f"table.csv has {'p uncorrected, ' if corrected else ''}Wilcoxon's, and a bootstrap interval."
    )
