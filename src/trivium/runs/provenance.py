"""What a run was made with: the commit, the libraries, the machine."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

import trivium

_VERSIONS = ("torch", "lightning", "hydra-core", "omegaconf", "torchmetrics", "h5py", "numpy", "transformers")


def git_commit() -> str | None:
    """The commit of the checkout that trivium runs from, with "-dirty" if tracked files differ; None without git."""
    root = Path(trivium.__file__).parents[2]

    def git(*words: str) -> str | None:
        try:
            done = subprocess.run(["git", "-C", str(root), *words], capture_output=True, text=True, check=False)
        except FileNotFoundError:
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    commit = git("rev-parse", "HEAD")
    return commit and commit + ("-dirty" if git("status", "--porcelain", "--untracked-files=no") else "")


def versions() -> dict[str, str]:
    """Python's and the main libraries' versions, of those installed."""
    found = {"python": platform.python_version(), "trivium": trivium.__version__}
    for name in _VERSIONS:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue  # transformers is optional
    return found


def hardware() -> dict[str, Any]:
    """Host, processor and accelerators, as far as they decide about speed and bits."""
    import torch

    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return {
        "machine": platform.machine(),
        "system": platform.platform(),
        "cpus": os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
        "gpus": gpus,
    }
