"""The measurements: what is run, how often, and in which order."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trivium.benchmark.processes import Task, run, warm
from trivium.benchmark.table import Reports

OURS = Path(sys.executable)
WARM_UP = 2  # steps that are not counted


@dataclass
class Settings:
    """fraction: of MOSEI's clips. repeats: fresh processes of each side. steps: counted training steps of each side.

    threads: torch's, on both sides. mmsa: its interpreter, or None to measure ours alone.
    bert: keys of BertConfig, empty for BERT-base.
    """

    fraction: float
    repeats: int
    steps: int
    threads: int
    mmsa: Path | None
    loader_batch: int = 32
    step_batch: int = 16
    bert: dict[str, int] = field(default_factory=dict)


@dataclass
class Files:
    """What the measured processes read and write, all in one folder."""

    folder: Path

    @property
    def pickle(self) -> Path:
        return self.folder / "mosei.pkl"

    @property
    def store(self) -> Path:
        return self.folder / "mosei.h5"

    @property
    def model(self) -> Path:
        return self.folder / "bert"


def prepare(settings: Settings, files: Files) -> dict[str, Any]:
    """The files, made once: {"made": ..., "prepared": ...}."""
    made = run(
        OURS,
        "ours",
        "make",
        settings.threads,
        pickle=str(files.pickle),
        model=str(files.model),
        fraction=settings.fraction,
        bert=settings.bert,
    )
    prepared = run(OURS, "ours", "prepare", settings.threads, pickle=str(files.pickle), store=str(files.store))
    return {"made": made, "prepared": prepared}


def loading(settings: Settings, files: Files) -> Reports:
    """Opening and one epoch of batches: {"ours": [a report a process], "mmsa": [...]}, the sides in turn.

    Each side's file is read once right before its process starts: both find it in the page cache.
    """
    reports: Reports = {"ours": [], "mmsa": []}
    size = settings.loader_batch
    for _ in range(settings.repeats):
        warm(files.store)
        reports["ours"].append(run(OURS, "ours", "data", settings.threads, store=str(files.store), batch_size=size))
        if settings.mmsa is not None:
            warm(files.pickle)
            reports["mmsa"].append(
                run(settings.mmsa, "mmsa", "data", settings.threads, pickle=str(files.pickle), batch_size=size)
            )
    return reports


def steps(settings: Settings, files: Files, **trainer: str) -> Reports:
    """Training steps: {"ours": [{"seconds", "cpu_seconds"}, ...], "mmsa": [...]}.

    Both processes live at once, and step in turn. trainer: keys of configs/trainer for our side.
    """
    sides = {"ours": (OURS, {"store": str(files.store), **trainer})}
    if settings.mmsa is not None:
        sides["mmsa"] = (settings.mmsa, {"pickle": str(files.pickle)})
    common = {"model": str(files.model), "batch_size": settings.step_batch}
    times: Reports = {"ours": [], "mmsa": []}
    with ExitStack() as stack:
        tasks = {}
        for name, (python, own) in sides.items():
            folder = files.folder / f"{name}-{trainer.get('precision', 'cpu')}"
            folder.mkdir()
            task = Task(python, name, "step", {**common, **own, "folder": str(folder)}, settings.threads)
            tasks[name] = stack.enter_context(task)
            assert task.report() == "ready"
        for number in range(WARM_UP + settings.steps):
            for name, task in tasks.items():
                taken = task.step()
                if number >= WARM_UP:
                    times[name].append(taken)
    return times
