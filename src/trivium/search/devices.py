"""One GPU a process, where several processes of one machine train at once and none was told which to take."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from trivium.locks import take

_held: list[IO[bytes]] = []  # until the process ends, which gives the device back whatever it ends by


def begin_worker() -> None:
    """For a process of joblib's: it ends with the sweep, and has a GPU of its own where there are enough."""
    from trivium.runs.launch import die_with_parent  # with torch

    die_with_parent()
    take_device()


def take_device() -> None:
    """Let this process see one GPU alone: the first that no other process of ours has taken, for as long as it lives.

    To be called before CUDA is used; a second call changes nothing. With more processes than GPUs the later ones share.
    """
    if _held:
        return
    import torch

    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = visible.split(",") if visible else [str(n) for n in range(torch.cuda.device_count())]
    if len(names) > 1:
        os.environ["CUDA_VISIBLE_DEVICES"] = choose(names, Path(tempfile.gettempdir()) / f"trivium-gpus-{os.getuid()}")


def choose(names: Sequence[str], folder: Path) -> str:
    """The first name whose lock in `folder` is free, now held by this process; else one by the process's number."""
    folder.mkdir(mode=0o700, exist_ok=True)
    for name in names:
        file = take(folder / name.replace("/", "-"), wait=0.0)
        if file is not None:
            _held.append(file)
            return name
    return names[os.getpid() % len(names)]
