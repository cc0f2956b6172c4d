"""What one run does, from top to bottom: find its directory, open the data, build the method, fit, test, record."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.utilities.exceptions import SIGTERMException

from trivium.config.monitor import monitor_of
from trivium.data.datamodule import BatchLoader, DataModule
from trivium.data.store import Store
from trivium.distributed import gather_objects
from trivium.evaluation.predict import predict_split, score_split, write_predictions
from trivium.evaluation.predictions import Predictions
from trivium.evaluation.probe import FittedReadout, fit_readout
from trivium.files import write_json
from trivium.methods.base import Method
from trivium.runs.assemble import assemble
from trivium.runs.checkpointing import load_checkpoint, load_weights, save_weights
from trivium.runs.directory import RunDirectory
from trivium.runs.launch import die_with_parent, join_ranks, launch_workers, wants_workers
from trivium.runs.load import describe_model
from trivium.runs.loggers import deliver, deliver_again, end_all, loggers_of, tell_unsent
from trivium.runs.opening import open_run
from trivium.runs.pruned import Pruned
from trivium.runs.recorder import Recorder
from trivium.runs.show import print_result
from trivium.runs.start import start_from
from trivium.runs.trainer import make_trainer


def train(config: dict[str, Any], overrides: list[str], default_dir: Path | None = None) -> dict[str, Any]:
    """Run `config` (plain and resolved) and return its result.json; on ranks other than the first, and for a trial of
    a search that was pruned, an empty dict.

    default_dir: the directory of a new run when run.dir is empty (a sweep's). Raises ValueError for settings or files
    that do not fit, NonFiniteLossError, ChildProcessError if a worker process failed, and NotSentError if the run is
    finished and wandb or TensorBoard has not got all of it.
    """
    ranks = join_ranks(config)
    run = ranks.first(lambda: open_run(config, overrides, default_dir))
    try:
        if run.finished:
            print(f"{run.path} is finished; this is its result")
            if ranks.is_first:
                deliver_again(config, run)
        elif wants_workers(config, ranks):
            launch_workers(run, config)
        else:
            fit(config, run)
        if not ranks.is_first:
            return {}
        if not run.finished:  # of what comes back without an error, a pruned run alone
            return {}
        result = run.result()
        if not config["run"]["study"]:  # a search shows no test scores: nobody is to choose by them
            print_result(run, result)
        tell_unsent(config, run)
        return result
    except BaseException:
        if ranks.is_first:
            run.discard_unstarted()
        raise
    finally:
        run.release()


def fit(config: dict[str, Any], run: RunDirectory) -> None:
    """Train in this process (one of the ranks, where there are several), then test and record on the first rank."""
    with _threads(config["trainer"]["threads"]):
        _fit_and_record(config, run)


@contextlib.contextmanager
def _threads(number: int) -> Iterator[None]:
    """torch's threads inside; 0 leaves them. Restored, as a sweep's jobs share the process."""
    before = torch.get_num_threads()
    torch.set_num_threads(number or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _fit_and_record(config: dict[str, Any], run: RunDirectory) -> None:
    store, data, method = assemble(config)
    if config["start_from"]:
        start_from(method, Path(config["start_from"]))
    monitor_of(config).refuse_unless_in(method.monitorable, f"method={method.name or type(method).__name__}")
    if config["trainer"]["precision"] == "64-true":
        method.double()  # Lightning would do it after reading a checkpoint, whose values would pass through float32
    trainer, recorder = make_trainer(config, run)
    loggers = loggers_of(trainer)
    for logger in loggers:
        logger.start()
    try:
        _same_store(run, store, trainer.is_global_zero)
        _fit(config, run, trainer, recorder, data, method)
        if trainer.is_global_zero:
            _finish(run, trainer, recorder, store, data, method)
    except Pruned as reason:
        if trainer.is_global_zero:
            run.update_record(status=f"pruned: {reason}")
        end_all(loggers, failed=False)
        return
    except BaseException as error:
        if trainer.is_global_zero:
            stopped = isinstance(error, SIGTERMException | KeyboardInterrupt | SystemExit)  # Lightning exits on Ctrl-C
            run.update_record(status="interrupted" if stopped else f"failed: {type(error).__name__}: {error}")
            end_all(loggers, failed=True)
        if isinstance(error, SIGTERMException):  # Lightning would exit with 0
            raise SystemExit(143) from error
        raise
    if trainer.is_global_zero:
        deliver(run, loggers)


def _same_store(run: RunDirectory, store: Store, first: bool) -> None:
    """A run goes on with the data that it began with, and all of its ranks read the same.

    Raises ValueError, on every rank, naming the store.
    """
    checksum = str(store.provenance["checksum"])
    found = sorted(set(gather_objects(checksum)))
    if len(found) > 1:
        raise ValueError(
            f"{store.path} was prepared anew while the processes of {run.path} started: they have read different files "
            f"(checksums {', '.join(one[:12] for one in found)}); start the run again"
        )
    store.refuse_other_than(run.record().get("store_checksum", checksum), run.path)
    if first:
        run.update_record(store_checksum=checksum)


def _fit(
    config: dict[str, Any], run: RunDirectory, trainer: L.Trainer, recorder: Recorder, data: DataModule, method: Method
) -> None:
    resume_from = run.checkpoint if run.checkpoint.is_file() else None
    state = None if resume_from is None else load_checkpoint(resume_from)
    if trainer.is_global_zero:
        record = run.record()
        again = record["status"] != "created"
        resumed_at = [*record["resumed_at"], state["global_step"] if state else 0] if again else []
        run.update_record(resumed_at=resumed_at, status="running")
    if state is not None:
        history = state["callbacks"][recorder.state_key]
        if history["stopped"] or len(history["history"]) >= config["trainer"]["max_epochs"]:
            recorder.load_state_dict(history)  # it was killed between its last epoch and its result
            return
    trainer.fit(method, datamodule=data, ckpt_path=resume_from, weights_only=True)


def _finish(
    run: RunDirectory, trainer: L.Trainer, recorder: Recorder, store: Store, data: DataModule, method: Method
) -> None:
    """Validation and test, once each, from the selected weights; then the record, result.json last."""
    notes = load_weights(method, run.weights)
    method.to(trainer.strategy.root_device)
    readout = _fit_readout(method, data, run, notes) if method.probed else None
    parts: dict[str, tuple[BatchLoader, Predictions]] = {}
    scores: dict[str, dict[str, float]] = {}
    for split in [split for split in ("valid", "test") if split in store.schema.counts]:
        loader = data.loader(split, device=method.device)
        if readout is not None:
            readout.use(method, split)
        predictions = predict_split(method, loader)
        parts[split] = (loader, predictions)
        scores["val" if split == "valid" else split] = score_split(method, loader, predictions)
    write_predictions(run.path / "predictions.csv", parts)
    write_json(run.path / "model.json", describe_model(store, data, method))
    run.update_record(status="finished", **({"unsent": "not yet"} if trainer.loggers else {}))
    result = {
        **scores,
        **_facts(run, trainer, recorder, store, method),
        "train_mean_mae": _train_mean_mae(store, {split: loader for split, (loader, _) in parts.items()}),
        "modalities": list(data.reads),
        **({} if readout is None else {"probe": readout.summary}),
    }
    write_json(run.result_file, result)


def _facts(run: RunDirectory, trainer: L.Trainer, recorder: Recorder, store: Store, method: Method) -> dict[str, Any]:
    """What the run was: of its record, its data, its training and its model."""
    record, sizes = run.record(), [(p.numel(), p.requires_grad) for p in method.parameters()]
    kept = ("seed", "config_hash", "git_commit", "resumed_at", "versions", "hardware")
    return {
        "method": method.name or type(method).__name__,
        **{key: record[key] for key in kept},
        "feature_set": store.schema.feature_set,
        "store_checksum": store.provenance["checksum"],
        "seconds": round(recorder.state_dict()["seconds"], 3),
        "world_size": trainer.world_size,
        "best_epoch": recorder.best_epoch,
        "selection": recorder.selection,
        "epochs": len(recorder.history),
        "parameters": sum(size for size, _ in sizes),
        "trained_parameters": sum(size for size, trained in sizes if trained),
        "metrics": method.metrics,
    }


def _fit_readout(method: Method, data: DataModule, run: RunDirectory, notes: dict[str, Any]) -> FittedReadout:
    """Fit the probe that a method's score is, and put it into the run's weights."""
    print("fitting linear probes on frozen features", flush=True)
    fitted = fit_readout(method, data)
    save_weights(method, run.weights, **notes)
    return fitted


def _train_mean_mae(store: Store, loaders: dict[str, BatchLoader]) -> dict[str, float]:
    """MAE of predicting the train mean for every clip: what a model has to beat."""
    mean = float(store.split("train").targets["multimodal"].mean(dtype="float64"))
    return {
        "val" if split == "valid" else split: float((loader.split.targets["multimodal"].double() - mean).abs().mean())
        for split, loader in loaders.items()
    }


def worker_main(run_dir: str) -> None:
    """One rank of a run whose directory holds the frozen config; started by trivium.runs.launch."""
    die_with_parent()
    run = RunDirectory(Path(run_dir))
    config = run.config()
    join_ranks(config)
    fit(config, run)


if __name__ == "__main__":
    from torch.distributed.elastic.multiprocessing.errors import record

    # torchrun loses a dead rank's traceback without `record`
    record(worker_main)(os.environ["TRIVIUM_RUN_DIR"])
