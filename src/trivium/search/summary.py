"""Writes the results of a study, trials.csv and best.json, and tells them at the end of a search."""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from trivium.config.space import grid_size, points_of
from trivium.core.files import csv_text, write_json, write_text
from trivium.core.wording import counted
from trivium.search.jobs import FailedJob
from trivium.search.reporter import Best
from trivium.search.sampling import as_override
from trivium.search.study import SAME_AS, OpenStudy, name_of

# A trial's parameters as arguments -> the command of a run with them.
Command = Callable[[Sequence[str]], str]


def write_summary(search: OpenStudy, command: Command) -> None:
    """Writes trials.csv, and best.json once a trial is complete."""
    # Otherwise a process that read the trials earlier could write later.
    with search.alone():
        trials = search.trials()
        write_text(search.folder / "trials.csv", _table(search, trials))
        top = best(search)
        if top is not None:
            record = {
                "study": search.folder.name,
                "trials": len(trials),
                "number": top.number,
                "objective": search.settings.objective,
                "value": top.value,
                "parameters": top.params,
                "command": command(arguments(search, top)),
                "run": str(search.run(top.number).path),
            }
            write_json(search.folder / "best.json", record)


def done(search: OpenStudy) -> int:
    """Returns the number of trials that have ended, in whatever way."""
    return sum(trial.state.is_finished() for trial in search.trials())


def best(search: OpenStudy) -> FrozenTrial | None:
    """Returns the complete trial with the best value; of equal ones the first."""
    complete = [trial for trial in search.trials() if trial.state is TrialState.COMPLETE]
    sign = 1 if search.study.direction.name == "MINIMIZE" else -1
    return min(complete, key=lambda trial: sign * float(trial.value or 0.0), default=None)


def best_so_far(search: OpenStudy) -> Best | None:
    """Returns the best trial for the reporter."""
    top = best(search)
    return None if top is None else Best(float(top.value or 0.0), name_of(top.number))


def arguments(search: OpenStudy, trial: FrozenTrial) -> list[str]:
    """Returns a trial's parameters as `trivium train`'s arguments."""
    return [as_override(search.space[key], value) for key, value in trial.params.items() if key in search.space]


def failures(search: OpenStudy, command: Command, logs: Path | None = None) -> list[FailedJob]:
    """Returns the study's failed trials, those of earlier starts too. logs: the folder of what they printed."""
    failed = [trial for trial in search.trials() if trial.state is TrialState.FAIL]
    return [
        FailedJob(
            name_of(t.number),
            command(arguments(search, t)),
            str(t.user_attrs.get("error", "unknown")),
            logs and logs / f"{t.number}.log",
        )
        for t in failed
    ]


def print_plan(search: OpenStudy, at_once: int, launcher: str, idle: Mapping[str, Sequence[str]]) -> None:
    """Prints, before the first trial, what is searched and how, and the best of earlier starts.

    idle: as trivium.search.idle.idle_parameters.
    """
    settings, before = search.settings, done(search)
    aim = f"the {'lowest' if settings.lower_is_better else 'highest'} {settings.objective}"
    print(f"study {search.folder}: {counted(search.planned, 'trial')} by {settings.sampler} for {aim}")
    points = grid_size(search.space) if settings.sampler == "grid" else 0
    size = points_of(search.space)
    if size is not None and size < settings.n_trials:
        print(f"the space has {counted(size, 'point')}, fewer than n_trials={settings.n_trials}: each is run once")
    if points > search.planned:
        print(f"of the grid's {points} points the first {search.planned}; hydra.sweeper.n_trials={points} takes all")
    for modality, names in idle.items():
        print(f"no {modality} is read, so these change nothing (NAME=VALUE takes one out): {', '.join(names)}")
    if at_once > 1:
        print(f"{at_once} trials at once")
    elif launcher.startswith("submitit"):
        print("one trial at a time; hydra.sweeper.at_once=N for N jobs side by side")
    if before:
        top = best(search)
        value = "" if top is None else f", the best {settings.objective} {top.value:.6g} (trial {top.number})"
        print(f"{counted(before, 'trial')} had ended before{value}")
    sys.stdout.flush()


def print_summary(search: OpenStudy, command: Command) -> None:
    """Prints how the trials ended, who still works on the others, and the best one with its command."""
    trials = search.trials()
    counts = {state: sum(trial.state is state for trial in trials) for state in TrialState}
    words = {"COMPLETE": "complete", "PRUNED": "pruned", "FAIL": "failed", "RUNNING": "running or interrupted"}
    ends = ", ".join(f"{counts[state]} {words[state.name]}" for state in TrialState if counts[state])
    print(f"\nstudy {search.folder}: {counted(len(trials), 'trial')} ({ends})")
    for trial in trials:
        if trial.state is TrialState.RUNNING:
            print(f"  trial {trial.number} {_who(search, trial)}")
    top = best(search)
    if top is None:
        print("no trial is complete, so there is no best one")
    else:
        print(f"best: trial {top.number}, {search.settings.objective} {top.value:.6g}")
        for key, value in top.params.items():
            print(f"  {key} = {value}")
        print(f"its command (in best.json too; all trials are in trials.csv):\n{command(arguments(search, top))}")
    sys.stdout.flush()


def _who(search: OpenStudy, trial: FrozenTrial) -> str:
    host = trial.user_attrs.get("host", "an unknown machine")
    if search.worked_on(trial.number):
        return f"is being run by another process ({host})"
    others = "" if host == socket.gethostname() else f", or add hydra.sweeper.hosts=[{host}] if it will not be back"
    return f"belongs to {host}; start this search there to go on with it{others}"


def _table(search: OpenStudy, trials: Sequence[FrozenTrial]) -> str:
    columns = ["number", "state", "value", *search.space, "seconds", "run", "error"]
    return csv_text(columns, (_row(search, trial) for trial in trials))


def _row(search: OpenStudy, trial: FrozenTrial) -> dict[str, Any]:
    run = search.run(trial.user_attrs.get(SAME_AS, trial.number))
    duration = trial.duration.total_seconds() if trial.duration else ""
    return {
        "number": trial.number,
        "state": trial.state.name.lower(),
        "value": "" if trial.value is None else repr(trial.value),
        **{word.partition("=")[0]: word.partition("=")[2] for word in arguments(search, trial)},
        "seconds": run.result()["seconds"] if run.finished else duration,
        "run": str(run.path),
        "error": trial.user_attrs.get("error", ""),
    }
