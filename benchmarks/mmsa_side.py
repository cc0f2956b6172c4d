"""Measures MMSA's side, as a process of the environment that MMSA is installed in.

It calls MMSA's public classes: its loader, its model and its trainer run as they are, without a change or a shim.

`python -m benchmarks.mmsa_side TASK JSON`. MMSA 2.2.1 (https://github.com/thuiar/MMSA, MIT), model self_mm, mosei.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
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


def step(report: Report, *, pickle: str, model: str, folder: str, batch_size: int) -> None:
    """Takes training steps in its trainer's loop, each when it is asked for.

    `do_train` goes over the train batches once for the labels, then an epoch at a time; unimodal labels are made from
    its second epoch on. So the first pass gives every label, the second one batch, and the third is the measured one.
    """
    import torch
    from MMSA.data_loader import MMDataLoader
    from MMSA.models import AMIO  # type: ignore[import-not-found, unused-ignore]
    from MMSA.trains import ATIO  # type: ignore[import-not-found, unused-ignore]

    arguments = _arguments(pickle, batch_size)
    dataset = MMDataLoader(arguments, 0)["train"].dataset
    clips = [dataset[n] for n in range(min(len(dataset), BATCHES * batch_size))]
    batches = [torch.utils.data.default_collate(clips[n : n + batch_size]) for n in range(0, len(clips), batch_size)]
    labels = {"labels": {"M": torch.from_numpy(dataset.labels["M"])}, "index": torch.arange(len(dataset))}
    arguments.update(
        device=torch.device("cpu"),
        train_mode="regression",
        train_samples=len(dataset),
        pretrained=model,
        update_epochs=1,  # an optimiser step each batch
        model_save_path=f"{folder}/mmsa.pth",
    )

    class Train:
        passes = 0

        def __iter__(self) -> Iterator[Any]:
            self.passes += 1
            first = {1: [labels], 2: batches[:1]}
            return iter(first[self.passes]) if self.passes in first else paced(batches, report)

        def __len__(self) -> int:
            return 1

    trainer = ATIO().getTrain(arguments)
    trainer.do_train(AMIO(arguments), {"train": Train(), "valid": batches[:1]})


def _arguments(pickle: str, batch_size: int) -> Any:
    from MMSA import get_config_regression  # type: ignore[import-not-found, unused-ignore]

    arguments = get_config_regression("self_mm", "mosei")
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
