"""Finds out which commit, libraries and machine a run is made with."""

from __future__ import annotations

import contextlib
import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

import trivium

_VERSIONS = ("torch", "lightning", "hydra-core", "omegaconf", "torchmetrics", "h5py", "numpy", "transformers")


def git_commit() -> str | None:
    """Returns the commit of this checkout, with "-dirty" if tracked files differ from it, or None without git."""
    root = Path(trivium.__file__).parents[2]

    def git(*words: str) -> str | None:
        try:
            process = subprocess.run(["git", "-C", str(root), *words], capture_output=True, text=True, check=False)
        except FileNotFoundError:
            return None
        return process.stdout.strip() if process.returncode == 0 else None

    commit = git("rev-parse", "HEAD")
    return commit and commit + ("-dirty" if git("status", "--porcelain", "--untracked-files=no") else "")


def versions() -> dict[str, str]:
    """Returns the versions of Python, of trivium and of the main libraries that are installed."""
    installed = {"python": platform.python_version(), "trivium": trivium.__version__}
    for name in _VERSIONS:
        # transformers is optional.
        with contextlib.suppress(metadata.PackageNotFoundError):
            installed[name] = metadata.version(name)
    return installed


def hardware() -> dict[str, Any]:
    """Returns the facts of the machine that speed and last bits depend on: system, processors and GPUs."""
    import torch

    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return {
        "machine": platform.machine(),
        "system": platform.platform(),
        "cpus": os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
        "gpus": gpus,
    }
