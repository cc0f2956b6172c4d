"""Makes Lightning's Trainer from the plain config."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import Callback, EarlyStopping
from lightning.pytorch.loggers import Logger
from lightning.pytorch.plugins.precision import HalfPrecision
from lightning.pytorch.strategies import DDPStrategy, Strategy

from trivium.config.instantiate import build, target
from trivium.config.monitor import monitor_of
from trivium.core.distributed import world
from trivium.core.interruption import other_handler
from trivium.data.batch import Batch
from trivium.evaluation.validation import Validation
from trivium.runs.callbacks import KeepHandler, make_callbacks, make_profiler
from trivium.runs.checkpointing import AtomicCheckpointIO
from trivium.runs.directory import RunDirectory
from trivium.runs.loggers import make_loggers
from trivium.runs.progress_bar import EpochBar
from trivium.runs.recorder import Recorder

# Named by text, as loggers are, because searches stand above runs, and a run alone does without Optuna.
_PRUNING = "trivium.search.pruning.Pruning"
# Lightning warns so of every loader that is no torch DataLoader, or of choices that were made here on purpose.
_HARMLESS_WARNINGS = (
    ".*does not have many workers.*",
    ".*smaller than the logging interval.*",
    ".*`isinstance.treespec.*",
    # Processes that srun did not start are no mistake: a sweep's on a login node, or torchrun's.
    ".*`srun` command is available.*",
    # Validation values are computed alike on every rank.
    ".*sync_dist=True.*",
    # The successor is not in the oldest torch that is supported.
    ".*`broadcast_buffers` is deprecated.*",
)


class _HalfButTargets(HalfPrecision):
    """Puts features into half precision, but not targets and weights, as a rounded score may be of another class."""

    def convert_input(self, data: Any) -> Any:
        converted = super().convert_input(data)
        return replace(converted, targets=data.targets, weight=data.weight) if isinstance(data, Batch) else converted


def make_trainer(config: dict[str, Any], run: RunDirectory) -> tuple[L.Trainer, Recorder]:
    """Returns the Trainer of this process, and the callback that records the run."""
    for message in _HARMLESS_WARNINGS:
        warnings.filterwarnings("ignore", message)
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    node = config["trainer"]
    show = node["progress"]
    # The bar is drawn where the lines of epochs go, which stay above it.
    bar = show == "bar" or (show == "auto" and sys.stdout.isatty())
    monitor = monitor_of(config)
    recorder = Recorder(
        run,
        monitor,
        checkpoint_every=int(config["run"]["checkpoint_every"]),
        select=node["select"],
        log_steps=bool(config["run"]["log_steps"]),
        # These keys are newer than version 0.1.0.
        audit=bool(config["run"].get("audit")),
        learning_imbalance=bool(config["run"].get("learning_imbalance")),
        print_lines=show != "off",
    )
    callbacks: list[Callback] = [Validation(monitor), recorder]
    if node["patience"]:
        patience = {"patience": node["patience"], "min_delta": node["min_delta"], "check_finite": False}
        callbacks.append(EarlyStopping(monitor.key, mode=monitor.mode, **patience))
    if config["run"]["study"]:
        trial = {"folder": Path(config["run"]["study"]), "number": config["run"]["trial"]}
        callbacks.append(build({"_target_": _PRUNING, **trial}, recorder=recorder))
    if bar:
        callbacks.append(EpochBar())
    if (handler := other_handler()) is not None:
        callbacks.append(KeepHandler(handler))
    callbacks += make_callbacks(node.get("callbacks", []), _accelerator(node["accelerator"]))
    if node["deterministic"]:
        # cuBLAS needs it for deterministic results, before it is first used. Without a GPU it does nothing.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        # Otherwise that mode fills every new tensor before it is written, which is up to a fifth of a step on a CPU.
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    try:
        trainer = _make(config, run, callbacks, make_loggers(config, run), bar)
    except MisconfigurationException as error:
        # The accelerator is not on this machine, or does not have the precision.
        raise ValueError(f"trainer: {error}") from error
    return trainer, recorder


def _make(
    config: dict[str, Any], run: RunDirectory, callbacks: list[Callback], loggers: list[Logger], bar: bool
) -> L.Trainer:
    node = config["trainer"]
    plugins: list[Any] = [AtomicCheckpointIO(), _environment()]
    if node["precision"] == "bf16-true":
        plugins.append(_HalfButTargets("bf16-true"))
    return L.Trainer(
        accelerator=_accelerator(node["accelerator"]),
        devices=node["devices"],
        num_nodes=node["num_nodes"],
        strategy=_strategy(
            node, has_unused_parameters=getattr(target(config["fusion"]), "reads", "pooled") == "tokens"
        ),
        precision=None if node["precision"] == "bf16-true" else node["precision"],
        max_epochs=node["max_epochs"],
        accumulate_grad_batches=node["accumulate_grad_batches"],
        gradient_clip_val=node["gradient_clip"] or None,
        # The key is newer than version 0.1.0, whose runs clip by the norm.
        gradient_clip_algorithm=node.get("gradient_clip_by", "norm"),
        deterministic=node["deterministic"],
        callbacks=callbacks,
        logger=loggers,
        plugins=plugins,
        profiler=make_profiler(node.get("profiler", "none"), run.path),
        default_root_dir=run.path,
        enable_progress_bar=bar,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
    )


def _environment() -> ClusterEnvironment:
    """Returns Lightning's view of the processes that `join_ranks` has joined.

    Lightning would look at the variables of SLURM itself. It counts a job's tasks where one process of them trains or
    torchrun has started others, refuses `srun -n 2`, and takes SIGUSR1 for a wish to queue the job again.
    """
    return TorchElasticEnvironment() if world() > 1 else LightningEnvironment()


def _accelerator(choice: str) -> str:
    """Returns Lightning's name for the accelerator "auto", "cpu" or "gpu", where a GPU is one of NVIDIA's.

    Apple's GPUs have no float64, in which sums of losses are kept. Raises ValueError if "gpu" is chosen without one.
    """
    has_cuda = torch.cuda.is_available()
    if choice == "gpu" and not has_cuda:
        raise ValueError(
            f"trainer.accelerator=gpu: torch {torch.__version__} finds no NVIDIA GPU here; take "
            "trainer.accelerator=cpu, or install a torch that is built for CUDA (https://pytorch.org)"
        )
    return "cuda" if has_cuda and choice != "cpu" else "cpu"


def _strategy(node: dict[str, Any], has_unused_parameters: bool) -> Strategy | str:
    """Returns Lightning's strategy.

    has_unused_parameters: whether some may get no gradient, as those of an encoder's pooled vector do where the fusion
    reads tokens.
    """
    if node["strategy"] != "ddp" and node["devices"] * node["num_nodes"] == 1:
        return "auto"
    # Banks are computed alike on every rank, so no buffer has to be broadcast.
    backend = "gloo" if node["accelerator"] == "cpu" else None
    return DDPStrategy(
        broadcast_buffers=False, process_group_backend=backend, find_unused_parameters=has_unused_parameters
    )
