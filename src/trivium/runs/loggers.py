"""Starts a run's logger (wandb or TensorBoard), sends it the finished run, and ends it.

The loggers themselves read what a report reads and so lie above the runs, in trivium.loggers: a config's `_target_`
names them.
"""

from __future__ import annotations

import inspect
import os
import sys
import threading
import traceback
import warnings
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Protocol, cast

import lightning as L
from lightning.pytorch.loggers import Logger

from trivium.config.instantiate import build, target
from trivium.runs.directory import RunDirectory

# Seconds of sending after which it is said what the command waits for.
SLOW = 10.0


class RunLogger(Protocol):
    """Adds three calls to a Lightning logger; on ranks other than the first they do nothing."""

    def start(self) -> None:
        """Opens the file or connection that metrics go to. Raises ValueError, saying what to do, if that fails."""

    def send(self, run: RunDirectory) -> None:
        """Sends a finished run's metrics, settings, facts and figures."""

    def end(self, *, failed: bool) -> None:
        """Closes the logger with the run's status."""


class NotSentError(OSError):
    """Says that a run is finished, but its logger has not received all of it."""


def make_loggers(config: dict[str, Any], run: RunDirectory) -> list[Logger]:
    """Returns the config's loggers, which are imported only now, or none for logger=csv.

    Raises ValueError for a missing package.
    """
    node = config["logger"]
    loggers = []
    for name, place in _places(config).items():
        takes = inspect.signature(target(place)).parameters
        keys = {key: value for key, value in {**node, "name": name}.items() if key in takes}
        loggers.append(build({**place, **keys}, config, run))
    return loggers


def _places(config: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Returns what the run is sent to: name -> node with the logger's _target_."""
    node = config["logger"]
    # A user's own logger may have its _target_ among its keys, as wandb had in version 0.1.0.
    users = {str(node.get("name")): {"_target_": node["_target_"]}} if "_target_" in node else {}
    return {**users, **node.get("send_to", {})}


def loggers_of(trainer: L.Trainer) -> list[RunLogger]:
    return cast("list[RunLogger]", trainer.loggers)


def end_all(loggers: Sequence[RunLogger], *, failed: bool) -> None:
    """Ends the loggers of a run that has no result; what they raise would hide why it has none."""
    for logger in loggers:
        _error_of(partial(logger.end, failed=failed))


def deliver(run: RunDirectory, loggers: Sequence[RunLogger]) -> None:
    """Sends a finished run to its loggers and ends them.

    An error of a logger is not raised, as the run is finished all the same: it goes into run.json under "unsent", for
    `tell_unsent`.
    """
    problems = []
    for logger in loggers:
        with _told_if_slow(run, type(logger).__name__):
            sending = _error_of(partial(logger.send, run))
            problems += [sending, _error_of(partial(logger.end, failed=bool(sending)))]
    if loggers:
        run.update_record(unsent="; ".join(filter(None, problems)))


@contextmanager
def _told_if_slow(run: RunDirectory, name: str) -> Iterator[None]:
    """Says, in a block that takes long, that the run is finished and who is waited for."""
    words = (
        f"{run.path} is finished; waiting for {name} to take its records. This may be ended: the same command with "
        f"resume={run.path} sends them again"
    )
    timer = threading.Timer(SLOW, lambda: print(words, file=sys.stderr, flush=True))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def log_epoch(loggers: Sequence[Logger], values: dict[str, float], step: int, warned_of: set[str]) -> None:
    """Sends an epoch's metrics. A logger that fails costs no training: it is warned of once, and tried again.

    warned_of: the loggers that have been warned of, by the names of their classes.
    """
    for logger in loggers:
        problem, name = _error_of(partial(logger.log_metrics, values, step)), type(logger).__name__
        if problem and name not in warned_of:
            warned_of.add(name)
            warnings.warn(
                f"{name} has not got the metrics of this epoch ({problem}); the run goes on, and metrics.csv has them",
                stacklevel=2,
            )


def _error_of(action: Callable[[], None]) -> str:
    """Calls `action` and returns the type and message of its error, or "" if it raises none."""
    try:
        action()
    except Exception as error:
        if os.environ.get("TRIVIUM_TRACEBACK") == "1":
            traceback.print_exc()
        return f"{type(error).__name__}: {error}"
    return ""


def deliver_again(config: dict[str, Any], run: RunDirectory) -> None:
    """Sends a run that finished earlier to this command's loggers, if its logger did not receive all of it then."""
    if run.record().get("unsent"):
        loggers = cast("list[RunLogger]", make_loggers(config, run))
        for logger in loggers:
            logger.start()
        deliver(run, loggers)


def _named(places: Collection[str]) -> str:
    """Returns the loggers as they are chosen."""
    names = ",".join(places)
    return f"logger={names}" if len(places) == 1 else f"logger=[{names}]"


def tell_unsent(config: dict[str, Any], run: RunDirectory) -> None:
    """Raises NotSentError if this command has a logger and the finished run was not sent completely."""
    places, reason = _places(config), run.record().get("unsent")
    if reason and places:
        raise NotSentError(
            f"{run.path} is finished and its result stands, but {_named(places)} has not got all of it: {reason}. "
            f"Repeat the command with resume={run.path} to send it again"
        )
