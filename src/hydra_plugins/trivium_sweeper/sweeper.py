"""Runs grids, and with sweep=NAME searches, as hydra/sweeper=trivium, Hydra's front of trivium.search.

Hydra imports this file whenever it starts, so that torch and Optuna are imported only when a search begins.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

# BasicSweeper splits a command line into a grid's jobs.
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from trivium.core.interruption import Interrupted, Terminated, tell

from ._launching import LauncherWorkers, Task

if TYPE_CHECKING:
    from trivium.search.outcome import Outcome
    from trivium.search.reporter import Reporter
    from trivium.search.scheduler import Job, Workers
    from trivium.search.study import OpenStudy, TrialToRun

# Launchers whose runs share this machine.
PARALLEL_HERE = ("joblib", "submitit_local")


class TriviumSweeper(Sweeper):
    """Runs the jobs of `trivium train -m`. settings: the keys of configs/hydra/sweeper/trivium.yaml."""

    def __init__(self, params: dict[str, Any], **settings: Any) -> None:
        self.params, self.settings = params, settings
        self.config: DictConfig
        self.context: HydraContext
        self.task: TaskFunction
        # These words are added to the command, so that it goes on.
        self._go_on: tuple[str, ...] = ()
        # Trials that a search asks for and starts together.
        self._at_once = 1

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.context, self.task, self.config = hydra_context, task_function, config

    def sweep(self, arguments: list[str]) -> None:
        """Runs all jobs. Exits with code 1 if one of them failed, after the others have run.

        Raises Interrupted on Ctrl-C.
        """
        searching = bool(self.config.hydra.runtime.choices.get("sweep") or self.params)
        try:
            failed = self._search(arguments) if searching else self._grid(arguments)
        except KeyboardInterrupt as stop:
            raise Interrupted(*self._same_command()) from stop
        except Terminated as stop:
            raise Terminated(*self._same_command()) from stop
        except SystemExit:
            tell(self._same_command())
            raise
        if failed:
            raise SystemExit(1)

    def _grid(self, arguments: list[str]) -> bool:
        from trivium.config.space import path_setting
        from trivium.core.wording import counted
        from trivium.search.cluster import wait_for_earlier_jobs
        from trivium.search.jobs import FailedJob, print_failures, print_jobs
        from trivium.search.reporter import Reporter
        from trivium.search.sweep_table import print_sweep_table

        folder = self._new_folder()
        jobs = self._combinations(arguments, folder)
        OmegaConf.save(self.config, folder / "multirun.yaml")
        self._go_on = (path_setting("hydra.sweep.dir", folder), "resume=auto")
        print(f"grid of {counted(len(jobs), 'job')} in {folder}", flush=True)
        wait_for_earlier_jobs(folder, self._kind, lambda number: True)
        try:
            with Reporter(len(jobs), bars=self._kind != "basic") as reporter:
                outcomes = self._run(jobs, "loss", reporter, self._workers(folder))
        except ValueError:
            # No job was started, so the folder has nothing worth keeping.
            (folder / "multirun.yaml").unlink()
            with contextlib.suppress(OSError):
                folder.rmdir()
            raise
        failed = [
            FailedJob(job.name, job.command, outcomes[job.name].text)
            for job in jobs
            if outcomes[job.name].state in ("fail", "running") and not job.run.finished
        ]
        print_jobs(folder, jobs, outcomes)
        if len(jobs) > 1 and _is_first_rank():
            print_sweep_table(folder, jobs)
        print_failures(failed, len(jobs), "job")
        return bool(failed)

    def _same_command(self) -> tuple[str, ...]:
        """Returns the words of the command that goes on with this sweep."""
        added = {word.partition("=")[0] for word in self._go_on}
        return ("train", *(word for word in sys.argv[1:] if word.partition("=")[0] not in added), *self._go_on)

    def _combinations(self, arguments: list[str], folder: Path) -> list[Job]:
        """Returns the jobs of a grid."""
        from trivium.config.config_folder import config_dir_option
        from trivium.config.space import as_text
        from trivium.core.wording import command
        from trivium.runs.directory import RunDirectory
        from trivium.search.scheduler import Job
        from trivium.search.titles import title_of, varied

        added = [*self._threads(arguments), *self._group(folder.name)]
        parser = OverridesParser.create(config_loader=self.context.config_loader)
        (grid,) = BasicSweeper.split_arguments(parser.parse_overrides([*arguments, *added]), None)
        for_this_start = [*self._silence(arguments), f"hydra.sweep.dir={as_text(str(folder.absolute()))}"]
        jobs = []
        for number, (differing, settings) in enumerate(zip(varied(grid), grid, strict=True)):
            settings += self._title(title_of(differing))
            run, line = RunDirectory(folder / str(number)), command("train", *config_dir_option(), *settings)
            jobs.append(Job(f"job {number}", run, (*settings, *for_this_start), line, differing))
        return jobs

    def _search(self, arguments: list[str]) -> bool:
        from trivium.config.config_folder import config_dir_option
        from trivium.config.sweep import read_search
        from trivium.core.wording import command
        from trivium.search.cluster import wait_for_earlier_jobs
        from trivium.search.idle import idle_parameters
        from trivium.search.jobs import print_failures
        from trivium.search.reporter import Reporter
        from trivium.search.summary import best_so_far, done, failures, print_plan, print_summary, write_summary

        plan = read_search(self.params, arguments, self.settings["first"])
        # The check has reported these already, unless Hydra was started without it.
        if plan.problems:
            raise ValueError("; ".join(plan.problems))
        fixed = self._plain(plan.fixed, plan.space)
        self._at_once = self._trials_at_once(self._composed(fixed)["trainer"])
        fixed += self._threads(arguments)
        search = self._open(plan.space, fixed, plan.first)
        self._sweep_into(search.folder)

        def of_trial(parameters: Sequence[str]) -> str:
            return command("train", *config_dir_option(), *fixed, *parameters)

        shared = [*fixed, *self._group(search.folder.name), *self._silence(arguments)]
        reporter = Reporter(
            search.planned,
            done=done(search),
            best=best_so_far(search),
            lower_is_better=search.settings.lower_is_better,
            bars=self._kind != "basic" or self._in_processes,
        )
        search.on_end = reporter.ends
        print_plan(search, self._at_once, self._kind, idle_parameters(search.space, self._composed(fixed)))
        wait_for_earlier_jobs(search.folder, self._kind, lambda number: not search.is_claimed(number))
        with reporter:
            while trials := search.next(self._at_once):
                reporter.catch_up(done(search), best_so_far(search))
                outcomes = self._run(
                    self._jobs(search, trials, shared), search.metric, reporter, self._workers(search.folder)
                )
                for trial in trials:
                    outcome = outcomes[trial.name]
                    search.settle(trial, outcome.text if outcome.state == "fail" else None)
                write_summary(search, of_trial)
        write_summary(search, of_trial)
        print_summary(search, of_trial)
        failed = failures(search, of_trial, self._logs(search.folder) if self._in_processes else None)
        print_failures(failed, len(search.trials()), "trial")
        return bool(failed)

    def _workers(self, folder: Path) -> Workers:
        """Returns the chosen launcher, or processes that write what they print below `folder`."""
        if self._in_processes:
            from trivium.search.train_processes import TrainProcesses

            self._logs(folder).mkdir(exist_ok=True)
            return TrainProcesses(self._at_once, self._logs(folder))
        launcher: Launcher = Plugins.instance().instantiate_launcher(
            hydra_context=self.context, task_function=Task(self.task, os.getcwd()), config=self.config
        )
        return LauncherWorkers(launcher, self._kind)

    def _run(self, jobs: Sequence[Job], metric: str, reporter: Reporter, workers: Workers) -> dict[str, Outcome]:
        """Runs jobs. metric: the validation metric that is printed of each finished run."""
        from trivium.search.outcome import Outcome, outcome_of
        from trivium.search.scheduler import run_jobs

        def judge(job: Job, error: str | None) -> Outcome:
            # Among the ranks of an outer torchrun or srun, the first alone has the run's directory and its result.
            if error is None and not _is_first_rank():
                return Outcome("complete", "")
            return outcome_of(job.run, metric, error)

        return run_jobs(jobs, workers, reporter, judge)

    def _jobs(self, search: OpenStudy, trials: list[TrialToRun], shared: Sequence[str]) -> list[Job]:
        """Returns a job for each trial."""
        from trivium.config.config_folder import config_dir_option
        from trivium.config.space import as_text
        from trivium.core.wording import command
        from trivium.search.scheduler import Job
        from trivium.search.titles import settings_of, title_of

        folder, jobs = search.folder, []
        for trial in trials:
            drawn, keys = settings_of(trial.overrides), _keys(trial.overrides)
            settings = (*(word for word in shared if word.partition("=")[0] not in keys), *trial.overrides)
            for_this_start = (
                *self._title(title_of(drawn)),
                "resume=auto",
                f"run.study={as_text(str(folder))}",
                f"run.trial={trial.number}",
                f"run.dir={as_text(str(trial.run.path))}",
            )
            line = command("train", *config_dir_option(), *settings)
            words = (*settings, *for_this_start)
            if self._in_processes:
                words = (*config_dir_option(), *words)
            else:
                sweep_dir = f"hydra.sweep.dir={as_text(str(folder.absolute()))}"
                words = (*words, sweep_dir, f"hydra.sweep.subdir='{trial.number}'")
            jobs.append(Job(trial.name, trial.run, words, line, drawn))
        return jobs

    def _open(self, space: dict[str, Any], fixed: list[str], first: tuple[dict[str, Any], ...]) -> OpenStudy:
        """Opens the study of this command line, by the name that is given or by one made from its settings."""
        from trivium.config.monitor import monitor_of, read_monitor
        from trivium.search.naming import shared_settings, study_name
        from trivium.search.study import open_study
        from trivium.search.study_settings import StudySettings, definition

        config = self._composed(fixed)
        values = dict(self.settings)
        name, _ = values.pop("study"), values.pop("at_once")
        values["hosts"], values["first"] = tuple(values["hosts"]), first
        objective = monitor_of(config)
        if values["objective"] != "auto":
            objective = read_monitor(values["objective"], config, "hydra.sweeper.objective")
        values["objective"] = objective.key
        epochs = config["trainer"]["max_epochs"]
        settings = StudySettings(**values, lower_is_better=objective.lower_is_better, max_epochs=epochs)
        shared = shared_settings(config, space)
        words = [str(self.config.hydra.runtime.choices.get("sweep")), config["method"]["name"], config["data"]["name"]]
        name = name or study_name(words, {**shared, **definition(settings, space)})
        return open_study(Path(config["paths"]["outputs"]) / "studies" / name, settings, space, shared)

    def _composed(self, overrides: Sequence[str]) -> dict[str, Any]:
        from trivium.config.compose import plain

        return plain(self.context.config_loader.load_sweep_config(self.config, list(overrides)))

    def _plain(self, overrides: Sequence[str], searched: Iterable[str]) -> list[str]:
        """Returns the overrides without sweep=NAME, and with those choices of its file that are not searched."""
        from trivium.config.compose import Composer
        from trivium.config.sweep import without_sweep

        sources = self.config.hydra.runtime.config_sources
        folders = [Path(source.path) for source in sources if source.schema == "file"]
        session = Composer(self.context.config_loader, folders)
        return without_sweep(session, overrides, self.config.hydra.runtime.choices, searched)

    def _threads(self, arguments: Sequence[str]) -> list[str]:
        """Returns an override that gives parallel runs one thread each, unless trainer.threads is set."""
        is_set = "trainer.threads" in _keys(arguments) or self.config.trainer.threads
        return ["trainer.threads=1"] if (self._kind in PARALLEL_HERE or self._in_processes) and not is_set else []

    def _silence(self, arguments: Sequence[str]) -> list[str]:
        """Returns an override that silences runs that share this terminal, and would draw over each other's lines."""
        is_set = "trainer.progress" in _keys(arguments)
        return ["trainer.progress=off"] if self._kind in PARALLEL_HERE and not is_set else []

    def _group(self, name: str) -> list[str]:
        """Returns an override by which wandb shows a sweep's runs together."""
        return [f"logger.group={name}"] if self.config.logger.get("group") == "" else []

    def _title(self, title: str) -> list[str]:
        """Returns an override that names a run in wandb and TensorBoard by its settings, not by its number alone."""
        from trivium.config.space import as_text

        return [f"logger.title={as_text(title)}"] if title and self.config.logger.get("title") == "" else []

    def _trials_at_once(self, trainer: Mapping[str, Any]) -> int:
        """Returns hydra.sweeper.at_once, or what suits the launcher. trainer: the runs' settings."""
        from trivium.search.devices import usual_at_once

        if self.settings["at_once"]:
            return int(self.settings["at_once"])
        if self._kind == "basic":
            # Ranks that were started from outside all run the same trials, one after the other.
            return 1 if _has_ranks() else usual_at_once(trainer)
        jobs_at_once = int(OmegaConf.select(self.config.hydra.launcher, "n_jobs", default=1))
        return jobs_at_once if jobs_at_once > 0 else os.cpu_count() or 1

    @property
    def _in_processes(self) -> bool:
        """Tells whether a search's trials have processes of their own without another launcher."""
        return self._kind == "basic" and self._at_once > 1

    def _logs(self, folder: Path) -> Path:
        return folder / "logs"

    @property
    def _kind(self) -> str:
        """Returns the launcher's name."""
        return str(self.config.hydra.runtime.choices.get("hydra/launcher"))

    def _new_folder(self) -> Path:
        """Makes the grid's folder. Two grids that begin in one second share one only if hydra.sweep.dir names it."""
        folder = Path(self.config.hydra.sweep.dir).expanduser()
        is_set = any(override.startswith("hydra.sweep.dir=") for override in self.config.hydra.overrides.hydra)
        try:
            folder.mkdir(parents=True, exist_ok=is_set)
        except FileExistsError:
            folder = folder.with_name(f"{folder.name}_{os.getpid()}")
            folder.mkdir()
        self._sweep_into(folder)
        return folder

    def _sweep_into(self, folder: Path) -> None:
        """Sets the folder for files of launchers to an absolute path, as jobs may start in other folders."""
        with read_write(self.config), open_dict(self.config):
            self.config.hydra.sweep.dir = str(folder.absolute())


def _has_ranks() -> bool:
    sizes = (os.environ.get(name, "1") for name in ("WORLD_SIZE", "SLURM_STEP_NUM_TASKS"))
    return any(int(size) > 1 for size in sizes)


def _is_first_rank() -> bool:
    return int(os.environ.get("RANK", "0")) == 0


def _keys(overrides: Sequence[str]) -> set[str]:
    return {override.partition("=")[0].lstrip("+~") for override in overrides}
