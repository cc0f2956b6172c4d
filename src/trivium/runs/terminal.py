"""Prints the tables of a run on the terminal."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from trivium.core.metric_names import LOSSES, METRICS, OF, TASKS, label_of
from trivium.runs.directory import RunDirectory

_SPLITS = {"val": "validation", "valid": "validation"}
# Maps a column's heading to the keys that lead to its value in a probe.
_PROBE_COLUMNS = {
    "size": ("size",),
    "C": ("c",),
    "valid": ("valid", "balanced_accuracy"),
    "test": ("test", "balanced_accuracy"),
    "AUC": ("test", "auc"),
    "F1 macro": ("test", "f1_macro"),
    "mAP": ("test", "map"),
    "MAE": ("ridge", "test", "mae"),
    "Corr": ("ridge", "test", "corr"),
}
# What is predicted without looking at a clip, by task.
_GUESSES = {
    "scores": "the train mean of each score",
    "classes": "the most frequent class of the train split",
    "labels": "the labels that half of the train clips have",
}
# Metrics of single classes, labels or scores that a table shows, at most.
_MOST_PARTS = 24
# The formats of probes' columns; others have four digits.
_FORMATS = {"C": ".1e", "size": ".0f"}


def print_result(run: RunDirectory, result: Mapping[str, Any]) -> None:
    """Prints validation and test metrics of the selected checkpoint, and where the run lies."""
    rule = f" ({result['selection']['rule']})" if "selection" in result else ""
    title = f"{result['method']} on {result['feature_set']}, seed {result['seed']}, epoch {result['best_epoch']}{rule}"
    print_scores(title, result["metrics"], {split: result[split] for split in ("val", "test") if split in result})
    _print_guess(result)
    sign = (result.get("probe") or {}).get("sign")
    if sign:
        shares = ", ".join(
            f"{_SPLITS.get(s, s)} {sign[s]['balanced_accuracy']:.4f}" for s in ("valid", "test") if s in sign
        )
        print(f"linear probe of label > 0 on frozen features, balanced accuracy: {shares}")
    print(f"run: {run.path}  ({result['seconds']:.1f} s)", flush=True)


def _print_guess(result: Mapping[str, Any]) -> None:
    """Prints how well a constant would do. Runs of one score have its MAE, and others the main metric."""
    if "train_mean_mae" in result:
        what, metric, values = "the train mean", "MAE", result["train_mean_mae"]
    else:
        protocol = result["metrics"]
        main, what = METRICS[protocol][0], _GUESSES[TASKS[protocol]]
        metric, values = label_of(main), {split: metrics[main] for split, metrics in result["train_guess"].items()}
    guesses = ", ".join(f"{_SPLITS.get(s, s)} {_cell(value)}" for s, value in values.items())
    print(f"predicting {what} would give {metric} {guesses}")


def print_scores(title: str, protocol: str, scores: Mapping[str, Mapping[str, float]]) -> None:
    """Prints one column a split, one row a metric of the protocol, then those of each class, label or score.

    Of many classes the latter are left out, and it says so.
    """
    table = Table()
    table.add_column("metric")
    for split in scores:
        table.add_column(_SPLITS.get(split, split), justify="right")
    # Objectives with classes have acc_argmax too.
    protocol_names = [*METRICS[protocol], "acc_argmax"]
    added = [name for values in scores.values() for name in values if name not in protocol_names and name not in LOSSES]
    names = [*protocol_names, *dict.fromkeys(added)]
    parts = [name for name in names if OF in name]
    if len(parts) > _MOST_PARTS:
        names = [name for name in names if OF not in name]
    for name in [name for name in names if any(name in values for values in scores.values())]:
        table.add_row(label_of(name), *(_cell(values.get(name)) for values in scores.values()))
    _print(title, table)
    if len(parts) > _MOST_PARTS:
        print(f"{len(parts)} metrics of single classes, labels or scores are in the run's files, such as {parts[0]}")


def print_probes(title: str, probes: Mapping[str, Mapping[str, Any]]) -> None:
    """Prints one row a vector: size, C, balanced accuracy on validation and test, or F1 and mAP of labels; ridge."""
    columns = {name: [_at(probe, path) for probe in probes.values()] for name, path in _PROBE_COLUMNS.items()}
    shown = [name for name, values in columns.items() if any(value is not None for value in values)]
    table = Table("vector", *shown)
    for column in table.columns[1:]:
        column.justify = "right"
    for row, name in enumerate(probes):
        table.add_row(name, *(_cell(columns[column][row], _FORMATS.get(column, ".4f")) for column in shown))
    probe = next(iter(probes.values()))
    _print(title, table)
    accuracy = f"balanced accuracy of {probe['rule']}, chance {1 / probe['classes']:.4f}" if "classes" in probe else ""
    print(f"{f'valid, test: {accuracy}; the rest: test. ' if accuracy else ''}Fitted on {probe['fitted_on']}")


def _at(probe: Mapping[str, Any], path: tuple[str, ...]) -> float | None:
    value: Any = probe
    for key in path:
        value = value.get(key) if value is not None else None
    # Where each label has a C of its own, the file has them.
    return None if isinstance(value, list) else value


def _print(title: str, table: Table) -> None:
    console = Console()
    console.print(f"\n{title}", soft_wrap=True, highlight=False)
    console.print(table)


def _cell(value: float | None, format_spec: str = ".4f") -> str:
    """Returns the number as text, "-" for an undefined metric such as Corr of constant scores."""
    return "-" if value is None or math.isnan(value) else format(value, format_spec)
