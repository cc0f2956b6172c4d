"""Prints tables of the missing-modality protocols on the terminal."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import pandas as pd
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from trivium.core.metric_names import LABELS
from trivium.evaluation.averages import Averages, Row
from trivium.results.spread import Spread

_TEXT_COLUMNS = ("kind", "modality", "modalities", "rates")


def print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Prints a table so narrow that eight metrics fit 80 columns; digits are folded rather than cut off."""
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for column in columns:
        is_text = column in _TEXT_COLUMNS
        table.add_column(column, justify="left" if is_text else "right", no_wrap=is_text, overflow="fold")
    for row in rows:
        table.add_row(*row)
    console = Console()
    console.print(f"\n{title}", soft_wrap=True, highlight=False)
    console.print(table)


def print_spreads(title: str, rows: Sequence[Row], keys: Sequence[str]) -> None:
    """Prints a line for each setting of `keys`, over its draws, with the metrics that curves show."""
    from trivium.report.robustness_figures import shown  # matplotlib takes a second to import

    metrics = shown(rows[0])
    settings = pd.DataFrame(rows).groupby(list(keys), sort=False)[metrics]
    lines = settings.agg(lambda values: _spread(Spread.of(values.tolist()))).reset_index().astype(str)
    print_table(title, [*keys, *(LABELS[metric] for metric in metrics)], lines.to_numpy().tolist())


def print_averages(averages: Averages, metrics: Sequence[str]) -> None:
    """Prints a line for each group of trivium.evaluation.averages, with the metrics that curves show."""
    from trivium.report.robustness_figures import shown

    chosen = shown(metrics)
    lines = [
        [group, *(_spread(Spread(cells[m]["mean"], cells[m].get("std", math.nan), 0)) for m in chosen)]
        for group, cells in averages.items()
    ]
    title = "Averages, each a mean of metrics"
    if any(group.startswith("AUILC") for group in averages):
        title += "; AUILC: the area under a metric over the rates"
    print_table(title, ["kind", *(LABELS[metric] for metric in chosen)], lines)


def number(value: float | None) -> str:
    """Returns three decimals; "-" for what is unknown."""
    if value is None or math.isnan(value):
        return "-"
    return str(value) if isinstance(value, int) else f"{value:.3f}"


def _spread(spread: Spread) -> str:
    return number(spread.mean) + ("" if math.isnan(spread.std) else f"±{spread.std:.3f}")
