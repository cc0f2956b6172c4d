"""Finds the folder of config files: beside the sources in a checkout, inside the package where it is installed."""

from __future__ import annotations

from pathlib import Path

import trivium


def _config_folder() -> Path:
    package = Path(trivium.__file__).resolve().parent
    checkout = package.parents[1] / "configs"
    # In a checkout there is one copy, the one at the top level that people edit; setup.py copies it into a wheel.
    return package / "configs" if (package / "configs").is_dir() else checkout


CONFIGS = _config_folder()
# Read by `trivium reproduce`; no group of a run's choices.
TABLES = CONFIGS / "table"
