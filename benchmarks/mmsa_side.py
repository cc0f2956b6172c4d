"""Measures MMSA's side, as a process of the environment that MMSA is installed in.

It calls MMSA's public classes: its loader, its model and its trainer run as they are, without a change or a shim.

`python -m benchmarks.mmsa_side TASK JSON`. MMSA 2.2.1 (https://github.com/thuiar/MMSA, MIT), its config for mosei.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.child_process import BATCHES, Report, paced, peak_mib, reports


def data(report: Report, *, pickle: str, batch_size: int) -> None:
    """Opens its loaders of all splits, then reads an epoch of train batches without workers and with 4, its default."""
    import torch
    from MMSA.data_loader import MMDataLoader  # type: ignore[import-not-found, unused-ignore]

    imported = peak_mib()
    start = time.perf_counter()
    loaders = MMDataLoader(_arguments(pickle, batch_size), 0)
    opened, peak = time.perf_counter() - start, peak_mib()
    alone = _epoch(loaders["train"])
    at_end = peak_mib()
    workers = torch.utils.data.DataLoader(loaders["train"].dataset, batch_size=batch_size, num_workers=4, shuffle=True)
    report(
        {
            "imported_mib": imported,
            "open_seconds": opened,
            "open_mib": peak,
            "epoch_seconds": alone,
            "epoch_workers_seconds": _epoch(workers),
            "epoch_mib": at_end,
            "batches": len(workers),
        }
    )


def step(
    report: Report,
    *,
    pickle: str,
    model: str,
    folder: str,
    batch_size: int,
    name: str,
    arguments: dict[str, Any],
    trainer: str,
    stage: int,
) -> None:
    """Takes training steps of model `name` in its trainer's loop, each when it is asked for.

    arguments: changes of MMSA's config. trainer: the name of another model whose trainer trains it, or "".
    stage: the pass of an epoch that is measured, of MMIM's two.
    """
    import torch
    from MMSA.data_loader import MMDataLoader
    from MMSA.models import AMIO  # type: ignore[import-not-found, unused-ignore]
    from MMSA.trains import ATIO  # type: ignore[import-not-found, unused-ignore]

    config = _arguments(pickle, batch_size, name)
    config.update(arguments)
    dataset = MMDataLoader(config, 0)["train"].dataset
    clips = [dataset[n] for n in range(min(len(dataset), BATCHES * batch_size))]
    batches = [torch.utils.data.default_collate(clips[n : n + batch_size]) for n in range(0, len(clips), batch_size)]
    config.update(
        device=torch.device("cpu"),
        train_mode="regression",
        train_samples=len(dataset),
        pretrained=model,
        update_epochs=1,  # an optimiser step each batch
        model_save_path=f"{folder}/mmsa.pth",
    )
    os.chdir(Path(model).parent)  # MAG-BERT loads the folder "bert-base-uncased", whatever `pretrained` is

    # Self-MM's `do_train` goes over the train batches once for the labels, then an epoch at a time; unimodal labels are
    # made from its second epoch on. So its first pass gives every label, the second one batch.
    labels = {"labels": {"M": torch.from_numpy(dataset.labels["M"])}, "index": torch.arange(len(dataset))}
    first_passes = [[labels], batches[:1]] if name == "self_mm" else []

    class Train:
        def __iter__(self) -> Iterator[Any]:
            return iter(first_passes.pop(0)) if first_passes else paced(batches, report)

        def __len__(self) -> int:
            return 1_000_000  # MMIM's first stage ends with half of the batches

    network, loaders = AMIO(config), {"train": Train(), "valid": batches[:1]}
    trains = ATIO().TRAIN_MAP[trainer or name](config)
    if name == "mmim":
        _train_mmim(trains, network, loaders, stage)
    else:
        trains.do_train(network, loaders)


def _train_mmim(trains: Any, network: Any, loaders: Any, stage: int) -> None:
    """Trains one of MMIM's stages, with optimisers over the parameters that its `do_train` chooses.

    `do_train` itself passes `verbose` to a scheduler, which torch takes no more.
    """
    import torch

    parts: dict[str, list[Any]] = {"bert": [], "mmilb": [], "main": []}
    for name, parameter in network.named_parameters():
        parts["bert" if "bert" in name else "mmilb" if "mi" in name else "main"].append(parameter)
    groups = {
        part: {"params": members, "lr": trains.args[f"lr_{part}"], "weight_decay": trains.args[f"weight_decay_{part}"]}
        for part, members in parts.items()
    }
    trains.model = network
    trains.optimizer_mmilb = torch.optim.Adam([groups["mmilb"]])
    trains.optimizer_main = torch.optim.Adam([groups["bert"], groups["main"]])
    (trains.train_mmilb if stage == 1 else trains.train_others)(loaders)


def _arguments(pickle: str, batch_size: int, name: str = "self_mm") -> Any:
    from MMSA import get_config_regression  # type: ignore[import-not-found, unused-ignore]

    arguments = get_config_regression(name, "mosei")
    arguments.update(custom_feature=pickle, feature_T="", feature_A="", feature_V="", batch_size=batch_size)
    return arguments


def _epoch(loader: Any) -> float:
    """Returns the seconds to read every value of every batch once."""
    start = time.perf_counter()
    total = 0.0
    for batch in loader:
        total += sum(float(batch[name].sum()) for name in ("text", "audio", "vision"))
    return time.perf_counter() - start


TASKS: dict[str, Callable[..., None]] = {"data": data, "step": step}

if __name__ == "__main__":
    TASKS[sys.argv[1]](reports(), **json.loads(sys.argv[2]))
