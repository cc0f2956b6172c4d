"""hydra/sweeper=trivium: a grid, or with sweep=NAME a search. What both are is in trivium.search; this is Hydra's side.

Hydra imports this file whenever it starts, so that torch and Optuna are imported only when a search begins.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper  # splits a command line into a grid's jobs
from hydra._internal.utils import get_args_parser
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

if TYPE_CHECKING:
    from trivium.search.study import Search, Work

PARALLEL_HERE = ("joblib", "submitit_local")  # launchers whose runs share this machine


class TriviumSweeper(Sweeper):
    """settings: the keys of configs/hydra/sweeper/trivium.yaml."""

    def __init__(self, params: dict[str, Any], **settings: Any) -> None:
        self.params, self.settings = params, settings
        self.config: DictConfig
        self.context: HydraContext
        self.task: TaskFunction

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.context, self.task, self.config = hydra_context, task_function, config

    def sweep(self, arguments: list[str]) -> None:
        """All jobs. Exits with 1 if one failed; the others ran."""
        choices = self.config.hydra.runtime.choices
        if choices.get("sweep") or self.params:
            self._search(arguments)
        else:
            self._grid(arguments)

    def _grid(self, arguments: list[str]) -> None:
        from trivium.search.jobs import Failure, command, tell
        from trivium.search.titles import titles

        folder = Path(self.config.hydra.sweep.dir)
        more = [*self._threads(arguments), *self._group(folder.name)]
        parser = OverridesParser.create(config_loader=self.context.config_loader)
        (jobs,) = BasicSweeper.split_arguments(parser.parse_overrides([*arguments, *more]), None)
        jobs = [[*job, *self._title(title)] for job, title in zip(jobs, titles(jobs), strict=True)]
        folder.mkdir(parents=True, exist_ok=True)
        OmegaConf.save(self.config, folder / "multirun.yaml")
        errors = self._launch(self._launcher(), jobs, 0)
        failed = [
            Failure(f"job {number}", command(overrides, self._options()), error)
            for number, (overrides, error) in enumerate(zip(jobs, errors, strict=True))
            if error is not None and not (folder / str(number) / "result.json").is_file()
        ]
        tell(failed, len(jobs), "jobs")
        if failed:
            raise SystemExit(1)

    def _search(self, arguments: list[str]) -> None:
        from trivium.config.sweep import read_search
        from trivium.search.jobs import command, tell
        from trivium.search.summary import failures, print_summary, write_summary

        plan = read_search(self.params, arguments)
        if plan.problems:  # the check has told them, unless it was not asked
            raise ValueError("; ".join(plan.problems))
        fixed = [*self._plain(plan.fixed, plan.space), *self._threads(arguments)]
        search = self._open(plan.space, fixed)
        self._sweep_into(search.folder)
        launcher = self._launcher()

        def of_trial(parameters: Sequence[str]) -> str:
            return command([*fixed, *parameters], self._options())

        shared = [*fixed, *self._group(search.folder.name)]
        while work := search.next(self._at_once()):
            self._run(search, work, shared, launcher)
            write_summary(search, of_trial)
        write_summary(search, of_trial)
        print_summary(search, of_trial)
        failed = failures(search, of_trial)
        tell(failed, len(search.trials()), "trials")
        if failed:
            raise SystemExit(1)

    def _run(self, search: Search, work: list[Work], shared: Sequence[str], launcher: Launcher) -> None:
        from trivium.config.space import as_text
        from trivium.search.titles import title_of

        shared = [*shared, "resume=auto", f"run.study={as_text(str(search.folder))}"]
        jobs = [
            [
                *(override for override in shared if override.partition("=")[0] not in _keys(one.overrides)),
                *one.overrides,
                *self._title(title_of(one.overrides)),
                f"run.trial={one.number}",
                f"run.dir={as_text(str(one.run.path))}",
                f"hydra.sweep.dir={as_text(str(search.folder))}",
                f"hydra.sweep.subdir='{one.number}'",
            ]
            for one in work
        ]
        errors = self._launch(launcher, jobs, work[0].number)
        for one, error in zip(work, errors, strict=True):
            print(search.settle(one, error), flush=True)

    def _open(self, space: dict[str, Any], fixed: list[str]) -> Search:
        """The study of this command line, by its name or by the name that its settings make."""
        from trivium.search.naming import shared_settings, study_name
        from trivium.search.study import Settings, definition, lower_is_better, open_search

        config = self._composed(fixed)
        given = dict(self.settings)
        name, _ = given.pop("study"), given.pop("at_once")
        given["hosts"] = tuple(given["hosts"])
        lower = lower_is_better(given["objective"], config["data"]["metrics"])
        settings = Settings(**given, lower_is_better=lower, max_epochs=config["trainer"]["max_epochs"])
        shared = shared_settings(config, space)
        words = [str(self.config.hydra.runtime.choices.get("sweep")), config["method"]["name"], config["data"]["name"]]
        name = name or study_name(words, {**shared, **definition(settings, space)})
        return open_search(Path(config["paths"]["outputs"]) / "studies" / name, settings, space, shared)

    def _composed(self, overrides: Sequence[str]) -> dict[str, Any]:
        from trivium.config.compose import plain

        return plain(self.context.config_loader.load_sweep_config(self.config, list(overrides)))

    def _plain(self, overrides: Sequence[str], searched: Iterable[str]) -> list[str]:
        """The overrides without sweep=NAME, but with the choices that its file makes, unless they are searched."""
        from trivium.config.compose import Composer
        from trivium.config.sweep import groups_of_sweep

        groups = groups_of_sweep(Composer(self.context.config_loader, self._folders()), overrides)
        choices = self.config.hydra.runtime.choices
        kept = [override for override in overrides if override.partition("=")[0].lstrip("+~") != "sweep"]
        chosen = [f"{group}={choices[group]}" for group in groups if group not in {*_keys(kept), *searched}]
        return [*chosen, *kept]

    def _folders(self) -> list[Path]:
        sources = self.config.hydra.runtime.config_sources
        return [Path(source.path) for source in sources if source.schema == "file"]

    def _options(self) -> list[str]:
        """Command-line options that a job's command needs too."""
        folder = get_args_parser().parse_args(sys.argv[1:]).config_dir
        return ["--config-dir", folder] if folder else []

    def _threads(self, arguments: Sequence[str]) -> list[str]:
        """Runs side by side take one thread each, unless they are told how many."""
        parallel = self.config.hydra.runtime.choices.get("hydra/launcher") in PARALLEL_HERE
        asked = "trainer.threads" in _keys(arguments) or self.config.trainer.threads
        return ["trainer.threads=1"] if parallel and not asked else []

    def _group(self, name: str) -> list[str]:
        """wandb shows a sweep's runs together."""
        return [f"logger.group={name}"] if self.config.logger.get("group") == "" else []

    def _title(self, title: str) -> list[str]:
        """wandb and TensorBoard call a run by more than its number."""
        from trivium.config.space import as_text

        return [f"logger.title={as_text(title)}"] if title and self.config.logger.get("title") == "" else []

    def _at_once(self) -> int:
        import os

        wish = int(self.settings["at_once"] or OmegaConf.select(self.config.hydra.launcher, "n_jobs", default=1))
        return wish if wish > 0 else os.cpu_count() or 1

    def _sweep_into(self, folder: Path) -> None:
        """Where launchers write what is theirs."""
        with read_write(self.config), open_dict(self.config):
            self.config.hydra.sweep.dir = str(folder)

    def _launcher(self) -> Launcher:
        launcher: Launcher = Plugins.instance().instantiate_launcher(
            hydra_context=self.context, task_function=self.task, config=self.config
        )
        return launcher

    def _launch(self, launcher: Launcher, jobs: Sequence[Sequence[str]], first: int) -> list[str | None]:
        """Each job's error, or None."""
        from trivium.search.jobs import in_words

        try:
            returns = launcher.launch(jobs, initial_job_idx=first)
        except Exception as error:  # a process that was killed takes the launcher's whole batch with it
            return [f"the launcher gave up: {in_words(error)}"] * len(jobs)
        return [_error(one) for one in returns]


def _error(job: JobReturn) -> str | None:
    from trivium.search.jobs import in_words

    return None if job.status == JobStatus.COMPLETED else in_words(job._return_value)


def _keys(overrides: Sequence[str]) -> set[str]:
    return {override.partition("=")[0].lstrip("+~") for override in overrides}
