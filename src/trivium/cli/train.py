"""Trains one run, or with -m one for each combination of values: `trivium train --help` lists the choices."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

# Hydra would shorten the tracebacks of errors.
os.environ.setdefault("HYDRA_FULL_ERROR", "1")
# torch's idle threads then sleep. Spinning ones would slow down everything else on a shared machine.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from trivium.config.check import check_command_line, errors_for_users, multirun_first
from trivium.config.compose import plain
from trivium.config.config_folder import CONFIGS, config_dir_option
from trivium.config.run_settings import with_settings_of_run
from trivium.config.space import with_home
from trivium.config.trust import trust
from trivium.core.wording import command
from trivium.runs.announce import say_settings


@hydra.main(version_base="1.3", config_path=str(CONFIGS), config_name="train")
def job(config: DictConfig) -> None:
    """Trains the run of one composed config; Hydra calls it, once for each job of a sweep."""
    trust(config.trust)
    composed = HydraConfig.get()
    if composed.mode != RunMode.MULTIRUN:
        settings = plain(config)
        say_settings(settings)
        # torch takes seconds to import.
        from trivium.runs.train import train

        # Here, as Hydra would first print a line of its own about an error.
        with errors_for_users():
            train(settings, list(composed.overrides.task))
        return
    from trivium.runs.train import train
    from trivium.search.devices import begin_worker
    from trivium.search.jobs import as_restarted, print_traceback

    if composed.runtime.choices.get("hydra/launcher") == "joblib":
        begin_worker()
    folder = Path(composed.runtime.output_dir)
    try:
        train(as_restarted(plain(config), folder), list(composed.overrides.task), default_dir=folder)
    except Exception as error:
        print_traceback(error)
        raise


def main(argv: Sequence[str]) -> int:
    """Returns the exit code 0. Raises SystemExit with code 2 for a mistake in the command line or in a file."""
    with errors_for_users():
        # hydra.main reads its arguments from sys.argv.
        words = check_command_line(multirun_first(with_settings_of_run(with_home(argv))))
        sys.argv = [command("train", *config_dir_option()), *words]
        job()
    return 0
