"""What a table needs of a finished run beside its result.json: linear probes of its vectors, and subsets."""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from trivium.results.records import read_rows
from trivium.runs.evaluate import read_probe_file
from trivium.tables.plan import Planned


def missing(run: Planned) -> list[str]:
    """What the table asks for and is not there: the targets to probe, and "subsets"."""
    table = run.table
    targets = [target for target, vectors in table.probes.items() if not set(vectors) <= set(read_probes(run, target))]
    return [*targets, *(["subsets"] if table.asks_subsets and not subsets_file(run).is_file() else [])]


def evaluate(run: Planned, log: Path) -> str:
    """Make what is missing of a finished run; the reason if that fails, else "".

    Here, one after the other, with one thread: a second or two each. What it says is appended to `log`.
    """
    lacking = missing(run)
    if not lacking:
        return ""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with log.open("a") as file, contextlib.redirect_stdout(file):
        try:
            for work in _works(run, lacking):
                work()
        except Exception as error:  # of any kind: it is that run's, and the table goes on without it
            traceback.print_exc(file=file)
            return f"evaluating it: {error if isinstance(error, ValueError) else f'{type(error).__name__}: {error}'}"
        finally:
            torch.set_num_threads(before)
    return ""


def read_probes(run: Planned, target: str) -> dict[str, Any]:
    """Vector -> what `trivium.evaluation.probe.probe_run` found of it; empty if it has not been probed."""
    found: dict[str, Any] = read_probe_file(probe_file(run, target))["probes"]
    return found


def probe_file(run: Planned, target: str) -> Path:
    """Where scripts/evaluate.py probe=true writes."""
    return run.directory.path / ("probe.json" if target == "multimodal" else f"probe_{target}.json")


def read_subsets(run: Planned) -> dict[frozenset[str], dict[str, float]]:
    """Modalities -> metric -> value, of the test split."""
    rows = read_rows(subsets_file(run))
    head = ("split", "modalities", "n")
    return {
        frozenset(row["modalities"].split("+")): {key: float(row[key] or "nan") for key in row if key not in head}
        for row in rows
    }


def subsets_file(run: Planned) -> Path:
    """Where scripts/evaluate.py protocol=subsets writes."""
    return run.directory.path / "subsets.csv"


def _works(run: Planned, lacking: Sequence[str]) -> list[Callable[[], object]]:
    from trivium.runs.evaluate import probe

    path, table = run.directory.path, run.table
    targets = [target for target in table.probes if target in lacking]
    works: list[Callable[[], object]] = [partial(probe, path, target=t, features=table.probes[t]) for t in targets]
    if table.asks_subsets and "subsets" in lacking:
        from trivium.reports.robustness_report import (
            write_protocols,
        )  # draws figures, and matplotlib takes a second to import

        works.append(partial(write_protocols, path, ["subsets"]))
    return works
