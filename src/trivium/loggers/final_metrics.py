"""Reads what a finished run sends to its logger: one set of names, and the values of the run's files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from trivium.results.records import is_compared, read_record

# Maps a part of result.json to its name at the logger, where val/ is the curve over epochs already.
_PARTS = {
    "val": "selected/val",
    "test": "test",
    "probe": "probe",
    "train_mean_mae": "train_mean_mae",
    "train_guess": "train_guess",
}
_FACTS = (
    "method",
    "seed",
    "config_hash",
    "git_commit",
    "feature_set",
    "parameters",
    "trained_parameters",
    "best_epoch",
    "epochs",
    "seconds",
)


@dataclass(frozen=True)
class RunSummary:
    """Holds what a finished run sends to its logger.

    step: the optimiser's last step. metrics: the numbers of result.json's parts, such as test/mae. facts: method, seed,
    commit and the like, and where the run lies. settings: dotted key -> value of the settings that runs are compared
    by, and of the seed. config: config.yaml's text.
    """

    step: int
    metrics: dict[str, float]
    facts: dict[str, str | float]
    settings: dict[str, str | float]
    config: str


def read_summary(path: Path) -> RunSummary:
    """Reads the directory of a finished run. Raises ValueError as `trivium.results.records.read_record`."""
    record = read_record(path)
    settings = {key: _number(word) for key, word in record.settings.items() if is_compared(key) or key == "seed"}
    facts = {key: record.result[key] for key in _FACTS if record.result.get(key) is not None}
    return RunSummary(
        step=int(record.epochs["step"][-1]),
        metrics=final_metrics(record.result),
        facts={**facts, "run": str(path), "command": str(record.record["command"])},
        settings=settings,
        config=(path / "config.yaml").read_text(encoding="utf-8"),
    )


def final_metrics(result: Mapping[str, Any]) -> dict[str, float]:
    """Returns test/mae, selected/val/mae, probe/sign/test/balanced_accuracy and so on, without undefined metrics."""
    return {
        "/".join((name, *keys)): value for part, name in _PARTS.items() for keys, value in _numbers(result.get(part))
    }


def _numbers(node: Any) -> Iterator[tuple[tuple[str, ...], float]]:
    if isinstance(node, Mapping):
        for key, inner in node.items():
            yield from (((key, *keys), value) for keys, value in _numbers(inner))
    elif isinstance(node, int | float) and not isinstance(node, bool):
        yield (), float(node)


def _number(word: str) -> str | float:
    """Returns the word as a number if it is one, so that a logger can draw an axis of it."""
    try:
        return float(word)
    except ValueError:
        return word


def need(package: str) -> None:
    """Raises ValueError saying what to install if `package` cannot be imported."""
    try:
        import_module(package)
    except ImportError as error:
        raise ValueError(
            f"logger={package} needs the package {package}, which cannot be imported here ({error}): "
            f"pip install {package}, or leave the logger out; metrics.csv is always written"
        ) from error
