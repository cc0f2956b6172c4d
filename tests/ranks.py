"""A function on several gloo processes: what of a training step reaches over ranks, without a training around it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

import driver  # noqa: F401, says what the server of processes imports


def on_ranks(world: int, function: Callable[..., Any], *arguments: Any) -> list[Any]:
    """function(rank, *arguments) of every rank, at the top level of a module; its results (tensors, containers)."""
    with tempfile.TemporaryDirectory() as folder:
        start = "forkserver"  # the driver's, which has imported torch
        mp.start_processes(_rank, (world, folder, function, arguments), world, start_method=start)  # type: ignore[no-untyped-call]
        return [torch.load(Path(folder) / f"{rank}.pt") for rank in range(world)]


def _rank(rank: int, world: int, folder: str, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=world)
    torch.save(function(rank, *arguments), Path(folder) / f"{rank}.pt")
    dist.destroy_process_group()
