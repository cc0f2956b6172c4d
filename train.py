"""Trains one run, or with -m one for each combination of values: `python train.py --help` lists the choices."""

import os
import sys
from pathlib import Path

# whole tracebacks
os.environ.setdefault("HYDRA_FULL_ERROR", "1")
# torch's idle threads sleep: spinning stalls a shared machine
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from trivium.config.check import check_command_line, errors_for_users, multirun_first
from trivium.config.compose import plain


@hydra.main(version_base="1.3", config_path="configs", config_name="train")
def job(config: DictConfig) -> None:
    # torch is imported only after the check
    from trivium.runs.train import train

    composed = HydraConfig.get()
    if composed.mode != RunMode.MULTIRUN:
        train(plain(config), list(composed.overrides.task))
        return
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


if __name__ == "__main__":
    sys.argv[1:] = multirun_first(sys.argv[1:])
    sys.argv[1:] = check_command_line(sys.argv[1:], Path(__file__).parent / "configs")
    with errors_for_users():
        job()
