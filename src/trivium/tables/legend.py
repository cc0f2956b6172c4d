"""Says in sentences what a written table's cells are."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from trivium.core.metric_names import UNDIRECTED, guess_name
from trivium.core.wording import counted
from trivium.evaluation.significance import LEVEL
from trivium.tables.blocks import INTERVAL, MARGIN, OTHER_FEATURES, OVER_CLIPS, TIED, UNDEFINED
from trivium.tables.collect import Measured
from trivium.tables.pairs import SIGNS, square
from trivium.tables.published_blocks import FLAWED

_ON_SOURCES = (
    "By source: lowest to highest of what is published, never a mean, with the number of sources; authors: their own "
    "paper or repository; re-run: trained anew by others; quoted: a number as another paper prints it; selected on: "
    f"the split that chose their checkpoints. {OTHER_FEATURES}: none of them is known to be on our features. "
    f"{FLAWED}: so many more are left out, as F1 with swapped arguments, corrected since, of a constant prediction, "
    "or doubtful. On our features: of the same file and kind of text, selected on validation.",
    f"Verdict: within, where the {INTERVAL} of our mean meets that range widened by the sources' standard deviations; "
    "else better or worse. published.csv has every number with its source.",
)


def legend(parts: Sequence[Measured], repeats: int, complete: bool) -> list[str]:
    """Returns the sentences, each about something that occurs in the parts.

    repeats: the number of runs of a complete row: its seeds, times its folds if the data have any.
    """
    return [
        *_on_means(parts, repeats, complete),
        *_on_measures(parts),
        *_on_comparisons(parts, repeats),
        *_on_published(parts),
        *_on_runs(parts),
    ]


def _cells(parts: Sequence[Measured]) -> list[Mapping[str, Any]]:
    return [line for part in parts for line in part.compared.values()]


def _kind(parts: Sequence[Measured]) -> str:
    return "runs" if max(part.folds for part in parts) else "seeds"


def _on_means(parts: Sequence[Measured], repeats: int, complete: bool) -> list[str]:
    """Returns the sentences about means, the best of them and their intervals."""
    shares = [measure.is_share for part in parts for measure in part.table.measures]
    unit = ", %," if all(shares) else "; shares in %;" if any(shares) else ","
    folds, kind = max(part.folds for part in parts), _kind(parts)
    over = f"{folds} folds x {counted(max(part.seeds for part in parts), 'seed')}" if folds else "seeds"
    each = f"n = {repeats} {kind}" if complete else f"n of {repeats} {kind} in brackets"
    numbers = f"mean ± standard deviation over {over} (n - 1), {each}" if repeats > 1 else "one seed"
    lines = [f"Test split{unit} {numbers}."]
    if folds:
        lines.append("Folds share train clips, so that their p values and intervals are too sure (docs/protocol.md).")
    if any(line["best"] for line in _cells(parts)):
        tied = f"; {TIED}: not told apart from it: p of the paired t test, corrected (Holm) over the other rows"
        over = ", or over the row's measures where the baseline is the best" if parts[0].table.baseline else ""
        lines.append(f"Bold: the best{f'{tied}{over}, is {LEVEL:g} or more' if repeats > 1 else ''}.")
    if repeats > 1:
        lines.append(f"{INTERVAL}: of the mean, percentile bootstrap over {kind}; too narrow for few of them.")
    return lines


def _on_measures(parts: Sequence[Measured]) -> list[str]:
    """Returns the sentences about what is measured, and how."""
    tables, lines = [part.table for part in parts], []
    measures = list(dict.fromkeys(measure for table in tables for measure in table.measures))
    referred = [m.metric for part in parts for m in part.table.measures if not math.isnan(part.reference(m))]
    for name in dict.fromkeys(guess_name([metric]) for metric in referred):
        what = "MAE of predicting it" if name == "train mean" else "predicting those of each class or label"
        lines.append(f"{name}: {what} for every clip.")
    if of_validation := [measure.name for measure in measures if measure.split == "val"]:
        lines.append(f"{', '.join(of_validation)}: of the validation split, which chose the epoch, so it flatters.")
    if any(measure.metric in UNDIRECTED for measure in measures):
        lines.append("Mean error: of prediction minus target; 0 is best, and the sign tells the way.")
    if any(line["n"] and math.isnan(line["mean"]) for line in _cells(parts)):
        lines.append(f"{UNDEFINED}: in one of the runs at least, as Corr is of predictions that are all the same.")
    if probed := [measure.name for measure in measures if measure.probe]:
        which = "All are" if len(probed) == len(measures) else f"{', '.join(probed)}:"
        lines.append(f"{which} balanced accuracies of linear probes on frozen vectors; docs/protocol.md.")
    if any(table.asks_subsets for table in tables):
        lines.append("One set of weights a run, predicting from the modalities named; docs/protocol.md.")
    if any(table.asks_erased for table in tables):
        lines.append(
            "Frames and words of the test are erased at the rate named, for all runs the same; docs/protocol.md."
        )
    return lines


def _on_comparisons(parts: Sequence[Measured], repeats: int) -> list[str]:
    """Returns the sentences about differences from the baseline, and between the other rows."""
    tables, lines = [part.table for part in parts], []
    if tables[0].baseline:
        counts = " or ".join(dict.fromkeys(str(len(table.measures)) for table in tables))
        lines.append(_on_differences(tables[0].baseline, counts, repeats, max(part.folds for part in parts)))
        lines += _on_verdicts(tables[0].baseline, _cells(parts), _kind(parts))
    if any(square(part)[1] for part in parts):
        lines.append(
            "Against each other: verdicts on a line's row against the row with the column's number, by the same tests, "
            f"corrected (Holm) over these pairs: {SIGNS['better']} better, {SIGNS['worse']} worse, {SIGNS['same']} the "
            f"same, {SIGNS['not told']} not told. pairs.csv has every measure."
        )
    return lines


def _on_published(parts: Sequence[Measured]) -> list[str]:
    """Returns the sentences about published numbers."""
    lines = []
    rows = [(part, row) for part in parts for row in part.table.rows]
    if any(part.other_features(row.label, numbers) for part, row in rows for numbers in row.published):
        lines.append(
            f"{OTHER_FEATURES}: our runs were on other features, so the difference says nothing of the method."
        )
    return [*lines, *(_ON_SOURCES if any(row.cells for _, row in rows) else ())]


def _on_runs(parts: Sequence[Measured]) -> list[str]:
    """Returns the sentences about audits, searches and costs."""
    lines = []
    if any(part.audit for part in parts):
        lines.append(
            "Audit: test metrics of every epoch's weights, made when training was over; one for all: the epoch of the "
            "monitor's best test value; flatters by: how much better that looks than the epoch chosen on validation, "
            "seed by seed. Nothing is selected by it, and it is no result: docs/protocol.md."
        )
    studies = [study for part in parts for study in part.studies.values()]
    if any(study.earlier_choice is None for study in studies):
        several = any(study.finalists for study in studies)
        among = ", of the best trials the one with the best mean over three seeds" if several else ""
        lines.append(
            f"Searched rows: settings of the best trial of a study on validation alone, with seed 1{among}, before the "
            "seeds were trained; the chosen trial is the run of seed 1. searches.csv has every trial."
        )
    elif studies:
        lines.append("Searched rows: settings that the searches of an earlier table chose, on validation alone.")
    if any(len(part.costs) for part in parts):
        lines.append("Parameters: of the whole model, encoders included; time: median over the runs, testing left out.")
    return lines


def _on_verdicts(baseline: str, cells: Sequence[Mapping[str, Any]], kind: str) -> list[str]:
    """Returns the sentences about verdicts and intervals over clips, where there are any."""
    lines = []
    if any(not math.isnan(line["smallest"]) for line in cells):
        lines.append(
            f"Against {baseline}: better or worse, where the difference has a star (lower or higher, where neither is "
            f"better); same, where two one-sided t tests, corrected likewise, put it within the {MARGIN} (p below "
            f"{LEVEL:g}); not told, where neither does. In brackets the smallest difference that so many {kind} tell "
            "from 0 in four of five cases."
        )
    if any(not math.isnan(line["clips_low"]) for line in cells):
        lines.append(
            f"{OVER_CLIPS.capitalize()}: {INTERVAL} of the difference with seeds and clips both drawn anew, how far it "
            f"may lie off with other test clips as well; in brackets the smallest difference that so many {kind} and "
            "clips tell from 0 in four of five cases."
        )
    return lines


def _on_differences(baseline: str, measures: str, repeats: int, folds: int) -> str:
    """Returns the sentences about differences. measures: the number of measures that a row has."""
    what = f"Differences: a run's value minus {baseline}'s of the same seed{' and fold' if folds else ''}"
    if repeats == 1:
        return f"{what}."
    corrected = f", corrected (Holm) over the row's {measures} measures" if measures != "1" else ""
    return (
        f"{what}, mean ± standard deviation; in brackets p of the paired t test{corrected}, * below {LEVEL:g}. "
        f"table.csv has {'p uncorrected, ' if corrected else ''}Wilcoxon's, and a bootstrap interval."
    )
