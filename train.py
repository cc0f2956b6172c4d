"""One run, or with -m one for each combination of values: `python train.py --help` lists the choices."""

import os
import sys
from pathlib import Path

os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # whole tracebacks

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from trivium.config.check import check_command_line, errors_for_users
from trivium.config.compose import plain


@hydra.main(version_base="1.3", config_path="configs", config_name="train")
def job(config: DictConfig) -> None:
    from trivium.runs.train import train  # torch comes only after the check

    composed = HydraConfig.get()
    in_sweep = Path(composed.runtime.output_dir) if composed.mode == RunMode.MULTIRUN else None
    train(plain(config), list(composed.overrides.task), default_dir=in_sweep)


if __name__ == "__main__":
    check_command_line(sys.argv[1:], Path(__file__).parent / "configs")
    with errors_for_users():
        job()
