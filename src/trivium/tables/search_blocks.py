"""Makes the block of what searches have chosen, and the lines of searches.csv: every trial of every row."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

from trivium.core.wording import brief
from trivium.tables.collect import Measured
from trivium.tables.row_search import FINAL_SEEDS
from trivium.tables.studies import RowStudy, settings_of

HEADS = ("row", "space", "trials", "chosen by", "value", "chosen")
COLUMNS = ("data", "row", "space", "objective", "trial", "state", "value", "mean", "seconds", "chosen", "settings")


def search_lines(measured: Measured) -> list[tuple[str, ...]]:
    """Returns a line for each row with a search: its space, its budget, the best trial's value and settings."""
    return [_line(label, study) for label, study in measured.studies.items()]


def _line(label: str, study: RowStudy) -> tuple[str, ...]:
    states = Counter(trial.state for trial in study.trials if trial.state != "complete")
    trials = str(study.planned) if study.done == study.planned else f"{study.done} of {study.planned}"
    if study.earlier_choice is not None:
        choice = study.earlier_choice
        chosen = ", ".join(choice.overrides)
        value = f"{choice.value:.4g} (trial {choice.trial})"
        return (label, _space(study), "earlier", f"{choice.objective} of seed 1", value, chosen)
    others = f" ({', '.join(f'{count} {_WORDS.get(state, state)}' for state, count in states.items())})" * bool(states)
    by = f"{study.rule} of seed 1"
    if study.finalists:
        by = f"{study.rule}, mean of seeds {_SEEDS} of the {len(study.finalists)} best of seed 1"
    head = (label, _space(study), trials + others, by)
    best = study.best
    if best is None:
        return (*head, "-", "-")
    words = [f"{key}={brief(value)}" for key, value in best.parameters.items()]
    mean = _means(study).get(best.number, best.value)
    return (*head, f"{mean:.4g} (trial {best.number})", ", ".join(words))


def _means(study: RowStudy) -> dict[int, float]:
    """Returns the number of each finalist whose seeds have finished -> its mean value over them."""
    means = {finalist.trial.number: study.mean(finalist) for finalist in study.finalists}
    return {number: mean for number, mean in means.items() if mean is not None}


_SEEDS = ", ".join(map(str, (1, *FINAL_SEEDS)))
# States of trials as trials.csv has them -> as a reader has them.
_WORDS = {"fail": "failed", "running": "not ended"}


def _space(study: RowStudy) -> str:
    return study.row.search.sweep if study.row.search else ""


def trial_lines(measured: Measured) -> list[dict[str, Any]]:
    """Returns a line for each trial, in the columns COLUMNS; a search's journal in small form.

    mean: of a finalist's values over its seeds.
    """
    lines = []
    for label, study in measured.studies.items():
        means, best = _means(study), study.best
        for trial in study.trials:
            lines.append(
                {
                    "data": measured.table.data,
                    "row": label,
                    "space": _space(study),
                    "objective": study.settings.objective,
                    "trial": trial.number,
                    "state": trial.state,
                    "value": "" if math.isnan(trial.value) else repr(trial.value),
                    "mean": repr(means[trial.number]) if trial.number in means else "",
                    "seconds": "" if math.isnan(trial.seconds) else f"{trial.seconds:.1f}",
                    "chosen": "yes" if best is not None and trial.number == best.number else "",
                    "settings": " ".join(settings_of(trial)),
                }
            )
    return lines
