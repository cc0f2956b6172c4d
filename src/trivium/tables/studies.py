"""Plans the searches of a table's rows, and reads what they have found: one study for each row and data set.

Nothing here trains or imports Optuna; trivium.tables.run_studies does.
"""

from __future__ import annotations

import hashlib
import re
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trivium.config.check import problems_of_search
from trivium.config.compose import Composer
from trivium.config.monitor import monitor_of, read_monitor
from trivium.config.space import Dimension
from trivium.config.sweep import read_search, without_sweep
from trivium.results.search_trials import FILE, Trial, read_search_folder
from trivium.runs.directory import RunDirectory
from trivium.search.naming import shared_settings, study_name
from trivium.search.study_settings import StudySettings, definition, planned_trials
from trivium.tables.definition import Row
from trivium.tables.finished import FinishedRuns
from trivium.tables.row_search import EarlierChoice

if TYPE_CHECKING:
    from trivium.tables.plan import Planned

# Settings of a model, which a row that begins from another takes over from that one's search.
_OF_MODEL = re.compile(r"\+{0,2}(encoder|encoders|fusion)([.@=]|$)")


@dataclass(frozen=True)
class Finalist:
    """Holds one of a study's best trials, and its runs with further seeds."""

    trial: Trial
    runs: tuple[Planned, ...] = field(repr=False)

    def mean(self, metric: str) -> float | None:
        """Returns the mean validation value over the trial and its runs; None before all have finished."""
        if not all(run.directory.finished for run in self.runs):
            return None
        return statistics.fmean([self.trial.value, *(float(run.result()["val"][metric]) for run in self.runs)])


@dataclass(frozen=True)
class RowStudy:
    """Holds the search of a row on one data set.

    folder: of the study. space: what its trials vary. fixed: `trivium train`'s arguments that they share; shared: the
    same as settings. start: the run that they begin from (start_from_row). choices: those of the sweep's file, such as
    method=gmc. earlier_choice: what an earlier search has chosen (settings_from), which is then not done again.
    finalists: the best trials, once all have ended, if one of several is to be chosen.
    """

    row: Row
    folder: Path
    space: Mapping[str, Dimension] = field(repr=False)
    fixed: tuple[str, ...]
    settings: StudySettings
    shared: Mapping[str, Any] = field(repr=False)
    start: RunDirectory | None = None
    choices: tuple[str, ...] = ()
    earlier_choice: EarlierChoice | None = None
    finalists: tuple[Finalist, ...] = ()

    @property
    def waits(self) -> bool:
        """Tells whether its settings are not known yet."""
        return self.earlier_choice is None and self.best is None

    @property
    def planned(self) -> int:
        """Returns the number of trials of the whole study."""
        return 0 if self.earlier_choice is not None else planned_trials(self.settings, self.space)

    @cached_property
    def trials(self) -> tuple[Trial, ...]:
        """Returns the trials of the budget, of which some may not have ended; those beyond it do not count."""
        known = read_search_folder(self.folder).trials if (self.folder / FILE).is_file() else ()
        return tuple(trial for trial in known if trial.number < self.planned)

    @property
    def done(self) -> int:
        """Returns the number of trials that have ended, in whatever way."""
        return sum(trial.state != "running" for trial in self.trials)

    @property
    def contested(self) -> tuple[Trial, ...]:
        """Returns the best trials in their order, of which several seeds have to choose one; none before all ended."""
        most = self.row.search.finalists if self.row.search else 1
        best = self._ranked[:most] if self.earlier_choice is None and self.done == self.planned else ()
        return best if len(best) > 1 else ()

    @property
    def _ranked(self) -> tuple[Trial, ...]:
        sign = 1 if self.settings.lower_is_better else -1
        return tuple(sorted((t for t in self.trials if t.complete), key=lambda trial: sign * trial.value))

    @property
    def pending(self) -> list[Planned]:
        """Returns the finalists' runs that have not finished."""
        return [run for finalist in self.finalists for run in finalist.runs if not run.directory.finished]

    @cached_property
    def best(self) -> Trial | None:
        """Returns the complete trial of the best value, of equal ones the first; None before all have ended.

        Of several finalists it is the one of the best mean over seeds.
        """
        if self.earlier_choice is not None or self.done < self.planned:
            return None
        if not self.contested:
            return next(iter(self._ranked), None)
        if not self.finalists or self.pending:
            return None
        sign = 1 if self.settings.lower_is_better else -1
        return min(self.finalists, key=lambda finalist: sign * (self.mean(finalist) or 0.0)).trial

    def mean(self, finalist: Finalist) -> float | None:
        """Returns a finalist's mean of the objective over its seeds; None before all have finished."""
        return finalist.mean(self.settings.objective.removeprefix("val/"))

    @property
    def rule(self) -> str:
        """Returns how trials are compared, such as "lowest val/mae"."""
        return f"{'lowest' if self.settings.lower_is_better else 'highest'} {self.settings.objective}"

    def chosen(self) -> Row:
        """Returns the row with the choices of the sweep's file, and the best trial's settings once that is known."""
        if self.earlier_choice is not None:
            return self._with(self.earlier_choice.overrides)
        return self._with([] if self.best is None else settings_of(self.best))

    def final(self, trial: Trial) -> Row:
        """Returns the row with a trial's settings, under a name of its own."""
        return replace(self._with(settings_of(trial)), label=f"{self.row.label}, trial {trial.number}", search=None)

    def _with(self, settings: Sequence[str]) -> Row:
        return replace(self.row, overrides=(*self.choices, *self.row.overrides, *settings))


