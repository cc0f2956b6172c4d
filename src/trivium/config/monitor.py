"""Reads trainer.monitor: the validation metric that a run is selected by, and which direction of it is better."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from trivium.core.choices import suggest
from trivium.core.metric_names import LOSSES, monitorable


@dataclass(frozen=True)
class Monitor:
    """Names the validation metric that selects the epoch, stops a run early and steps scheduler=plateau.

    key: the metric, such as val/mae.
    """

    key: str = "val/loss"
    lower_is_better: bool = True

    @property
    def name(self) -> str:
        """Returns the metric's name without its split, as in result.json."""
        return self.key.removeprefix("val/")

    @property
    def mode(self) -> str:
        """Returns the direction as Lightning and torch write it, "min" or "max"."""
        return "min" if self.lower_is_better else "max"

    @property
    def words(self) -> str:
        """Returns the rule of selection as text, such as "lowest val/loss"."""
        return f"{'lowest' if self.lower_is_better else 'highest'} {self.key}"

    @property
    def is_loss(self) -> bool:
        return self.name in LOSSES

    @property
    def worst(self) -> float:
        return math.inf if self.lower_is_better else -math.inf

    def better(self, value: float, than: float) -> bool:
        """Tells whether `value` is better than `than`; NaN never is."""
        return value < than if self.lower_is_better else value > than

    def refuse_unless_in(self, metrics: Collection[str], method: str) -> None:
        """Raises ValueError unless the monitor is one of the metrics that the method validates with."""
        if self.key not in metrics:
            raise ValueError(
                f"trainer.monitor: {self.key!r} is no validation metric of {method}{suggest(self.key, metrics)}; it "
                f"has {', '.join(metrics)}"
            )


def read_monitor(text: str, config: Mapping[str, Any], key: str = "trainer.monitor") -> Monitor:
    """Returns the monitor of a setting; "auto" is val/loss, the task's own loss where a method adds others.

    config: the run's, for data.metrics and metrics. key: of the setting, for the message. Raises ValueError naming the
    nearest metric.
    """
    if text == "auto":
        return Monitor()
    known = monitorable(config["data"]["metrics"]) | more_monitorable(config)
    if text not in known:
        raise ValueError(
            f"{key}: {text!r} is no metric of the validation split{suggest(text, known)}; expected auto or one of "
            f"{', '.join(known)} (the test split is looked at once, when all is chosen)"
        )
    return Monitor(text, known[text] == "min")


def monitor_of(config: Mapping[str, Any]) -> Monitor:
    """Returns the monitor of a run's config; that of version 0.1.0, which had no choice, was the validation loss."""
    return read_monitor(config["trainer"].get("monitor", "auto"), config)


def more_monitorable(config: Mapping[str, Any]) -> dict[str, str]:
    """Returns "val/NAME" -> "min" or "max" of the metrics that the config adds to those of data.metrics."""
    added = config.get("metrics") or {}
    return {f"val/{name}": "min" if node["better"] == "lower" else "max" for name, node in added.items()}
