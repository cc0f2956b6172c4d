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
    if composed.runtime.choices.get("hydra/launcher") == "joblib":
        from trivium.search.devices import take_device

        take_device()
    overrides = list(composed.overrides.task)
    in_sweep = Path(composed.runtime.output_dir) if composed.mode == RunMode.MULTIRUN else None
    try:
        train(plain(config), overrides, default_dir=in_sweep)
    except Exception as error:
        if in_sweep:  # the other jobs run; at the end Hydra would tell of the first failure alone
            print(f"error: job {composed.job.num} ({' '.join(overrides)}): {error}", file=sys.stderr, flush=True)
        raise


if __name__ == "__main__":
    sys.argv[1:] = multirun_first(sys.argv[1:])
    check_command_line(sys.argv[1:], Path(__file__).parent / "configs")
    with errors_for_users():
        job()
