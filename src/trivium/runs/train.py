"""Trains one run, from top to bottom: find its directory, open the data, build the method, fit, test last, record."""

from __future__ import annotations

import contextlib
import os
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.utilities.exceptions import SIGTERMException

from trivium.config.monitor import monitor_of
from trivium.config.space import path_setting
from trivium.core.distributed import gather_objects
from trivium.core.heartbeat import heartbeat
from trivium.core.interruption import TERMINATED, Interrupted, Terminated
from trivium.core.system_errors import is_of_memory
from trivium.core.wording import command
from trivium.data.datamodule import DataModule
from trivium.data.store import Store
from trivium.methods.base import Method
from trivium.runs.announce import Say, say, say_model, silent
from trivium.runs.assemble import assemble
from trivium.runs.checkpointing import load_checkpoint
from trivium.runs.directory import RunDirectory
from trivium.runs.final_test import run_final_test
from trivium.runs.launch import Ranks, join_ranks, launch_workers, wants_workers
from trivium.runs.loggers import deliver, deliver_again, end_all, loggers_of, tell_unsent
from trivium.runs.pruned import Pruned
from trivium.runs.recorder import Recorder
from trivium.runs.resume import open_run
from trivium.runs.start_from import refuse_another_fold, start_from
from trivium.runs.terminal import print_result
from trivium.runs.trainer import make_trainer


def train(config: dict[str, Any], overrides: list[str], default_dir: Path | None = None) -> dict[str, Any]:
    """Runs `config` (plain and resolved) and returns its result.json.

    Returns an empty dict on ranks other than the first, and for a trial of a search that was pruned.
    default_dir: the directory of a new run if run.dir is empty (a folder of a sweep). Raises ValueError for settings or
    files that do not fit and for too little memory, NonFiniteLossError, ChildProcessError if a worker process failed,
    and NotSentError if the run is finished but wandb or TensorBoard has not received all of it.
    """
    ranks = join_ranks(config)
    # Sweeps tell of their runs themselves.
    tell = say if ranks.is_first and default_dir is None and config["trainer"]["progress"] != "off" else silent
    run = ranks.first(lambda: open_run(config, overrides, default_dir, tell))
    try:
        if run.finished:
            print(f"{run.path} is finished; this is its result")
            if ranks.is_first:
                deliver_again(config, run)
        else:
            tell("run", str(run.path))
            if wants_workers(config, ranks):
                launch_workers(run, config, loud=tell is say)
            else:
                fit_and_test(config, run, tell)
        # Of the runs that end without an error, a pruned one alone has no result.
        pruned = not run.finished
        if pruned or not ranks.is_first:
            return {}
        result = run.result()
        # A search shows no test scores, as nobody should choose by them.
        if not config["run"]["study"]:
            print_result(run, result)
        tell_unsent(config, run)
        return result
    except BaseException as error:
        if ranks.is_first:
            run.discard_unstarted()
        if isinstance(error, KeyboardInterrupt):
            raise Interrupted(*_go_on(config, run, ranks)) from error
        if isinstance(error, SystemExit) and error.code == TERMINATED:
            raise Terminated(*_go_on(config, run, ranks)) from error
        if is_of_memory(error):
            reason = " ".join(str(error).split())[:200] or "no memory left"
            raise ValueError(
                f"{run.path}: too little memory ({reason}). End other programs, or take smaller batches in a new run: "
                "data.batch_size, data.eval_batch_size. What was trained is kept, and resume=auto goes on with it"
            ) from error
        raise
    finally:
        run.release()


def _go_on(config: dict[str, Any], run: RunDirectory, ranks: Ranks) -> tuple[str, ...]:
    """Records that the run was interrupted, and returns the command by which it goes on, if it has begun."""
    if not run.config_file.is_file():
        return ()
    if ranks.is_first and not run.finished:
        run.update_record(status="interrupted")
    # A run's files never say what is trusted.
    trusted = [f"trust=[{','.join(config['trust'])}]"] if config.get("trust") else []
    return "train", path_setting("resume", run.path), *trusted


def fit_and_test(config: dict[str, Any], run: RunDirectory, tell: Say = silent) -> None:
    """Trains in this process (one of the ranks, where there are several), then tests and records on the first rank."""
    with _threads(config["trainer"]["threads"]):
        store, data, method = assemble(config)
        if config["start_from"]:
            refuse_another_fold(Path(config["start_from"]), store)
            start_from(method, Path(config["start_from"]))
        monitor_of(config).refuse_unless_in(method.monitorable, f"method={method.name or type(method).__name__}")
        if config["trainer"]["precision"] == "64-true":
            # Lightning would do this after reading a checkpoint, whose values would then pass through float32.
            method.double()
        trainer, recorder = make_trainer(config, run)
        say_model(method, trainer, tell)
        _warn_of_a_short_window(config, data)
        with _ended_with_status(run, trainer):
            _refuse_another_store(run, store, trainer.is_global_zero)
            _fit(config, run, trainer, recorder, data, method)
            if trainer.is_global_zero:
                run_final_test(run, trainer, recorder, store, data, method)


