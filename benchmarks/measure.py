"""Runs the measurements: which tasks, how often, and in which order."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.child_process import BATCHES
from benchmarks.shared_methods import SELF_MM, SharedMethod
from benchmarks.task_process import Task, run, warm

Reports = dict[str, list[dict[str, float]]]  # side -> what each repeat reported
OURS = Path(sys.executable)
WARM_UP = 2  # steps that are not counted; on a GPU, where a new shape costs more, as many as there are batches
LENGTHS = ("mosi", "full")  # of CoMM's clips


@dataclass
class BenchmarkSettings:
    """Holds what the user may set, and what tests make smaller.

    fraction: share of MOSEI's clips. repeats: fresh processes of each side. steps: counted training steps of a side.

    threads: torch's, on both sides. mmsa: its interpreter, or None to measure ours alone.
    bert: keys of BertConfig, empty for BERT-base. comm, gmc: overrides of CoMM's, and of GMC's and M3ixup's
    configs, none as published.
    """

    fraction: float
    repeats: int
    steps: int
    threads: int
    mmsa: Path | None
    loader_batch: int = 32
    step_batch: int = 16
    bert: dict[str, int] = field(default_factory=dict)
    comm: tuple[str, ...] = ()
    gmc: tuple[str, ...] = ()


@dataclass
class TCMaxSizes:
    """Holds the sizes (clips, classes) of TCMax's measurements.

    small, large: forward and backward beside the dense table.

    growing: numbers of clips, each twice the one before, at which the peak memory of ours is measured; up to
    `dense_up_to` clips, the dense table's too.
    mixing: three modalities whose parts of `size` a fusion mixes.
    """

    small: tuple[int, int] = (512, 7)
    large: tuple[int, int] = (1024, 309)
    growing: tuple[int, ...] = (256, 512, 1024, 2048)
    dense_up_to: int = 512
    mixing: tuple[int, int] = (128, 7)
    size: int = 128
    fusions: tuple[str, ...] = ("gated", "gmu")


@dataclass
class Files:
    """Names the files that measured processes read and write, all in one folder.

    aligned: audio and vision have the text's steps.
    """

    folder: Path
    aligned: bool = False

    def __post_init__(self) -> None:
        self.folder = self.folder.resolve()  # MMSA's side changes its working directory

    @property
    def pickle(self) -> Path:
        return self.folder / f"{self._name}.pkl"

    @property
    def store(self) -> Path:
        return self.folder / f"{self._name}.h5"

    @property
    def model(self) -> Path:
        return self.folder / "bert-base-uncased"  # MMSA's MAG-BERT takes no other name

    @property
    def _name(self) -> str:
        return "aligned" if self.aligned else "mosei"


def prepare(settings: BenchmarkSettings, files: Files) -> dict[str, Any]:
    """Makes the files, once. Returns {"made": ..., "prepared": ...}, what the tasks reported."""
    made = run(
        OURS,
        "our_side",
        "make",
        settings.threads,
        pickle=str(files.pickle),
        model=str(files.model),
        fraction=settings.fraction,
        bert=settings.bert,
        aligned=files.aligned,
    )
    prepared = run(OURS, "our_side", "prepare", settings.threads, pickle=str(files.pickle), store=str(files.store))
    return {"made": made, "prepared": prepared}


def loading(settings: BenchmarkSettings, files: Files) -> Reports:
    """Measures opening and one epoch of batches, the sides in turn: {"ours": [a report a process], "mmsa": [...]}.

    Each side's file is read once right before its process starts: both find it in the page cache.
    """
    reports: Reports = {"ours": [], "mmsa": []}
    size = settings.loader_batch
    for _ in range(settings.repeats):
        warm(files.store)
        reports["ours"].append(run(OURS, "our_side", "data", settings.threads, store=str(files.store), batch_size=size))
        if settings.mmsa is not None:
            warm(files.pickle)
            reports["mmsa"].append(
                run(settings.mmsa, "mmsa_side", "data", settings.threads, pickle=str(files.pickle), batch_size=size)
            )
    return reports


def steps(settings: BenchmarkSettings, files: Files, method: SharedMethod = SELF_MM, **trainer: str) -> Reports:
    """Measures a method's training steps: {"ours": [{"seconds", "cpu_seconds"}, ...], "mmsa": [...]}.

    Both processes live at once, and step in turn. trainer: keys of configs/trainer for our side.
    """
    model = str(files.model)
    ours: dict[str, Any] = {"store": str(files.store), "overrides": method.overrides}
    ours["model"] = model if method.bert else ""
    sides = {"ours": (OURS, "our_side", ours | trainer)}
    if settings.mmsa is not None:
        theirs: dict[str, Any] = {"pickle": str(files.pickle), "model": model}
        theirs |= {"name": method.model, "arguments": method.arguments}
        sides["mmsa"] = (settings.mmsa, "mmsa_side", theirs | {"trainer": method.trainer})
    times: Reports = {"ours": [], "mmsa": []}
    warm_up = BATCHES if trainer.get("accelerator") == "gpu" else WARM_UP
    with ExitStack() as stack:
        tasks = {}
        for name, (python, module, side_settings) in sides.items():
            folder = tempfile.mkdtemp(prefix=f"{name}-", dir=files.folder)
            batch_size = method.batch or settings.step_batch
            common = {"batch_size": batch_size, "folder": folder, "stage": method.stage}
            task = Task(python, module, "step", {**common, **side_settings}, settings.threads)
            tasks[name] = stack.enter_context(task)
            assert task.report() == "ready"
        for number in range(warm_up + settings.steps):
            for name, task in tasks.items():
                taken = task.step()
                if number >= warm_up:
                    times[name].append(taken)
    return times


def tcmax_times(settings: BenchmarkSettings, sizes: TCMaxSizes) -> dict[str, Reports]:
    """Measures TCMax's loss: {"small", "large": {"ours": [{"seconds", "cpu_seconds"}, ...], "dense": [...]}}.

    A table of the large size takes seconds, so it is made `repeats` times and the small one `steps` times.
    """
    times = {}
    for name, repeats in (("small", settings.steps), ("large", settings.repeats)):
        clips, classes = getattr(sizes, name)
        times[name] = run(
            OURS, "tcmax_loss", "compare", settings.threads, clips=clips, classes=classes, repeats=repeats
        )
    return times


def tcmax_peaks(settings: BenchmarkSettings, sizes: TCMaxSizes) -> Reports:
    """Measures peaks of fresh processes: {"ours": [{"mib"} at each of sizes.growing], "dense": [{"mib"}, ...]}."""
    classes = sizes.large[1]
    return {
        side: [
            run(OURS, "tcmax_loss", "peak", settings.threads, side=side, clips=clips, classes=classes)
            for clips in sizes.growing
            if side == "ours" or clips <= sizes.dense_up_to
        ]
        for side in ("ours", "dense")
    }


def tcmax_mixing(settings: BenchmarkSettings, sizes: TCMaxSizes) -> Reports:
    """Measures mixing fusions, each in a fresh process: {fusion: [{"seconds", "cpu_seconds", "mib"}, ...]}."""
    clips, classes = sizes.mixing
    keys = {"clips": clips, "classes": classes, "size": sizes.size}
    return {
        fusion: [
            run(OURS, "tcmax_loss", "mixing", settings.threads, fusion=fusion, **keys) for _ in range(settings.repeats)
        ]
        for fusion in sizes.fusions
    }


def run_epochs(settings: BenchmarkSettings, methods: Sequence[str], store: str) -> dict[str, Any]:
    """Measures epochs of a run and of a bare loop in turn, in one process for each method."""
    keys = {"store": store, "epochs": settings.steps, "repeats": settings.repeats}
    return {method: run(OURS, "bare_loop", "compare", settings.threads, method=method, **keys) for method in methods}


def comm(settings: BenchmarkSettings) -> dict[str, Any]:
    """Measures CoMM's training steps of both sides in turn, in one process for each of LENGTHS."""
    keys = {"steps": settings.steps, "warm_up": WARM_UP, "overrides": settings.comm}
    return {
        lengths: run(OURS, "comm_step", "compare", settings.threads, lengths=lengths, **keys) for lengths in LENGTHS
    }


def gmc(settings: BenchmarkSettings, device: str = "cpu") -> dict[str, Any]:
    """Measures M3ixup's and GMC's training steps in turn, in one process for each of LENGTHS."""
    warm_up = WARM_UP if device == "cpu" else BATCHES
    keys = {"steps": settings.steps, "warm_up": warm_up, "overrides": settings.gmc, "device": device}
    return {
        lengths: run(OURS, "m3ixup_step", "compare", settings.threads, lengths=lengths, **keys) for lengths in LENGTHS
    }


def comm_alone(settings: BenchmarkSettings, modes: Sequence[str], device: str = "cuda") -> dict[str, dict[str, Any]]:
    """Measures our steps on a device: {mode: {lengths: [...]}}."""
    keys = {"steps": settings.steps, "warm_up": BATCHES, "overrides": settings.comm, "device": device}
    return {
        mode: {
            lengths: run(OURS, "comm_step", "alone", settings.threads, mode=mode, lengths=lengths, **keys)
            for lengths in LENGTHS
        }
        for mode in modes
    }
