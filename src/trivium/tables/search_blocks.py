"""Makes the block of what searches have chosen, and the lines of searches.csv: every trial of every row."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

from trivium.core.wording import brief
from trivium.tables.collect import Measured
from trivium.tables.studies import RowStudy, settings_of

HEADS = ("row", "space", "trials", "chosen by", "value", "chosen")
COLUMNS = ("data", "row", "space", "objective", "trial", "state", "value", "seconds", "chosen", "settings")


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
    head = (label, _space(study), trials + others, f"{study.rule} of seed 1")
    if study.best is None:
        return (*head, "-", "-")
    words = [f"{key}={brief(value)}" for key, value in study.best.parameters.items()]
    return (*head, f"{study.best.value:.4g} (trial {study.best.number})", ", ".join(words))


# States of trials as trials.csv has them -> as a reader has them.
_WORDS = {"fail": "failed", "running": "not ended"}


def _space(study: RowStudy) -> str:
    return study.row.search.sweep if study.row.search else ""


def trial_lines(measured: Measured) -> list[dict[str, Any]]:
    """Returns a line for each trial, in the columns COLUMNS; a search's journal in small form."""
    return [
        {
            "data": measured.table.data,
            "row": label,
            "space": _space(study),
            "objective": study.settings.objective,
            "trial": trial.number,
            "state": trial.state,
            "value": "" if math.isnan(trial.value) else repr(trial.value),
            "seconds": "" if math.isnan(trial.seconds) else f"{trial.seconds:.1f}",
            "chosen": "yes" if study.best is not None and trial.number == study.best.number else "",
            "settings": " ".join(settings_of(trial)),
        }
        for label, study in measured.studies.items()
        for trial in study.trials
    ]