def _warn_of_a_short_window(config: dict[str, Any], data: DataModule) -> None:
    """Warns where an epoch's last optimiser step is smaller than the others, as Lightning divides it by the window."""
    window = config["trainer"]["accumulate_grad_batches"]
    batches = data.train_batches
    if window > 1 and batches % window and not config["method"].get("faithful"):
        warnings.warn(
            f"trainer.accumulate_grad_batches={window}: an epoch has {batches} batches, so its last step takes the "
            f"gradients of {batches % window} of them divided by {window}; a divisor of {batches} has equal steps",
            stacklevel=2,
        )


@contextlib.contextmanager
def _threads(number: int) -> Iterator[None]:
    """Sets torch's number of threads inside the context, and restores it, as a sweep's jobs share the process.

    number: 0 leaves it as it is.
    """
    previous_threads = torch.get_num_threads()
    torch.set_num_threads(number or previous_threads)
    try:
        yield
    finally:
        torch.set_num_threads(previous_threads)


@contextlib.contextmanager
def _ended_with_status(run: RunDirectory, trainer: L.Trainer) -> Iterator[None]:
    """Starts the loggers, and at the end records how the run ended and sends a finished run to them."""
    loggers = loggers_of(trainer)
    for logger in loggers:
        logger.start()
    try:
        yield
    except Pruned as reason:
        if trainer.is_global_zero:
            run.update_record(status=f"pruned: {reason}")
        end_all(loggers, failed=False)
        return
    except BaseException as error:
        if trainer.is_global_zero:
            is_interrupted = isinstance(error, SIGTERMException | KeyboardInterrupt | SystemExit)
            status = "interrupted" if is_interrupted else f"failed: {type(error).__name__}: {error}"
            # A full disk or a folder that is gone is why it ended, and may refuse this too.
            with contextlib.suppress(OSError, ValueError):
                run.update_record(status=status)
            end_all(loggers, failed=True)
        # Lightning would exit with code 0.
        if isinstance(error, SIGTERMException):
            raise Terminated from error
        # Lightning exits with code 1 on Ctrl-C.
        if isinstance(error, SystemExit) and isinstance(error.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from error
        raise
    if trainer.is_global_zero:
        deliver(run, loggers)


def _refuse_another_store(run: RunDirectory, store: Store, is_first: bool) -> None:
    """Records the checksum of the store that a new run reads, and compares it with a resumed run's.

    Raises ValueError, on every rank and naming the store, if a resumed run would go on with another store, or if ranks
    read different ones.
    """
    checksum = str(store.provenance["checksum"])
    checksums = sorted(set(gather_objects(checksum)))
    if len(checksums) > 1:
        raise ValueError(
            f"{store.path} was prepared anew while the processes of {run.path} started: they have read different files "
            f"(checksums {', '.join(checksum[:12] for checksum in checksums)}); start the run again"
        )
    store.refuse_other_than(run.record().get("store_checksum", checksum), run.path)
    if is_first:
        run.update_record(store_checksum=checksum)


def _fit(
    config: dict[str, Any], run: RunDirectory, trainer: L.Trainer, recorder: Recorder, data: DataModule, method: Method
) -> None:
    """Fits from the run's checkpoint, if it has one, and does nothing if its training has ended already."""
    resume_from = run.checkpoint if run.checkpoint.is_file() else None
    state = None if resume_from is None else load_checkpoint(resume_from)
    if trainer.is_global_zero:
        record = run.record()
        resumed = record.get("status") != "created"
        resumed_at = [*record.get("resumed_at", []), state["global_step"] if state else 0] if resumed else []
        run.update_record(resumed_at=resumed_at, status="running")
    if state is not None:
        recorded = state["callbacks"][recorder.state_key]
        if recorded["stopped"] or len(recorded["history"]) >= config["trainer"]["max_epochs"]:
            # The run was killed between its last epoch and its result.
            recorder.load_state_dict(recorded)
            return
    assert isinstance(method, L.LightningModule)
    assert isinstance(data, L.LightningDataModule)

    def last_words(reason: str) -> None:
        if trainer.is_global_zero:
            run.update_record(status="interrupted")
        if trainer.local_rank == 0:
            again = command("train", path_setting("resume", run.path))
            print(f"error: {reason}; go on, with every rank as before, with: {again}", file=sys.stderr)

    # The key is newer than version 0.1.0.
    with heartbeat(config["trainer"].get("lost_after", 30.0), last_words):
        trainer.fit(method, datamodule=data, ckpt_path=resume_from, weights_only=True)


def train_as_worker(run_dir: str) -> None:
    """Trains as one rank of a run whose directory holds the frozen config; started by trivium.runs.worker."""
    run = RunDirectory(Path(run_dir))
    run.hold()
    config = run.config()
    ranks = join_ranks(config)
    fit_and_test(config, run, say if ranks.is_first and os.environ.get("TRIVIUM_LOUD") == "1" else silent)
