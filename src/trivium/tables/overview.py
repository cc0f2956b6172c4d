"""Shows what a table has and lacks (dry=true): a matrix of rows by seeds for each data set."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from trivium.core.wording import counted, duration
from trivium.tables.estimate import Estimate
from trivium.tables.evaluations import missing
from trivium.tables.plan import Planned
from trivium.tables.row_search import FINAL_SEEDS
from trivium.tables.studies import RowStudy

_MARKS = {
    "done": "#",
    "to evaluate": "e",
    "running": ">",
    "interrupted": "~",
    "to do": ".",
    "to search": "?",
    "no data": "-",
}


def overview(parts: Sequence[Sequence[Planned]], jobs: int, estimate: Estimate, *, commands: bool = False) -> str:
    """Returns a matrix a data set or how to get it, what its marks mean, and how long the rest may take.

    parts: the runs of each data set. commands: also each run's command.
    """
    runs = [run for part in parts for run in part]
    states = [
        ["to evaluate" if run.status == "done" and missing(run) else run.status for run in part] for part in parts
    ]
    every = [state for part in states for state in part]
    estimate.learn(runs)
    lines = []
    for part, its_states in zip(parts, states, strict=True):
        lines += [*_section(part, its_states, estimate), ""]
    counts = Counter(every)
    lines += _searches(runs)
    known = [f"{mark} {counts[state]} {state}" for state, mark in _MARKS.items() if counts[state]]
    lines.append(f"{len(runs)} runs: {'   '.join(known)}")
    if again := sum(run.again for run in runs):
        lines.append(
            f"audit=true: {again} of them are there, but kept no weights of their epochs to score on test; they are "
            "trained again, to the same numbers"
        )
    if counts.total() > counts["done"] + counts["no data"]:
        lines.append(
            f"time left{f' with {jobs} at once' if jobs > 1 else ''}: {estimate.left([*runs, *_trials(runs)], jobs)}"
        )
    if commands:
        pairs = zip(every, runs, strict=True)
        lines += ["", *(f"{state:<12} {run.name}\n  {run.command}" for state, run in pairs)]
    return "\n".join(lines)


def _waiting_studies(runs: Sequence[Planned]) -> list[Planned]:
    """Returns a run of each row whose search has not ended."""
    first = {(run.row.label, run.table.data): run for run in reversed(runs) if run.study and run.waits}
    return list(first.values())[::-1]


def _trials(runs: Sequence[Planned]) -> list[Planned]:
    """Returns a run in the place of each trial and finalist's run that is left; each costs what a run of its row does.

    The runs of the finalist that is chosen are the row's own.
    """
    left = []
    for run in _waiting_studies(runs):
        study = run.study
        if study is not None:
            finals = (_finalists(study) - 1) * len(FINAL_SEEDS)
            finals = max(0, len(study.pending) - len(FINAL_SEEDS)) if study.contested else finals
            left += [run] * (study.planned - study.done + finals)
    return left


def _finalists(study: RowStudy) -> int:
    return study.row.search.finalists if study.row.search else 1


def _searches(runs: Sequence[Planned]) -> list[str]:
    """Returns a line on the trials of all searches, of which the table has any."""
    studies = {run.study.folder: run.study for run in runs if run.study and run.study.earlier_choice is None}
    if not studies:
        return []
    done, planned = (sum(counts) for counts in zip(*((s.done, s.planned) for s in studies.values()), strict=True))
    seeds = len({(run.seed, run.fold) for run in runs})
    each = sorted({study.planned for study in studies.values()})
    budget = f"{each[0]}" if len(each) == 1 else f"{each[0]} to {each[-1]}"
    most, final_seeds = max(map(_finalists, studies.values())), " and ".join(map(str, FINAL_SEEDS))
    finals = f"the best {most} of each with seeds {final_seeds} too, " if most > 1 else ""
    chosen = "chosen" if finals else "best"
    return [
        f"{counted(len(studies), 'search', 'searches')} of {budget} trials, {finals}then {counted(seeds, 'seed')} a "
        f"row with the {chosen} trial's settings: {done} of {planned} trials done"
    ]


def _section(runs: Sequence[Planned], states: Sequence[str], estimate: Estimate) -> list[str]:
    """Returns the lines of a data set; there is no matrix of what cannot be run."""
    reasons = dict.fromkeys(run.lacking for run, state in zip(runs, states, strict=True) if state == "no data")
    lacking = [f"  no data: {reason} (docs/data.md says where to get it)" for reason in reasons]
    if set(states) == {"no data"}:
        return [runs[0].table.section or runs[0].table.name, *lacking]
    return [*_matrix(runs, states, estimate), *lacking]


def _matrix(runs: Sequence[Planned], states: Sequence[str], estimate: Estimate) -> list[str]:
    table = runs[0].table
    seeds = list(dict.fromkeys(run.seed for run in runs))
    # A seed has a mark for each fold, one alone without folds.
    marks: dict[tuple[str, int], str] = {}
    for run, state in zip(runs, states, strict=True):
        marks[run.row.label, run.seed] = marks.get((run.row.label, run.seed), "") + _MARKS[state]
    width = max(len(text) for text in marks.values())
    first = {run.row.label: run for run in reversed(runs)}
    name = table.section or table.name
    wide = max(len(name), *(len(row.label) + 2 for row in table.rows))
    # Of rows with a search, how many of its trials have ended.
    trials = {
        run.row.label: f"{run.study.done}/{run.study.planned}"
        for run in runs
        if run.study and run.study.earlier_choice is None
    }
    room = max((len(text) for text in trials.values()), default=0)
    head = f"  {'trials':>{max(room, 6)}}" if trials else ""
    lines = [f"{name:<{wide}}{head}  seed {' '.join(str(seed).rjust(width) for seed in seeds)}   a run"]
    for row in table.rows:
        seconds, certain = estimate.of(first[row.label])
        run_time = "" if seconds is None else f"{'' if certain else 'perhaps '}{duration(seconds)}"
        cells = " ".join(marks[row.label, seed].rjust(max(width, len(str(seed)))) for seed in seeds)
        searched = f"  {trials.get(row.label, ''):>{max(room, 6)}}" if trials else ""
        lines.append(f"  {row.label:<{wide - 2}}{searched}       {cells}   {run_time}".rstrip())
    return lines
