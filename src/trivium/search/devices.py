"""Says how many runs one machine trains at once, and gives each process a GPU of its own where no one chose."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from joblib import cpu_count

from trivium.core.locks import take
from trivium.core.processes import die_with_parent

# Open until the process ends, which frees the device however it ends.
_locks: list[IO[bytes]] = []


def usual_at_once(trainer: Mapping[str, Any]) -> int:
    """Returns how many runs to train at once: two on a CPU with cores for them, as two would share a GPU.

    trainer: the settings of each run, of which accelerator and devices count.
    """
    if trainer.get("devices", 1) not in (1, "auto") or cpu_count() < 2:
        return 1
    accelerator = trainer["accelerator"]
    return 2 if accelerator == "cpu" or (accelerator == "auto" and not _has_gpu()) else 1


def _has_gpu() -> bool:
    import torch

    return torch.cuda.is_available() or torch.backends.mps.is_available()


def begin_worker() -> None:
    """Prepares a process of joblib's: it ends with the sweep, and takes a GPU of its own where there are enough."""
    die_with_parent()
    take_device()


def take_device() -> None:
    """Lets this process see one GPU alone: the first that no other process of Trivium has taken, until it ends.

    To be called before CUDA is used; a second call changes nothing. With more processes than GPUs the later ones share.
    """
    if _locks:
        return
    import torch

    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = visible.split(",") if visible else [str(n) for n in range(torch.cuda.device_count())]
    if len(names) > 1:
        os.environ["CUDA_VISIBLE_DEVICES"] = choose(names, Path(tempfile.gettempdir()) / f"trivium-gpus-{os.getuid()}")


def choose(names: Sequence[str], folder: Path) -> str:
    """Returns the first name whose lock in `folder` is free, and locks it; else a name by the process's number."""
    folder.mkdir(mode=0o700, exist_ok=True)
    for name in names:
        file = take(folder / name.replace("/", "-"), wait=0.0)
        if file is not None:
            _locks.append(file)
            return name
    return names[os.getpid() % len(names)]
