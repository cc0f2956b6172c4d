"""wandb or TensorBoard as a run sees them: started before training, given all of a finished run, ended.

They read what a report reads, so that they stand behind the runs (trivium.loggers), and a config's `_target_` names
them.
"""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Protocol, cast

import lightning as L
from lightning.pytorch.loggers import Logger

from trivium.config.instantiate import build
from trivium.runs.directory import RunDirectory


class RunLogger(Protocol):
    """A Lightning logger that can do more. On ranks other than the first each call does nothing."""

    def start(self) -> None:
        """Open what the training's metrics go to. Raises ValueError saying what to do if it cannot be."""

    def send(self, run: RunDirectory) -> None:
        """Give it a finished run's metrics, settings, facts and figures."""

    def end(self, *, failed: bool) -> None:
        """Close it with the run's status."""


class NotSentError(OSError):
    """A run is finished, and its logger has not got all of it."""


def make_loggers(config: dict[str, Any], run: RunDirectory) -> list[Logger]:
    """The chosen logger, imported only now; none for logger=csv. Raises ValueError if its package is missing."""
    node = config["logger"]
    return [build(node, config, run)] if "_target_" in node else []


def loggers_of(trainer: L.Trainer) -> list[RunLogger]:
    return cast("list[RunLogger]", trainer.loggers)


def end_all(loggers: Sequence[RunLogger], *, failed: bool) -> None:
    for logger in loggers:
        logger.end(failed=failed)


def deliver(run: RunDirectory, loggers: Sequence[RunLogger]) -> None:
    """Give a finished run to its loggers and end them.

    Raises nothing that a logger raises, as the run is finished all the same: run.json keeps it under "unsent", for
    `tell_unsent`.
    """
    problems = []
    for logger in loggers:
        sent = _problem(partial(logger.send, run))
        problems += [sent, _problem(partial(logger.end, failed=bool(sent)))]
    if loggers:
        run.update_record(unsent="; ".join(filter(None, problems)))


def _problem(do: Callable[[], None]) -> str:
    """What it died of; "" if it did not."""
    try:
        do()
    except Exception as error:
        if os.environ.get("TRIVIUM_TRACEBACK") == "1":
            traceback.print_exc()
        return f"{type(error).__name__}: {error}"
    return ""


def deliver_again(config: dict[str, Any], run: RunDirectory) -> None:
    """Give a run that finished earlier to this command's loggers if they did not get it then."""
    if run.record().get("unsent"):
        loggers = cast("list[RunLogger]", make_loggers(config, run))
        for logger in loggers:
            logger.start()
        deliver(run, loggers)


def tell_unsent(config: dict[str, Any], run: RunDirectory) -> None:
    """Raises NotSentError if this command's logger has not got all of the finished run."""
    node, reason = config["logger"], run.record().get("unsent")
    if reason and "_target_" in node:
        raise NotSentError(
            f"{run.path} is finished and its result stands, but logger={node['name']} has not got all of it: {reason}. "
            f"Repeat the command with resume={run.path} to send it again"
        )
