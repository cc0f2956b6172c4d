"""What a study has found: trials.csv and best.json in its folder, and the words at the end of a search."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from trivium.files import write_json, write_text
from trivium.search.jobs import Failure
from trivium.search.sampling import as_override
from trivium.search.study import Search

Command = Callable[[Sequence[str]], str]  # a trial's parameters as arguments -> the command of a run with them


def write_summary(search: Search, command: Command) -> None:
    """trials.csv, and best.json once a trial is complete."""
    trials = search.trials()
    columns = ["number", "state", "value", *search.space, "seconds", "run", "error"]
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(_row(search, trial) for trial in trials)
    write_text(search.folder / "trials.csv", text.getvalue())
    found = best(search)
    if found is not None:
        record = {
            "study": search.folder.name,
            "trials": len(trials),
            "number": found.number,
            "objective": search.settings.objective,
            "value": found.value,
            "parameters": found.params,
            "command": command(arguments(search, found)),
            "run": str(search.run(found.number).path),
        }
        write_json(search.folder / "best.json", record)


def best(search: Search) -> FrozenTrial | None:
    """The complete trial of the best value; of equal ones the first."""
    complete = [trial for trial in search.trials() if trial.state is TrialState.COMPLETE]
    sign = 1 if search.study.direction.name == "MINIMIZE" else -1
    return min(complete, key=lambda trial: sign * float(trial.value or 0.0), default=None)


def arguments(search: Search, trial: FrozenTrial) -> list[str]:
    """A trial's parameters as train.py's arguments."""
    return [as_override(search.space[key], value) for key, value in trial.params.items() if key in search.space]


def failures(search: Search, command: Command) -> list[Failure]:
    """The study's failed trials, those of earlier starts too."""
    failed = [trial for trial in search.trials() if trial.state is TrialState.FAIL]
    return [
        Failure(f"trial {t.number}", command(arguments(search, t)), str(t.user_attrs.get("error", "unknown")))
        for t in failed
    ]


def print_summary(search: Search, command: Command) -> None:
    """How many trials ended how, who still works on the rest, and the best one with its command."""
    trials = search.trials()
    counts = {state: sum(trial.state is state for trial in trials) for state in TrialState}
    words = {"COMPLETE": "complete", "PRUNED": "pruned", "FAIL": "failed", "RUNNING": "running or interrupted"}
    told = ", ".join(f"{counts[state]} {words[state.name]}" for state in TrialState if counts[state])
    print(f"\nstudy {search.folder}: {len(trials)} trials ({told})")
    for trial in trials:
        if trial.state is TrialState.RUNNING:
            host = trial.user_attrs.get("host", "an unknown machine")
            print(f"  trial {trial.number} belongs to {host}; start this search there to go on with it")
    found = best(search)
    if found is None:
        print("no trial is complete, so there is no best one", flush=True)
        return
    print(f"best: trial {found.number}, {search.settings.objective} {found.value:.6g}")
    for key, value in found.params.items():
        print(f"  {key} = {value}")
    print(command(arguments(search, found)), flush=True)


def _row(search: Search, trial: FrozenTrial) -> dict[str, Any]:
    run = search.run(trial.number)
    duration = trial.duration.total_seconds() if trial.duration else ""
    return {
        "number": trial.number,
        "state": trial.state.name.lower(),
        "value": "" if trial.value is None else repr(trial.value),
        **{key: trial.params.get(key, "") for key in search.space},
        "seconds": run.result()["seconds"] if run.finished else duration,
        "run": str(run.path),
        "error": trial.user_attrs.get("error", ""),
    }
