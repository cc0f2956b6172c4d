"""One run, or with -m one for each combination of values: `python train.py --help` lists the choices."""

import os
import sys
from pathlib import Path

os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # whole tracebacks
os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # torch's idle threads sleep; spinning stalls a shared machine

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from trivium.config.arguments import multirun_first
from trivium.config.check import check_command_line, errors_for_users
from trivium.config.compose import plain


@hydra.main(version_base="1.3", config_path="configs", config_name="train")
def job(config: DictConfig) -> None:
    from trivium.runs.train import train  # torch comes only after the check

    composed = HydraConfig.get()
    if composed.mode != RunMode.MULTIRUN:
        train(plain(config), list(composed.overrides.task))
        return
    from trivium.search.devices import begin_worker
    from trivium.search.jobs import as_restarted, tell_where

    if composed.runtime.choices.get("hydra/launcher") == "joblib":
        begin_worker()
    folder = Path(composed.runtime.output_dir)
    try:
        train(as_restarted(plain(config), folder), list(composed.overrides.task), default_dir=folder)
    except Exception as error:
        tell_where(error)
        raise


if __name__ == "__main__":
    sys.argv[1:] = multirun_first(sys.argv[1:])
    sys.argv[1:] = check_command_line(sys.argv[1:], Path(__file__).parent / "configs")
    with errors_for_users():
        job()