def settings_of(trial: Trial) -> list[str]:
    """Returns a trial's parameters as `trivium train`'s arguments."""
    return [f"{key}={value}" for key, value in trial.parameters.items()]


def taken_over(row: Row, start: Row) -> Row:
    """Returns a row that begins from a searched one, with that one's encoders and fusion where it names none itself."""
    set_keys = {word.partition("=")[0].lstrip("+~") for word in row.overrides}
    model = [w for w in start.overrides if _OF_MODEL.match(w) and w.partition("=")[0].lstrip("+~") not in set_keys]
    return replace(row, overrides=(*model, *row.overrides))


def plan_study(
    session: Composer,
    where: str,
    row: Row,
    overrides: Sequence[str],
    folder: Path,
    finished: FinishedRuns | None,
    start: RunDirectory | None,
    earlier: EarlierChoice | None = None,
) -> RowStudy:
    """Returns the study of a row that has a search.

    where: of the table, row and data set, for messages. overrides: those of the row's run of seed 1. folder: of the
    table's studies. start: the run that the trials begin from. earlier: what an earlier search has chosen, which leaves
    no trial to do. Raises ValueError if a trial would be refused.
    """
    search = row.search
    assert search is not None
    chosen = [f"sweep={search.sweep}", f"hydra.sweeper.n_trials={search.trials}"]
    chosen += [f"hydra.sweeper.objective={search.objective}"] if search.objective else []
    lines = session.current([*overrides, *chosen])
    # The run that trials begin from is perhaps not there yet.
    lines_of_search = [line for line in lines if not line.startswith("start_from=")]
    if earlier is None and (problems := problems_of_search(session, lines_of_search)):
        raise ValueError(f"{where}: search: {'; '.join(problems)}")
    hydra = session.hydra(lines)
    node = hydra["sweeper"]
    request = read_search(node["params"], [line for line in lines if not line.startswith("hydra.")], node["first"])
    fixed = without_sweep(session, request.fixed, hydra["runtime"]["choices"], request.space)
    config = session.compose(fixed)
    objective = monitor_of(config)
    if node["objective"] != "auto":
        objective = read_monitor(node["objective"], config, "hydra.sweeper.objective")
    settings = StudySettings(
        **{key: node[key] for key in ("sampler", "n_trials", "pruner", "startup", "warmup", "seed")},
        objective=objective.key,
        storage="",
        hosts=(),
        first=request.first,
        lower_is_better=objective.lower_is_better,
        max_epochs=config["trainer"]["max_epochs"],
    )
    shared = shared_settings(config, request.space)
    name = study_name([row.slug], {**shared, **definition(settings, request.space)})
    place = folder / name
    if finished and not place.exists():
        # Another table has searched the same.
        place = finished.study(name, config) or place
    other = finished.other_store(RunDirectory(place / "0"), config) if finished else ""
    if other:
        # The data were prepared anew, and the trials there say nothing of them.
        place = folder / f"{name}_{hashlib.sha256(other.encode()).hexdigest()[:6]}"
    known = {word.partition("=")[0].lstrip("+~") for word in overrides}
    choices = tuple(word for word in fixed if word.partition("=")[0] not in known)
    return RowStudy(row, place, request.space, tuple(fixed), settings, shared, start, choices, earlier)
